# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A rollout in one line: what became of it, and its level from the first decision to the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from failure_monitor.decision import Rollout
from failure_monitor.evaluation.metrics import RolloutResult
from failure_monitor.report.scored_rollout import ScoredRollout

TOP_LEVEL = 2.0
"""Levels run from 0 to this; what is beyond is drawn at the edge."""

WIDTH, HEIGHT = 1000, 40
"""Size of a line in its own coordinates, which the page stretches."""


@dataclass(frozen=True)
class RolloutRow:
    """One line, in the coordinates that `WIDTH` and `HEIGHT` span.

    Attributes:
        name: the name of the rollout.
        belongs_to: its group and task.
        words: what became of it.
        points: the level, as an SVG polyline has it.
        threshold: the height of level 1.
        alarm: where the alarm is; None without one.
        early: where early ends; None where the rollout ended before.
        end: where the rollout ends, the longest being at `WIDTH`.
    """

    name: str
    belongs_to: str
    words: str
    points: str
    threshold: float
    alarm: float | None
    early: float | None
    end: float


@dataclass(frozen=True)
class RowGroup:
    """The rows of rollouts of the same fate."""

    title: str
    rows: tuple[RolloutRow, ...]


def row_groups(rollouts: Sequence[ScoredRollout]) -> tuple[RowGroup, ...]:
    """Return all rollouts grouped by what became of them, the most important group first."""
    longest = max(scored.result.decisions for scored in rollouts)
    with_task = several_tasks(rollouts)
    fates: tuple[tuple[str, Callable[[ScoredRollout], bool]], ...] = (
        ("Failed without an alarm: missed", lambda s: s.is_missed),
        ("Succeeded, undisturbed, with an alarm: false alarms", lambda s: s.is_false_alarm),
        ("Succeeded, though disturbed, with an alarm", lambda s: s.is_recovery),
        ("Failed with an alarm: detected", lambda s: s.is_detected),
        ("Succeeded without an alarm", lambda s: s.is_quiet_success),
    )
    groups = (
        RowGroup(title, tuple(_row(each, longest, with_task) for each in rollouts if is_so(each)))
        for title, is_so in fates
    )
    return tuple(group for group in groups if group.rows)


def several_tasks(rollouts: Sequence[ScoredRollout]) -> bool:
    """Return whether the rollouts are of several tasks."""
    return len({scored.rollout.task for scored in rollouts}) > 1


def belongs_to(rollout: Rollout, *, with_task: bool) -> str:
    """Return the group of a rollout and, where there are several tasks, its task."""
    parts = (rollout.group, rollout.task if with_task else "")
    return " · ".join(part for part in parts if part)


def fate(result: RolloutResult) -> str:
    """Return what became of a rollout, as text."""
    ends = "a human took over" if result.intervention else "its end"
    if result.alarm_decision is None:
        until = f" until {ends}" if result.intervention else ""
        return f"{result.decisions} decisions{until}, no alarm; at most {result.max_level:.2f}"
    lead = result.lead_time_s or 0.0
    return (
        f"alarm at decision {result.alarm_decision} of {result.decisions}, {lead:.1f} s before "
        f"{ends}"
    )


def _row(scored: ScoredRollout, longest: int, with_task: bool) -> RolloutRow:
    result = scored.result

    def across(decision: float) -> float:
        return round(WIDTH * (decision + 0.5) / longest, 1)

    heights = HEIGHT * (1 - np.clip(result.levels, 0.0, TOP_LEVEL) / TOP_LEVEL)
    # From edge to edge of a decision, so that even a single one is seen.
    levels = [(0.0, heights[0])]
    levels += [(across(decision), height) for decision, height in enumerate(heights)]
    levels += [(across(result.decisions - 0.5), heights[-1])]
    early = result.early_decisions
    return RolloutRow(
        name=result.name,
        belongs_to=belongs_to(scored.rollout, with_task=with_task),
        words=fate(result),
        points=" ".join(f"{x:g},{y:.1f}" for x, y in levels),
        threshold=HEIGHT * (1 - 1 / TOP_LEVEL),
        alarm=None if result.alarm_decision is None else across(result.alarm_decision),
        early=across(early - 0.5) if early < result.decisions else None,
        end=across(result.decisions - 0.5),
    )
