# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A rollout in one process, without ROS: quick figures on how a policy fares, and an archive.

Run as `python -m failure_monitor.demo.rollout --task TASK --rollouts N --output FILE.npz`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import Rollout
from failure_monitor.demo import jpeg
from failure_monitor.demo.claimer import Claimer
from failure_monitor.demo.execution import ChunkExecution, PolicyDecision
from failure_monitor.demo.perturbation import KINDS, UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import (
    ACTION_NAMES,
    FRAME_PERIOD,
    FRAME_STEPS,
    TASKS,
)
from failure_monitor.joint_motion import JointMotion, quantity_names
from failure_monitor.sources.archive import reject_other_name, write_archive
from failure_monitor.sources.rollout_set import RolloutSet


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

    def recorded(self, policy: FlowPolicy, name: str, group: str = "") -> Rollout:
        """Return it as a bag would hold it, with what the simulator knows of its outcome.

        Args:
            policy: the policy that decided.
            name: the name of the rollout.
            group: the kind of the perturbation.
        """
        period = policy.h_exec * FRAME_PERIOD
        return Rollout(
            name=name,
            stamps=np.arange(len(self.decisions), dtype=np.float64) * period,
            embeddings=np.array([decision.embedding for decision in self.decisions]),
            chunks=np.array([decision.chunks for decision in self.decisions]),
            success=self.success,
            claim=self.claim,
            outcome_by="labels",
            group=group,
            joints=self.joints,
        )


def roll_out(
    simulation: Simulation,
    policy: FlowPolicy,
    seed: int,
    perturbation: Perturbation,
    claimer: Claimer | None = None,
    *,
    frames_standing: int = 0,
) -> SimulatedRollout:
    """Run a policy until success or the time limit.

    Args:
        simulation: the robot and its scene.
        policy: what decides.
        seed: of the scene, and of the noise that action chunks are sampled from.
        perturbation: what goes wrong.
        claimer: ends the rollout by claiming success, true or not, in place of the simulator.
        frames_standing: camera frames for which the arm stands before the first decision: one in
            the live demo, where no image comes before.
    """
    simulation.reset(seed, perturbation)
    for _ in range(frames_standing * FRAME_STEPS):
        simulation.step(np.zeros(len(ACTION_NAMES), dtype=np.float32))
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


def main(
    task: Annotated[str, Option(help=", ".join(sorted(TASKS)), choices=tuple(sorted(TASKS)))],
    models: Annotated[
        Path | None, Option(help="default: those that come with the package")
    ] = None,
    rollouts: Annotated[int, Option(help="how many", min=1)] = 20,
    first_seed: Annotated[int, Option(help="the seed of the first", min=0)] = 0,
    perturbation: Annotated[
        str,
        Option(help=f"what goes wrong: {', '.join(sorted(KINDS))}", choices=tuple(sorted(KINDS))),
    ] = UNDISTURBED.kind,
    strength: Annotated[float, Option(help="of the perturbation")] = 1.0,
    onset: Annotated[float, Option(help="of the perturbation, simulated seconds")] = 0.5,
    claims: Annotated[bool, Option(help="end where success is claimed, true or not")] = False,
    output: Annotated[
        Path | None, Option(help="write the rollouts into this archive, .npz", writes="file")
    ] = None,
) -> None:
    """Print how many rollouts succeed, and how long they take; write them as an archive."""
    if output is not None:
        reject_other_name(output)
    disturbed = Perturbation(perturbation, strength, onset)
    policy = FlowPolicy(models or MODELS / task)
    simulation = Simulation(task)
    seeds = range(first_seed, first_seed + rollouts)
    simulated = [
        roll_out(
            simulation,
            policy,
            seed,
            disturbed,
            Claimer(simulation.task, disturbed) if claims else None,
            frames_standing=1,
        )
        for seed in seeds
    ]
    simulation.close()
    sys.stdout.write(_summary(simulated, task, disturbed))
    if output is not None:
        _write(simulated, seeds, policy, disturbed, output)


def _write(
    rollouts: Sequence[SimulatedRollout],
    seeds: Sequence[int],
    policy: FlowPolicy,
    perturbation: Perturbation,
    output: Path,
) -> None:
    kind = perturbation.kind
    recorded = tuple(
        rollout.recorded(policy, f"{kind}_{seed}", kind)
        for rollout, seed in zip(rollouts, seeds, strict=True)
    )
    write_archive(output, RolloutSet(policy.format, recorded))


def _summary(rollouts: Sequence[SimulatedRollout], task: str, perturbation: Perturbation) -> str:
    succeeded = sum(rollout.success for rollout in rollouts)
    seconds = np.median([rollout.seconds for rollout in rollouts])
    count = np.median([len(rollout.decisions) for rollout in rollouts])
    claimed = [rollout.claim for rollout in rollouts if rollout.claim is not None]
    false = sum(bool(rollout.claim) and not rollout.success for rollout in rollouts)
    claims = f"; {sum(claimed)} claimed success, {false} of these falsely" if claimed else ""
    return (
        f"{task}, {_described(perturbation)}: {succeeded} of {len(rollouts)} rollouts succeeded"
        f"{claims}; median {seconds:.2f} simulated s, {count:.0f} decisions\n"
    )


def _described(perturbation: Perturbation) -> str:
    if perturbation.kind == UNDISTURBED.kind:
        return "undisturbed"
    strength, onset = perturbation.strength, perturbation.onset
    return f"{KINDS[perturbation.kind]} (strength {strength:g}, from {onset:g} s on)"


if __name__ == "__main__":
    run_alone(main)
