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
    """Return a table with one row per rollout, for 80 columns."""
    table = Table(title="What came of the rollouts", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("rollout,\nperturbation", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("alarm at", justify="right", no_wrap=True)
    table.add_column("after\nonset", justify="right", no_wrap=True)
    table.add_column("before\nend", justify="right", no_wrap=True)
    table.add_column("gate\nclosed", justify="right", no_wrap=True)
    table.add_column("passed\nafter", justify="right", no_wrap=True)
    table.caption = (
        "Seconds from the onset of the perturbation to the alarm, and from it to the end; time "
        "from the decision to the closed gate; commands that passed after the alarm"
    )
    table.caption_justify = "left"
    for summary in summaries:
        table.add_row(
            _rollout(summary),
            summary.outcome.replace(" ", "\n"),
            _alarm(summary),
            _seconds(summary.detection_delay),
            _seconds(summary.lead_time),
            _milliseconds(summary.reaction_time),
            str(summary.passed_after_alarm) if summary.alarmed else NOTHING,
        )
    return table


def _rollout(summary: RolloutSummary) -> str:
    if summary.perturbation == "none":
        return summary.title
    return f"{summary.title}\n{summary.perturbation}"


def _alarm(summary: RolloutSummary) -> str:
    if summary.alarm_time is None:
        return NOTHING
    return f"decision {summary.alarm_decision}\n{summary.alarm_time:.2f} s"


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} s"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{1e3 * value:.{1 if value < 0.1 else 0}f} ms"
