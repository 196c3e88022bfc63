# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What commands as sent bring behind a gate that slows them.

python benchmarks/sent_commands.py: the demo's robot and policy without ROS, behind a speed scale
that changes from decision to decision, as that of a response table does. The score of joints is
calibrated twice on the same successful rollouts: with the commands as sent, and with the executed
actions of the chunks, which the gate has slowed. Then both judge undisturbed rollouts and such
with a perturbation of what the robot does; AUROC is of the largest level of a rollout.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from failure_monitor.calibration.calibrate import CalibrationSettings, calibrate
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.demo import jpeg
from failure_monitor.demo.execution import ChunkExecution
from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, CONTROL_PERIOD, FRAME_STEPS, TASKS
from failure_monitor.evaluation.metrics import auroc
from failure_monitor.joint_motion import JointMotion, quantity_names
from failure_monitor.monitoring.monitor import FailureMonitor

SCALES = (1.0, 0.5, 0.25)
"""Of the speed: one is drawn for every decision."""
SCORES = ("joint_effect",)

console = Console(width=110)
progress = Console(stderr=True)


def main(
    task: Annotated[str, Option(choices=tuple(sorted(TASKS)))] = "drawer-open-v3",
    calibration: Annotated[int, Option(help="successful rollouts to calibrate on")] = 30,
    tests: Annotated[int, Option(help="rollouts of each kind to judge")] = 20,
    strength: Annotated[float, Option(help="of the perturbations")] = 0.5,
    onset: Annotated[float, Option(help="simulated seconds until they begin")] = 0.5,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Compare scores of joints that know what was sent with such that know what was asked."""
    policy, simulation = FlowPolicy(MODELS / task), Simulation(task)
    gated = (gated_rollout(simulation, policy, seed) for seed in range(3 * calibration))
    successes = [*islice((rollout for rollout in gated if rollout.success), calibration)]
    usual = [gated_rollout(simulation, policy, 1000 + seed) for seed in range(tests)]
    disturbed = {
        kind: [
            gated_rollout(simulation, policy, 2000 + seed, Perturbation(kind, strength, onset))
            for seed in range(tests)
        ]
        for kind in ("dynamics", "actuation")
    }
    simulation.close()
    figures = {}
    for name, known in (("as sent", list), ("as asked", _as_asked)):
        settings = CalibrationSettings(scores=SCORES, jobs=1)
        monitor = calibrate(known(successes), _format(successes), settings).monitor()
        quiet = _largest_levels(monitor, known(usual))
        figures[name] = {"false alarms": _share_of_alarms(quiet)}
        for kind, rollouts in disturbed.items():
            levels = _largest_levels(monitor, known(rollouts))
            figures[name][f"{kind} alarms"] = _share_of_alarms(levels)
            figures[name][f"{kind} AUROC"] = auroc(levels, quiet) or 0.0
    console.print(
        f"{task}: {len(successes)} to calibrate on, {tests} of each kind", highlight=False
    )
    for name, row in figures.items():
        said = ", ".join(f"{key} {value:.2f}" for key, value in row.items())
        console.print(f"{name}: {said}", highlight=False)
    if results is not None:
        results.write_text(json.dumps(figures, indent=2) + "\n")


def _largest_levels(monitor: FailureMonitor, rollouts: Sequence[Rollout]) -> list[float]:
    return [float(monitor.score_rollout(rollout).max()) for rollout in rollouts]


def _share_of_alarms(levels: Sequence[float]) -> float:
    return float(np.mean(np.array(levels) > 1))


def gated_rollout(
    simulation: Simulation,
    policy: FlowPolicy,
    seed: int,
    perturbation: Perturbation = UNDISTURBED,
) -> Rollout:
    """Run the policy behind a gate that draws a speed for every decision."""
    progress.print(f"rollout {seed} {perturbation.kind}")
    simulation.reset(seed, perturbation)
    random = np.random.default_rng([seed, 4])
    execution = ChunkExecution(policy, np.random.default_rng([seed, 3]))
    action, speed = np.zeros(len(ACTION_NAMES)), 1.0
    stamps, embeddings, chunks, at, states, sent = [], [], [], [], [], []
    while not simulation.success and simulation.time < simulation.task.time_limit:
        states.append(np.concatenate([simulation.joint_positions, simulation.joint_velocities]))
        commanded = execution.act(speed)
        action = action if commanded is None else commanded
        image = jpeg.decode(jpeg.encode(simulation.render()))
        decision = execution.observe(image, simulation.joint_positions)
        if decision is not None:
            speed = float(random.choice(SCALES))
            at.append(len(states) - 1)
            stamps.append(simulation.time)
            embeddings.append(decision.embedding)
            chunks.append(decision.chunks)
        sent.append(action)
        for _ in range(FRAME_STEPS):
            simulation.step(action)
            if simulation.success:
                break
    names = [*quantity_names(simulation.joint_names, "position")]
    names += quantity_names(simulation.joint_names, "velocity")
    joints = JointMotion(
        tuple(name.replace("_close", "_finger") for name in names),
        np.array(states)[at],
        _means(np.array(states), at, after=1),
        ACTION_NAMES,
        _means(np.array(sent), at, after=0),
    )
    return Rollout(
        name=f"{perturbation.kind} {seed}",
        stamps=np.array(stamps),
        embeddings=np.array(embeddings, np.float32),
        chunks=np.array(chunks, np.float32),
        success=simulation.success,
        sha256=f"{seed:064x}",
        joints=joints,
    )


def _means(values: NDArray[np.float64], at: Sequence[int], *, after: int) -> NDArray[np.float64]:
    """Return the mean of frames from each decision to the next, (T, N); NaN at the first."""
    means = np.full((len(at), values.shape[1]), np.nan)
    for number in range(1, len(at)):
        means[number] = values[at[number - 1] + after : at[number] + after].mean(axis=0)
    return means


def _as_asked(rollouts: Sequence[Rollout]) -> list[Rollout]:
    return [
        replace(rollout, joints=replace(rollout.joints, command_names=(), commands=None))
        for rollout in rollouts
        if rollout.joints is not None
    ]


def _format(rollouts: Sequence[Rollout]) -> PolicyFormat:
    _, samples, horizon, _ = rollouts[0].chunks.shape
    return PolicyFormat(
        embedding_size=rollouts[0].embeddings.shape[1],
        samples=samples,
        horizon=horizon,
        action_names=ACTION_NAMES,
        action_kind="delta",
        control_period=FRAME_STEPS * CONTROL_PERIOD,
    )


if __name__ == "__main__":
    run_alone(main)
