# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluation, as Markdown, with what chance alone would let them vary by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from examples.lerobot.live import GatedRollout
from examples.lerobot.perturbations import UNDISTURBED, Perturbation
from examples.lerobot.plan import Plan
from failure_monitor.evaluation.evaluate import Evaluation
from failure_monitor.evaluation.metrics import Metrics, RolloutResult, clopper_pearson, measure

DRAWS = 1000
"""Times that rollouts are drawn anew for an interval."""


def summary_table(evaluations: Mapping[str, Evaluation]) -> str:
    """Return a column for each policy's rule, and one for its control."""
    columns = {}
    for policy, evaluation in evaluations.items():
        columns[policy] = _figures(evaluation, evaluation.results)
        columns[f"{policy}: elapsed time (control)"] = _figures(evaluation, evaluation.elapsed)
    names = next(iter(columns.values()))
    rows = [[name, *(column[name] for column in columns.values())] for name in names]
    return markdown(["", *columns], rows)


def _figures(evaluation: Evaluation, results: Sequence[RolloutResult]) -> dict[str, str]:
    metrics = _measure(results)
    failures = [result for result in results if not result.success]
    undisturbed = [result for result in results if result.success and result.group == UNDISTURBED]
    early = ", ".join(f"{each:g}" for each in sorted({*evaluation.early_decisions.values()}))
    return {
        "calibration rollouts": str(evaluation.n_calibration),
        "successes, failures": f"{metrics.n_success}, {metrics.n_failure}",
        "early: before decision": early,
        "early balanced accuracy": _interval(results, "early_balanced_accuracy"),
        "early AUROC": _interval(results, "early_auroc"),
        "failures with an early alarm": _share([each.alarms_early for each in failures]),
        "failures with an alarm": _share([each.alarms for each in failures]),
        "lead time, median": _seconds(metrics.lead_time_s),
        "false alarms, undisturbed successes": _share([each.alarms for each in undisturbed]),
        "false alarms, all successes": _share([r.alarms for r in results if r.success]),
    }


def group_table(evaluation: Evaluation, plans: Sequence[Plan]) -> str:
    """Return a row for each kind of perturbation, of rollouts that were run by these plans."""
    rows = []
    for group in sorted({result.group for result in evaluation.results}, key=_undisturbed_first):
        results = [result for result in evaluation.results if result.group == group]
        successes = [result for result in results if result.success]
        failures = [result for result in results if not result.success]
        delays = [_delay(each, plans[_number(each)]) for each in failures if each.alarms]
        rows.append(
            (
                "undisturbed" if group == UNDISTURBED else group,
                str(len(results)),
                str(len(successes)),
                _count(successes),
                _count(failures),
                _seconds(float(np.median(delays)) if delays and group != UNDISTURBED else None),
            )
        )
    head = (
        "rollouts",
        "n",
        "successes",
        "of these with an alarm",
        "failures with an alarm",
        "alarm after the perturbation, median",
    )
    return markdown(head, rows)


def _number(result: RolloutResult) -> int:
    """Return the number of a rollout, with which the name of its bag ends."""
    return int(result.name.rpartition("_")[2])


def _delay(result: RolloutResult, plan: Plan) -> float:
    """Return the seconds from the perturbation to the alarm; the first decision is at 0 s."""
    alarm = result.stamps[result.alarm_decision or 0] - result.stamps[0]
    return float(alarm) - Perturbation(plan.kind, plan.seed).onset


def live_table(rollouts: Iterable[GatedRollout]) -> str:
    """Return a row for each rollout behind the gate."""
    rows = [
        (
            "undisturbed" if not rollout.outcome.plan.is_perturbed else rollout.outcome.plan.kind,
            _seconds(rollout.perturbed_at),
            _seconds(rollout.alarm_at),
            str(rollout.passed_after_alarm) if rollout.alarm_at is not None else "—",
            _ending(rollout),
            rollout.reason.partition(";")[0] or "—",
        )
        for rollout in rollouts
    ]
    head = ("rollout", "perturbed at", "alarm at", "commands passed after it", "end", "reason")
    return markdown(head, rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _interval(results: Sequence[RolloutResult], figure: str) -> str:
    """Return a figure with its 95 % interval over rollouts drawn anew from each outcome."""
    parts = [[r for r in results if r.success is outcome] for outcome in (True, False)]
    if not all(parts):
        return "—"
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        picked = [part[i] for part in parts for i in random.integers(0, len(part), len(part))]
        drawn.append(getattr(_measure(picked), figure))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{getattr(_measure(results), figure):.2f} ({low:.2f}–{high:.2f})"


def _measure(results: Sequence[RolloutResult]) -> Metrics:
    return measure(results, longest=max(result.decisions for result in results))


def _share(events: Sequence[bool]) -> str:
    interval = clopper_pearson(sum(events), len(events))
    if interval is None:
        return "—"
    return f"{sum(events)} of {len(events)} ({interval[0]:.2f}–{interval[1]:.2f})"


def _count(results: Sequence[RolloutResult]) -> str:
    return f"{sum(result.alarms for result in results)} of {len(results)}" if results else "—"


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f} s"


def _ending(rollout: GatedRollout) -> str:
    if rollout.outcome.success:
        return "success"
    return "failure" if rollout.alarm_at is None else "stopped"


def _undisturbed_first(group: str) -> tuple[bool, str]:
    return group != UNDISTURBED, group
