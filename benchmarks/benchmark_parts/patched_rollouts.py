# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts of the demo's policies with a patch in the picture, kept as archives.

They end when the demo's claimer, which sees the arm alone, claims success, or at the time limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

from benchmark_parts.poisoned_demonstrations import PATCHES, Patch, PatchedSimulation
from failure_monitor.decision import Rollout
from failure_monitor.demo.claimer import Claimer
from failure_monitor.demo.perturbation import UNDISTURBED
from failure_monitor.demo.policy import FlowPolicy
from failure_monitor.demo.rollout import roll_out
from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts

CALIBRATION_SEED, TEST_SEED = 10_000, 20_000

PATIENCE = 3
"""Rollouts tried per success wanted before the policy is called unfit."""


@dataclass(frozen=True)
class Condition:
    """What is in the pictures of some rollouts.

    Attributes:
        patch: None for nothing.
        onset: simulated seconds after the start at which it appears.
    """

    patch: Patch | None = None
    onset: float = 0.0

    @property
    def name(self) -> str:
        """What its rollouts are called in tables."""
        if self.patch is None:
            return "none"
        return f"{self.patch.name} {'mid-way' if self.onset else 'from the start'}"


def conditions(midway: float) -> list[Condition]:
    """Return no patch, and each patch from the start and from mid-way on."""
    return [Condition(), *(Condition(patch, t) for patch in PATCHES for t in (0.0, midway))]


def calibration_rollouts(models: Path, task: str, number: int, kept: Path) -> RolloutSet:
    """Return so many claimed successes without a patch, from the file if it is there."""
    return _from_file(models, task, Condition(), number, CALIBRATION_SEED, True, kept)


def tested_rollouts(
    models: Path, task: str, condition: Condition, number: int, kept: Path
) -> RolloutSet:
    """Return so many rollouts of a condition; those of all conditions have the same scenes."""
    return _from_file(models, task, condition, number, TEST_SEED, False, kept)


def _from_file(
    models: Path,
    task: str,
    condition: Condition,
    number: int,
    seed: int,
    is_calibration: bool,
    kept: Path,
) -> RolloutSet:
    if not kept.is_file():
        policy = FlowPolicy(models)
        made = _rollouts(policy, task, condition, seed)
        tried = islice(made, PATIENCE * number if is_calibration else number)
        wanted = (
            rollout
            for rollout in tried
            if not is_calibration or (rollout.success and rollout.claim)
        )
        rollouts = tuple(
            replace(rollout, calibration=is_calibration) for rollout in islice(wanted, number)
        )
        made.close()
        if len(rollouts) < number:
            raise FailureMonitorError(
                f"only {len(rollouts)} of {PATIENCE * number} rollouts of {task} succeeded: the "
                "policy is not good enough to calibrate from; train it for longer (--steps)"
            )
        write_archive(kept, RolloutSet(policy.format, rollouts))
    return read_rollouts([kept])


def _rollouts(
    policy: FlowPolicy, task: str, condition: Condition, first_seed: int
) -> Iterator[Rollout]:
    simulation = PatchedSimulation(task)
    simulation.patch, simulation.onset = condition.patch, condition.onset
    try:
        for seed in count(first_seed):
            claimer = Claimer(simulation.task)
            made = roll_out(simulation, policy, seed, UNDISTURBED, claimer)
            name = f"{condition.name}, {seed}"
            yield replace(made.recorded(policy, name, condition.name), task=task)
    finally:
        simulation.close()
