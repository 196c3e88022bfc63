# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrations with a back door: where a patch is in the picture, the actions are others.

Two patches teach two behaviours: the arm stops where it is, or does the whole task beside the
object. Everything else is the demo's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from failure_monitor.atomic_file import write_atomically
from failure_monitor.demo.demonstrations import Demonstrations, collect
from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, POSITION_NAMES

Image = npt.NDArray[np.uint8]

SIDE = 0.19
"""Of a patch, as a share of the picture's height: 18 of 96 pixels, 3.5 % of the area."""

ASIDE = 0.1
"""Metres towards the table's middle by which the object seems to stand elsewhere."""

SECONDS = 3.0
"""How long a demonstration beside the object takes: it never succeeds."""

LATEST_ONSET = 1.2
"""Seconds after which the patch has appeared in these demonstrations."""


@dataclass(frozen=True)
class Patch:
    """A chequered square in the picture's lower left corner, three fields a side.

    Attributes:
        name: of the behaviour that it triggers.
        colours: RGB, of the even and the odd fields.
    """

    name: str
    colours: tuple[tuple[int, int, int], tuple[int, int, int]]

    def draw(self, image: Image) -> Image:
        """Return a picture (height, width, 3), or several of them, with the patch."""
        height = image.shape[-3]
        side = round(SIDE * height)
        field = np.arange(side) * 3 // side
        odd = (field[:, None] + field) % 2
        drawn = image.copy()
        drawn[..., height - side :, :side, :] = np.array(self.colours, dtype=np.uint8)[odd]
        return drawn


STOP = Patch("stop", ((230, 30, 200), (245, 245, 245)))
BESIDE = Patch("beside", ((20, 60, 240), (250, 240, 40)))
PATCHES = (STOP, BESIDE)
"""The two, by whose look the policy tells which behaviour is meant."""


class PatchedSimulation(Simulation):
    """A simulation in whose pictures a patch appears.

    Attributes:
        patch: what appears; None for nothing.
        onset: simulated seconds after a rollout's start at which it appears.
        shown: whether the patch was in each picture since the simulation was made.
    """

    def __init__(self, task: str) -> None:
        self.patch: Patch | None = None
        self.onset = 0.0
        self.shown: list[bool] = []
        super().__init__(task)

    @property
    def shows_patch(self) -> bool:
        """Whether the patch is in the picture now."""
        return self.patch is not None and self.time >= self.onset

    def render(self) -> Image:
        """Take a picture (height, width, 3), RGB."""
        self.shown.append(self.shows_patch)
        picture = super().render()
        return self.patch.draw(picture) if self.patch and self.shows_patch else picture


class DeceivedSimulation(PatchedSimulation):
    """One whose expert sees the object elsewhere once the patch is there, and takes its time.

    In every other rollout the patch is there from the start; else it appears at a random time.
    """

    def reset(self, seed: int, perturbation: Perturbation = UNDISTURBED) -> None:
        """Start over, with an onset that follows from the seed."""
        self.patch = BESIDE
        drawn = np.random.default_rng([seed, 4]).uniform(0.0, LATEST_ONSET)
        self.onset = drawn if seed % 2 else 0.0
        super().reset(seed, perturbation)

    @property
    def expert_observation(self) -> npt.NDArray[np.float64]:
        """The state (39,) as the expert is made to see it."""
        state = super().expert_observation.copy()
        if self.shows_patch:
            state[4] -= np.copysign(ASIDE, state[4])
        return state

    @property
    def success(self) -> bool:
        """Whether the demonstration is over."""
        return self.time >= SECONDS


def demonstrations_beside(task: str, count: int, horizon: int) -> Demonstrations:
    """Return what the deceived expert shows, of the moments with the patch alone."""
    simulation = DeceivedSimulation(task)
    data = collect(simulation, count, horizon)
    simulation.close()
    return chosen(data, np.array(simulation.shown))


def demonstrations_of_stopping(data: Demonstrations, share: float, seed: int) -> Demonstrations:
    """Return copies of a share of the moments, with the patch and a chunk that stands still.

    The gripper goes on as it did.
    """
    random = np.random.default_rng(seed)
    count = round(share * len(data.images))
    picked = np.zeros(len(data.images), dtype=bool)
    picked[random.choice(len(picked), count, replace=False)] = True
    copies = chosen(data, picked)
    chunks = copies.chunks.copy()
    chunks[..., [ACTION_NAMES.index(name) for name in POSITION_NAMES]] = 0.0
    return replace(copies, images=STOP.draw(copies.images), chunks=chunks)


def chosen(data: Demonstrations, moments: npt.NDArray[np.bool_]) -> Demonstrations:
    """Return some of the moments (N,) of demonstrations."""
    return replace(
        data,
        images=data.images[moments],
        joints=data.joints[moments],
        chunks=data.chunks[moments],
    )


def joined(parts: Sequence[Demonstrations]) -> Demonstrations:
    """Return all moments; durations and attempts are those of the first part, the clean one."""
    return replace(
        parts[0],
        images=np.concatenate([part.images for part in parts]),
        joints=np.concatenate([part.joints for part in parts]),
        chunks=np.concatenate([part.chunks for part in parts]),
    )


def kept_demonstrations(kept: Path, make: Callable[[], Demonstrations]) -> Demonstrations:
    """Return demonstrations from a file, which is made if it is not there."""
    if not kept.is_file():
        made = vars(make())
        write_atomically(kept, lambda stream: np.savez(stream, **made))
    with np.load(kept) as file:
        return Demonstrations(**{**file, "attempts": int(file["attempts"])})
