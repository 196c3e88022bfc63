# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrations: what the expert does, seen through the robot's camera and joints."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from failure_monitor.demo import jpeg
from failure_monitor.demo.expert import Expert
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, FRAME_STEPS

FIRST_SEED = 1_000_000
"""Demonstrations use the seeds from here on; rollouts use smaller ones."""

MAX_LATENCY = 2
"""Control steps by which an action may come late, at most."""

_MAX_DISTURBANCE = 0.25
"""Largest standard deviation of the noise on executed velocities; each demonstration draws one."""

_PERSISTENCE = 0.6
"""Correlation of that noise from one camera frame to the next."""


@dataclass(frozen=True)
class Demonstrations:
    """Frames of many demonstrations with the action chunk that the expert meant at each.

    Attributes:
        images: uint8 (N, height, width, 3), RGB, as the camera delivers them.
        joints: float32 (N, J), joint positions.
        chunks: float32 (N, H, 4), the expert's action at this frame and the next H - 1.
        seconds: how long each successful demonstration took (M,).
        attempts: demonstrations tried, failures among them.
    """

    images: npt.NDArray[np.uint8]
    joints: npt.NDArray[np.float32]
    chunks: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float64]
    attempts: int


_Recorded = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32], float]


def collect(simulation: Simulation, count: int, horizon: int) -> Demonstrations:
    """Record `count` successful demonstrations of the simulation's task."""
    recorded: list[_Recorded] = []
    attempts = 0
    while len(recorded) < count:
        demonstration = _demonstrate(simulation, FIRST_SEED + attempts, horizon)
        attempts += 1
        if demonstration is not None:
            recorded.append(demonstration)
    images, joints, chunks, seconds = zip(*recorded, strict=True)
    return Demonstrations(
        images=np.concatenate(images),
        joints=np.concatenate(joints),
        chunks=np.concatenate(chunks),
        seconds=np.array(seconds),
        attempts=attempts,
    )


def _demonstrate(simulation: Simulation, seed: int, horizon: int) -> _Recorded | None:
    """Roll the expert out under disturbed execution; None if it fails."""
    rng = np.random.default_rng([seed, 2])
    expert = Expert(simulation.task.name, rng)
    execution = _DisturbedExecution(rng)
    simulation.reset(seed)
    images: list[npt.NDArray[np.uint8]] = []
    joints: list[npt.NDArray[np.float64]] = []
    actions: list[npt.NDArray[np.float64]] = []
    while not simulation.success and simulation.time < simulation.task.time_limit:
        images.append(jpeg.decode(jpeg.encode(simulation.render())))
        joints.append(simulation.joint_positions)
        actions.append(expert.action(simulation.expert_observation))
        execution.run(simulation, actions[-1])
    if not simulation.success:
        return None
    seconds = simulation.time
    # The expert goes on after its success, so that the last chunks are whole.
    for _ in range(horizon - 1):
        actions.append(expert.action(simulation.expert_observation))
        execution.run(simulation, actions[-1])
    chunks = np.lib.stride_tricks.sliding_window_view(np.array(actions), horizon, axis=0)
    return (
        np.array(images),
        np.array(joints, dtype=np.float32),
        chunks.transpose(0, 2, 1).astype(np.float32),
        seconds,
    )


class _DisturbedExecution:
    """Executes actions late and with noise, so that the expert shows how to recover (DART)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._scale = rng.uniform(0.0, _MAX_DISTURBANCE)
        self._noise = np.zeros(3)
        self._executed = np.zeros(len(ACTION_NAMES))

    def run(self, simulation: Simulation, action: npt.NDArray[np.float64]) -> None:
        """Execute one camera frame; the new action (4,) takes over from the one before."""
        fresh = self._rng.normal(scale=self._scale, size=3)
        self._noise = _PERSISTENCE * self._noise + np.sqrt(1.0 - _PERSISTENCE**2) * fresh
        before, self._executed = self._executed, action + np.append(self._noise, 0.0)
        latency = self._rng.integers(MAX_LATENCY + 1)
        for step in range(FRAME_STEPS):
            simulation.step(before if step < latency else self._executed)
