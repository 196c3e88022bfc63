# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A rollout in one process, without ROS: quick figures on how a policy fares.

Run as `python -m failure_monitor.demo.rollout --task TASK --rollouts N`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from failure_monitor.demo import jpeg
from failure_monitor.demo.execution import ChunkExecution, PolicyDecision
from failure_monitor.demo.perturbation import KINDS, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, FRAME_STEPS, TASKS
from failure_monitor.errors import FailureMonitorError


@dataclass(frozen=True)
class SimulatedRollout:
    """How a rollout went: success, simulated seconds, and its decisions."""

    success: bool
    seconds: float
    decisions: tuple[PolicyDecision, ...]


def roll_out(
    simulation: Simulation,
    policy: FlowPolicy,
    seed: int,
    perturbation: Perturbation,
) -> SimulatedRollout:
    """Run a policy until success or the time limit."""
    simulation.reset(seed, perturbation)
    execution = ChunkExecution(policy, np.random.default_rng([seed, 3]))
    action = np.zeros(len(ACTION_NAMES), dtype=np.float32)
    decisions = []
    while not simulation.success and simulation.time < simulation.task.time_limit:
        image = jpeg.decode(jpeg.encode(simulation.render()))
        commanded = execution.act()
        if commanded is not None:
            action = commanded
        decision = execution.observe(image, simulation.joint_positions)
        if decision is not None:
            decisions.append(decision)
        for _ in range(FRAME_STEPS):
            simulation.step(action)
            if simulation.success:
                break
    return SimulatedRollout(simulation.success, simulation.time, tuple(decisions))


def main() -> None:
    """Print how many rollouts succeed, and how long they take."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--task", required=True, choices=sorted(TASKS))
    parser.add_argument("--models", type=Path, help="default: those that come with the package")
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--perturbation", choices=sorted(KINDS), default="none")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--onset", type=float, default=0.5, help="simulated seconds")
    arguments = parser.parse_args()
    try:
        perturbation = Perturbation(arguments.perturbation, arguments.strength, arguments.onset)
        policy = FlowPolicy(arguments.models or MODELS / arguments.task)
        simulation = Simulation(arguments.task)
    except FailureMonitorError as error:
        parser.exit(error.exit_code, f"{error}\n")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.rollouts)
    rollouts = [roll_out(simulation, policy, seed, perturbation) for seed in seeds]
    simulation.close()
    sys.stdout.write(_summary(rollouts, arguments.task, perturbation))


def _summary(rollouts: Sequence[SimulatedRollout], task: str, perturbation: Perturbation) -> str:
    succeeded = sum(rollout.success for rollout in rollouts)
    seconds = np.median([rollout.seconds for rollout in rollouts])
    count = np.median([len(rollout.decisions) for rollout in rollouts])
    return (
        f"{task}, {perturbation}: {succeeded} of {len(rollouts)} rollouts succeeded; "
        f"median {seconds:.2f} simulated s, {count:.0f} decisions\n"
    )


if __name__ == "__main__":
    main()
