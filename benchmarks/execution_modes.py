# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the monitor makes of a policy in each mode of execution, by stamps and by a constant.

python benchmarks/execution_modes.py: of a small simulated robot with its policy, in each mode:
whether the number of executed actions is exact, early AUROC, false alarms and detection, and the
age of plans. Then the false alarms of a bundle that was calibrated in another mode.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from benchmark_parts.executing_robot import FAULTS, MODES, POLICY, roll_out
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.plan_age import longest_plan_age
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.decision import ACTION_KINDS, ActionKind, PolicyFormat, Rollout
from failure_monitor.errors import one_of
from failure_monitor.evaluation.evaluate import evaluate
from failure_monitor.scores.base.executed_actions import ExecutedActions, usual_actions
from failure_monitor.sources.rollout_set import RolloutSet

console = Console(width=150)


class ModeFigures:
    """The rollouts of one mode, and what the monitor makes of them."""

    def __init__(self, mode: str, kind: ActionKind, *, calibration: int, tests: int) -> None:
        """Run the rollouts."""
        runs = [roll_out(mode, seed, kind=kind) for seed in range(2 * calibration)]
        done = [run for run in runs if run[0].success][:calibration]
        self.mode = mode
        self.calibration = [rollout for rollout, _ in done]
        self._records = [record for _, record in done]
        nominal = [roll_out(mode, 10_000 + seed, kind=kind)[0] for seed in range(tests)]
        faulty = [
            roll_out(mode, 20_000 + seed, fault, kind=kind)[0]
            for fault in FAULTS
            for seed in range(tests // len(FAULTS))
        ]
        self.tests = [*nominal, *faulty]
        guided = 3 if mode == "real-time chunking" else 0
        self.stamped = replace(POLICY, action_kind=kind, guided_actions=guided)
        self.constant = replace(
            self.stamped,
            control_period=None,
            executed_actions=usual_actions(self.stamped, self.calibration),
        )

    def exact(self, policy: PolicyFormat) -> float:
        """Return for which share of decisions the number of executed actions is exact."""
        usual = usual_actions(policy, self.calibration) or 0
        executed = ExecutedActions(usual, policy.control_period)
        right = [
            executed.counts(np.diff(rollout.nanoseconds)) == np.diff(record.steps)
            for rollout, record in zip(self.calibration, self._records, strict=True)
        ]
        return float(np.concatenate(right).mean())

    def bundle(self, policy: PolicyFormat) -> Bundle:
        """Calibrate the default rule, as far as the mode allows it."""
        choice = choose_rule(self.calibration, policy)
        settings = CalibrationSettings(scores=choice.scores, jobs=1)
        return calibrate(self.calibration, policy, settings)

    def measured(self, policy: PolicyFormat) -> dict[str, Any]:
        """Return the figures of the default rule."""
        metrics = evaluate(self.bundle(policy), RolloutSet(policy, tuple(self.tests))).metrics
        return {
            "early_auroc": metrics.overall.early_auroc,
            "false_alarms": metrics.overall.false_alarm_rate,
            "detected": metrics.overall.tpr,
            "exact": self.exact(policy),
        }

    @property
    def plan_age(self) -> float | None:
        """The longest time for which a plan was executed, in seconds."""
        delays = {
            rollout.sha256: np.array(record.delays)
            for rollout, record in zip(self.calibration, self._records, strict=True)
        }
        return longest_plan_age(self.calibration, delays)


def false_alarms(bundle: Bundle, rollouts: list[Rollout]) -> float:
    """Return the share of nominal, successful rollouts with an alarm."""
    nominal = [rollout for rollout in rollouts if rollout.success and rollout.group == "id"]
    return float(np.mean([(bundle.levels(rollout) > 1).any() for rollout in nominal]))


def main(
    calibration: Annotated[int, Option(help="successful rollouts of each mode")] = 40,
    tests: Annotated[int, Option(help="nominal rollouts of each mode, and as many faulty")] = 60,
    kind: Annotated[
        str, Option(help="position or delta", choices=("position", "delta"))
    ] = "delta",
    output: Annotated[Path | None, Option("--json", help="write the results here")] = None,
) -> None:
    """Run every mode, print the tables, and write them as JSON."""
    own_kind = one_of(kind, ACTION_KINDS, "action kind")
    modes = [ModeFigures(mode, own_kind, calibration=calibration, tests=tests) for mode in MODES]
    results: dict[str, Any] = {}
    table = Table(box=SIMPLE_HEAD)
    for column in (
        "mode",
        "decisions",
        "exact by\nstamps",
        "by a\nconstant",
        "early AUROC\nby stamps",
        "by a\nconstant",
        "false alarms\nby stamps",
        "by a\nconstant",
        "detected\nby stamps",
        "longest age\nof a plan",
    ):
        table.add_column(column, justify="left" if column == "mode" else "right")
    for own in modes:
        stamps, constant = own.measured(own.stamped), own.measured(own.constant)
        decisions = float(np.median([len(rollout) for rollout in own.calibration]))
        results[own.mode] = {
            "stamps": stamps,
            "constant": constant,
            "plan_age": own.plan_age,
            "decisions": decisions,
        }
        table.add_row(
            own.mode,
            f"{decisions:.0f}",
            *(f"{100 * of['exact']:.0f} %" for of in (stamps, constant)),
            *(f"{of['early_auroc']:.2f}" for of in (stamps, constant)),
            *(f"{of['false_alarms']:.2f}" for of in (stamps, constant)),
            f"{stamps['detected']:.2f}",
            f"{own.plan_age:.2f} s",
        )
    console.print(table)
    queued = modes[0].bundle(modes[0].stamped)
    console.print(f"successes with an alarm, calibrated in the mode '{modes[0].mode}':")
    results["calibrated in the first mode"] = {
        own.mode: false_alarms(queued, own.tests) for own in modes
    }
    for mode, rate in results["calibrated in the first mode"].items():
        console.print(f"  {mode}: {rate:.2f}", highlight=False)
    if output is not None:
        output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    run_alone(main)
