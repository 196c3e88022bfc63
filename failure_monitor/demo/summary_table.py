# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's summaries as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from failure_monitor.demo.summary import RolloutSummary

NOTHING = "–"


def summary_table(summaries: Sequence[RolloutSummary]) -> Table:
    """Return a table with one row per rollout."""
    table = Table(title="What came of the rollouts", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("rollout", no_wrap=True)
    table.add_column("perturbation", no_wrap=True)
    table.add_column("outcome")
    table.add_column("alarm at", justify="right")
    table.add_column("after the\nperturbation", justify="right")
    table.add_column("before\nthe end", justify="right")
    table.add_column("decision to\nclosed gate", justify="right")
    table.add_column("passed after\nthe alarm", justify="right")
    for summary in summaries:
        table.add_row(
            summary.title,
            NOTHING if summary.perturbation == "none" else summary.perturbation,
            summary.outcome,
            _alarm(summary),
            _seconds(summary.detection_delay),
            _seconds(summary.lead_time),
            _milliseconds(summary.reaction_time),
            str(summary.passed_after_alarm) if summary.alarmed else NOTHING,
        )
    return table


def _alarm(summary: RolloutSummary) -> str:
    if summary.alarm_time is None:
        return NOTHING
    return f"decision {summary.alarm_decision}\n{summary.alarm_time:.2f} s"


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} s"


def _milliseconds(value: float | None) -> str:
    return NOTHING if value is None else f"{1e3 * value:.1f} ms"
