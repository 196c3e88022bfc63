# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What commands as sent bring behind a gate that slows them.

python benchmarks/sent_commands.py: the demo's robot and policy without ROS, behind a gate whose
speed scale is drawn again at every decision. Undisturbed successful rollouts are dealt at random
again and again; of each dealing some calibrate, with the commands as sent and with the executed
actions of the chunks in their place, which the gate has slowed, and the others show how often the
alarm is false. Rollouts in which the robot does not do what it is told show what is found of that:
early, that is at a decision before the median length of the calibration rollouts, as such rollouts
last longer. `--ungated` shows what of this is not the gate's doing: the robot goes on with the
chunk before for one frame after a decision, so that chunks tell less than commands without a gate,
too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.rollout import roll_out
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import (
    ACTION_NAMES,
    FRAME_STEPS,
    POSITION_NAMES,
    TASKS,
)
from failure_monitor.evaluation.metrics import auroc
from failure_monitor.scores.registry import DEFAULT_SCORES

SPEEDS = (1.0, 0.5, 0.25)
"""Those that the gate lets through: one is drawn at every decision."""
STRENGTHS = {"dynamics": (0.002, 0.01, 0.05), "actuation": (0.05, 0.1, 0.2)}
"""Of each kind of perturbation, so weak that it can be missed."""
ONSET = 0.5
"""Simulated seconds until a perturbation begins."""
RULES = {"joint_effect": ("joint_effect",), "the default rule": (*DEFAULT_SCORES, "joint_effect")}
"""The demo's policy keeps the fingers still: `gripper_effect` has nothing to learn."""

console = Console(width=110)
progress = Console(stderr=True)


class GatedRobot(Simulation):
    """The demo's robot behind a gate that draws a speed for every decision.

    Attributes:
        sent: the commands that the gate has sent, one for every control step.
    """

    def __init__(self, task: str, steps: int, speeds: Sequence[float]) -> None:
        """Put a gate before the robot.

        Args:
            task: of the demo.
            steps: control steps from one decision to the next.
            speeds: those to draw from.
        """
        self.steps, self._speeds = steps, speeds
        super().__init__(task)

    def reset(self, seed: int, perturbation: Perturbation = UNDISTURBED) -> None:
        """Start over, with speeds that follow from the seed."""
        super().reset(seed, perturbation)
        self.sent: list[npt.NDArray[np.float64]] = []
        self._random = np.random.default_rng([seed, 4])

    def step(self, action: npt.ArrayLike) -> None:
        """Execute an action as fast as the gate lets it."""
        if len(self.sent) % self.steps == 0:
            self._speed = self._random.choice(self._speeds)
        command = np.array(action, dtype=np.float64)
        command[: len(POSITION_NAMES)] *= self._speed
        self.sent.append(command)
        super().step(command)

    def means(self, decisions: int) -> npt.NDArray[np.float64]:
        """Return the mean command from each decision to the next, (T, D); NaN at the first."""
        between = np.array(self.sent[: (decisions - 1) * self.steps])
        means = between.reshape(decisions - 1, self.steps, -1).mean(axis=1)
        return np.concatenate([np.full((1, means.shape[1]), np.nan), means])


@dataclass(frozen=True)
class Found:
    """What a rule found, the mean over dealings.

    Attributes:
        rule: its title.
        known: what it knows of commands.
        false_alarms: the share of undisturbed successes with an alarm, whenever it came.
        spread: the standard deviation of that over dealings.
        alarms: the share of rollouts with an early alarm, by kind and strength of perturbation.
        auroc: of their largest early levels and those of undisturbed successes.
    """

    rule: str
    known: str
    false_alarms: float
    spread: float
    alarms: dict[str, float]
    auroc: dict[str, float]


