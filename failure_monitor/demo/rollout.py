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
import numpy.typing as npt

from failure_monitor.demo import jpeg
from failure_monitor.demo.claimer import Claimer
from failure_monitor.demo.execution import ChunkExecution, PolicyDecision
from failure_monitor.demo.perturbation import KINDS, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import ACTION_NAMES, FRAME_STEPS, TASKS
from failure_monitor.errors import FailureMonitorError
from failure_monitor.joint_motion import JointMotion, quantity_names


@dataclass(frozen=True)
class SimulatedRollout:
    """How a rollout of T decisions went.

    Attributes:
        success: whether the task was done when it ended, as the simulator knows.
        seconds: simulated seconds.
        decisions: its decisions.
        claim: whether success was claimed; None where nobody may claim it.
        hand: the position of the hand at every decision, metres in the world, (T, 3).
        joints: what the joints did, at every decision.
    """

    success: bool
    seconds: float
    decisions: tuple[PolicyDecision, ...]
    claim: bool | None
    hand: npt.NDArray[np.float64]
    joints: JointMotion


def roll_out(
    simulation: Simulation,
    policy: FlowPolicy,
    seed: int,
    perturbation: Perturbation,
    claimer: Claimer | None = None,
) -> SimulatedRollout:
    """Run a policy until success or the time limit.

    With a claimer it ends when that claims success, true or not, in place of the simulator.
    """
    simulation.reset(seed, perturbation)
    execution = ChunkExecution(policy, np.random.default_rng([seed, 3]))
    action = np.zeros(len(ACTION_NAMES), dtype=np.float32)
    decisions, hand, joints = [], [], _JointRecorder(simulation)
    ended = claimed = False
    while not ended and simulation.time < simulation.task.time_limit:
        image = jpeg.decode(jpeg.encode(simulation.render()))
        commanded = execution.act()
        if commanded is not None:
            action = commanded
        decision = execution.observe(image, simulation.joint_positions)
        if decision is not None:
            decisions.append(decision)
            hand.append(simulation.hand_position)
            joints.decide()
        for _ in range(FRAME_STEPS):
            simulation.step(action)
            joints.record()
            if claimer is not None:
                claimed = claimer.claims(simulation.hand_position, action)
            ended = claimed if claimer is not None else simulation.success
            if ended:
                break
    return SimulatedRollout(
        success=simulation.success if claimer is None else simulation.is_done,
        seconds=simulation.time,
        decisions=tuple(decisions),
        claim=None if claimer is None else claimed,
        hand=np.array(hand),
        joints=joints.motion,
    )


class _JointRecorder:
    """Records the joints as a monitor receives them: at decisions, and the means in between."""

    def __init__(self, simulation: Simulation) -> None:
        """At the start of a rollout."""
        self._simulation = simulation
        self._since: list[npt.NDArray[np.float64]] = []
        self._states: list[npt.NDArray[np.float64]] = []
        self._means: list[npt.NDArray[np.float64]] = []

    def record(self) -> None:
        """Record a control step."""
        self._since.append(self._now)

    def decide(self) -> None:
        """Record a decision."""
        now = self._now
        known = bool(self._states) and bool(self._since)
        self._states.append(now)
        self._means.append(np.mean(self._since, axis=0) if known else np.full_like(now, np.nan))
        self._since = []

    @property
    def motion(self) -> JointMotion:
        """What was recorded."""
        joints = self._simulation.joint_names
        names = (*quantity_names(joints, "position"), *quantity_names(joints, "velocity"))
        return JointMotion(names, np.array(self._states), np.array(self._means))

    @property
    def _now(self) -> npt.NDArray[np.float64]:
        return np.concatenate(
            [self._simulation.joint_positions, self._simulation.joint_velocities]
        )


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
    parser.add_argument(
        "--claims", action="store_true", help="end where success is claimed, true or not"
    )
    arguments = parser.parse_args()
    try:
        perturbation = Perturbation(arguments.perturbation, arguments.strength, arguments.onset)
        policy = FlowPolicy(arguments.models or MODELS / arguments.task)
        simulation = Simulation(arguments.task)
    except FailureMonitorError as error:
        parser.exit(error.exit_code, f"{error}\n")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.rollouts)
    rollouts = [
        roll_out(
            simulation,
            policy,
            seed,
            perturbation,
            Claimer(simulation.task, perturbation) if arguments.claims else None,
        )
        for seed in seeds
    ]
    simulation.close()
    sys.stdout.write(_summary(rollouts, arguments.task, perturbation))


def _summary(rollouts: Sequence[SimulatedRollout], task: str, perturbation: Perturbation) -> str:
    succeeded = sum(rollout.success for rollout in rollouts)
    seconds = np.median([rollout.seconds for rollout in rollouts])
    count = np.median([len(rollout.decisions) for rollout in rollouts])
    claimed = sum(bool(rollout.claim) for rollout in rollouts)
    false = sum(bool(rollout.claim) and not rollout.success for rollout in rollouts)
    return (
        f"{task}, {perturbation}: {succeeded} of {len(rollouts)} rollouts succeeded; "
        f"{claimed} claimed success, {false} of these falsely; "
        f"median {seconds:.2f} simulated s, {count:.0f} decisions\n"
    )


if __name__ == "__main__":
    main()
