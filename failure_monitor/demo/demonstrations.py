# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrations: what the expert does, seen through the robot's camera and joints."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from failure_monitor.demo import jpeg
from failure_monitor.demo.expert import Expert
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import FRAME_STEPS

FIRST_SEED = 1_000_000
"""Demonstrations use the seeds from here on; rollouts use smaller ones."""

MAX_LATENCY = 2
"""Control steps by which an action may come late, at most."""

_MAX_DISTURBANCE = 0.25
_PERSISTENCE = 0.6


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
    simulation.reset(seed)
    images: list[npt.NDArray[np.uint8]] = []
    joints: list[npt.NDArray[np.float64]] = []
    actions: list[npt.NDArray[np.float64]] = []
    disturbance = rng.uniform(0.0, _MAX_DISTURBANCE)
    noise, executed = np.zeros(3), np.zeros(4)
    ended: float | None = None
    while simulation.time < simulation.task.time_limit:
        if ended is None:
            images.append(jpeg.decode(jpeg.encode(simulation.render())))
            joints.append(simulation.joint_positions)
        # The expert goes on for one horizon after its success, so that the last chunks are whole.
        elif len(actions) >= len(images) + horizon - 1:
            break
        action = expert.action(simulation.expert_observation)
        actions.append(action)
        noise = _next_disturbance(noise, disturbance, rng)
        before, executed = executed, action + np.append(noise, 0.0)
        _hold(simulation, before, executed, latency=int(rng.integers(MAX_LATENCY + 1)))
        if ended is None and simulation.success:
            ended = simulation.time
    if ended is None or len(actions) < len(images) + horizon - 1:
        return None
    chunks = np.lib.stride_tricks.sliding_window_view(np.array(actions), horizon, axis=0)
    return (
        np.array(images),
        np.array(joints, dtype=np.float32),
        chunks[: len(images)].transpose(0, 2, 1).astype(np.float32),
        ended,
    )


def _hold(
    simulation: Simulation,
    before: npt.NDArray[np.float64],
    action: npt.NDArray[np.float64],
    latency: int,
) -> None:
    """Execute one frame whose new action arrives `latency` control steps late."""
    for step in range(FRAME_STEPS):
        simulation.step(before if step < latency else action)


def _next_disturbance(
    noise: npt.NDArray[np.float64], scale: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Noise (3,) on the executed action: it makes the expert show how to recover (DART)."""
    fresh = rng.normal(scale=scale, size=3)
    return _PERSISTENCE * noise + np.sqrt(1.0 - _PERSISTENCE**2) * fresh
