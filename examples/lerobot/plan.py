# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which rollouts are run: how many, of which kinds, with which seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from examples.lerobot.perturbations import KINDS, UNDISTURBED

SEEDS = 100_000
"""Of one seed of the example; its rollouts share none with another's."""

CALIBRATION, TEST, LIVE = 10_000, 20_000, 30_000
"""Where the seeds of each part begin."""

SHOWN = (UNDISTURBED, "object moved", "camera knocked", "slippery object")
"""What is shown behind the gate, in one and the same scene."""


@dataclass(frozen=True)
class Plan:
    """One rollout: its seed, and what goes wrong in it."""

    seed: int
    kind: str = UNDISTURBED

    @property
    def is_perturbed(self) -> bool:
        """Whether anything goes wrong in it."""
        return self.kind != UNDISTURBED


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        demonstrations: that policies are trained on.
        steps: of the training, by policy.
        calibration: successful rollouts to calibrate on.
        undisturbed: rollouts to evaluate on.
        perturbed: rollouts to evaluate on, of each kind.
        alpha: the promised false-alarm rate.
    """

    demonstrations: int
    steps: Mapping[str, int]
    calibration: int
    undisturbed: int
    perturbed: int
    alpha: float


FULL = Size(
    demonstrations=100,
    steps={"act": 2500, "diffusion": 5000},
    calibration=30,
    undisturbed=60,
    perturbed=12,
    alpha=0.1,
)
QUICK = Size(
    demonstrations=40,
    steps={"act": 900},
    calibration=6,
    undisturbed=4,
    perturbed=1,
    alpha=0.25,
)


def calibration_plans(seed: int) -> Iterator[Plan]:
    """Yield undisturbed rollouts without end."""
    return (Plan(number) for number in count(seed * SEEDS + CALIBRATION))


def test_plans(seed: int, size: Size) -> list[Plan]:
    """Return undisturbed rollouts, and as many of each kind of perturbation."""
    kinds = [UNDISTURBED] * size.undisturbed
    for kind in KINDS:
        if kind != UNDISTURBED:
            kinds += [kind] * size.perturbed
    return [Plan(number, kind) for number, kind in enumerate(kinds, seed * SEEDS + TEST)]


def live_plans(seed: int) -> Sequence[Plan]:
    """Return the rollouts that are shown behind the gate."""
    return [Plan(seed * SEEDS + LIVE, kind) for kind in SHOWN]