def main(
    task: Annotated[str, Option(choices=tuple(sorted(TASKS)))] = "drawer-open-v3",
    calibration: Annotated[int, Option(min=10, help="rollouts to calibrate on")] = 40,
    tests: Annotated[int, Option(min=1, help="rollouts of each kind to judge")] = 40,
    dealings: Annotated[int, Option(min=1, help="of undisturbed rollouts")] = 10,
    ungated: Annotated[bool, Option(help="let all commands through as they are")] = False,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Compare scores of joints that know what was sent with such that know what was asked."""
    policy = FlowPolicy(MODELS / task)
    robot = GatedRobot(task, policy.h_exec * FRAME_STEPS, (1.0,) if ungated else SPEEDS)
    usual: list[Rollout] = []
    for seed in count():
        rollout = recorded(robot, policy, seed)
        usual += [rollout] if rollout.success else []
        if len(usual) == calibration + tests:
            break
    disturbed = {
        f"{kind} {strength:g}": [
            recorded(robot, policy, 10_000 + number, Perturbation(kind, strength, ONSET))
            for number in range(tests)
        ]
        for kind, strengths in STRENGTHS.items()
        for strength in strengths
    }
    robot.close()
    form = policy.format
    found = [
        found_by(name, known, form, usual, disturbed, calibration, dealings)
        for name in RULES
        for known in ("as sent", "as asked")
    ]
    decisions = np.median([len(rollout) for rollout in usual])
    console.print(
        f"{task}{', ungated' if ungated else ''}: {seed + 1} rollouts for {len(usual)} successes "
        f"of {decisions:g} decisions (median), {calibration} of them to calibrate on in "
        f"{dealings} dealings; {tests} rollouts of each perturbation",
        highlight=False,
    )
    succeeded = {
        kind: sum(bool(rollout.success) for rollout in own) for kind, own in disturbed.items()
    }
    console.print(_table(found, succeeded))
    if results is not None:
        rows = [asdict(each) for each in found]
        results.write_text(json.dumps({"succeeded": succeeded, "found": rows}, indent=2) + "\n")


def recorded(
    robot: GatedRobot, policy: FlowPolicy, seed: int, perturbation: Perturbation = UNDISTURBED
) -> Rollout:
    """Run the policy, and keep what joints did and what was sent."""
    progress.print(f"rollout {seed} {perturbation.kind} {perturbation.strength:g}")
    made = roll_out(robot, policy, seed, perturbation)
    rollout = made.recorded(policy, f"{perturbation.kind} {perturbation.strength:g} {seed}")
    means = robot.means(len(made.decisions))
    joints = replace(made.joints, command_names=ACTION_NAMES, commands=means)
    return replace(rollout, joints=joints)


def found_by(
    rule: str,
    known: str,
    form: PolicyFormat,
    usual: Sequence[Rollout],
    disturbed: dict[str, list[Rollout]],
    calibration: int,
    dealings: int,
) -> Found:
    """Calibrate a rule on rollouts as they were dealt, again and again, and judge the others."""
    settings = CalibrationSettings(scores=RULES[rule], jobs=1, outcome_alpha=0)
    usual = [_known(rollout, known) for rollout in usual]
    false_alarms = []
    alarms: dict[str, list[float]] = {kind: [] for kind in disturbed}
    areas: dict[str, list[float]] = {kind: [] for kind in disturbed}
    for dealing in range(dealings):
        progress.print(f"{rule}, {known}: dealing {dealing}")
        order = np.random.default_rng(dealing).permutation(len(usual))
        dealt = [usual[place] for place in order]
        bundle = calibrate(dealt[:calibration], form, settings)
        early = int(np.median([len(rollout) for rollout in dealt[:calibration]]))
        quiet = [bundle.levels(rollout) for rollout in dealt[calibration:]]
        false_alarms.append(float(np.mean([levels.max() > 1 for levels in quiet])))
        for kind, rollouts in disturbed.items():
            largest = [
                float(bundle.levels(_known(rollout, known))[:early].max()) for rollout in rollouts
            ]
            alarms[kind].append(float(np.mean(np.array(largest) > 1)))
            area = auroc(largest, [float(levels[:early].max()) for levels in quiet])
            areas[kind].append(float("nan") if area is None else area)
    return Found(
        rule,
        known,
        float(np.mean(false_alarms)),
        float(np.std(false_alarms)),
        {kind: float(np.mean(values)) for kind, values in alarms.items()},
        {kind: float(np.mean(values)) for kind, values in areas.items()},
    )


def _known(rollout: Rollout, known: str) -> Rollout:
    """Return a rollout with the commands as sent, or without them."""
    if known == "as sent" or rollout.joints is None:
        return rollout
    return replace(rollout, joints=replace(rollout.joints, command_names=(), commands=None))


def _table(found: Sequence[Found], succeeded: dict[str, int]) -> Table:
    table = Table("perturbation", "succeeded", box=SIMPLE_HEAD)
    for each in found:
        table.add_column(f"{each.rule}, {each.known}", justify="right")
    table.add_row(
        "none: false alarms",
        "all",
        *(f"{each.false_alarms:.3f} ± {each.spread:.3f}" for each in found),
    )
    for kind, number in succeeded.items():
        found_early = (f"{each.alarms[kind]:.2f} / {each.auroc[kind]:.2f}" for each in found)
        table.add_row(kind, str(number), *found_early)
    return table


if __name__ == "__main__":
    run_alone(main)
