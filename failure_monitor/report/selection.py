# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which rollouts are shown in full, and at which of their decisions the camera's frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from failure_monitor.evaluation.metrics import RolloutResult
from failure_monitor.report.scored_rollout import ScoredRollout

MAX_MISSED, MAX_FALSE_ALARMS, MAX_RECOVERIES, MAX_DETECTED, MAX_QUIET = 8, 8, 4, 4, 2

SELECTION_RULE = (
    f"Shown in full are at most {MAX_MISSED} missed failures, those that stayed lowest first, "
    f"{MAX_FALSE_ALARMS} false alarms and {MAX_RECOVERIES} alarms in rollouts that succeeded "
    f"although something disturbed them, the highest first, {MAX_DETECTED} detected failures, the "
    f"clearest early ones first, and the {MAX_QUIET} successful rollouts that came closest to an "
    "alarm without one."
)

FRAMES = 6
"""Decisions of a rollout whose frames are shown."""


@dataclass(frozen=True)
class Selected:
    """A rollout that is shown in full.

    Attributes:
        place: its number among the evaluated rollouts.
        why: what it is an example of.
    """

    place: int
    why: str


@dataclass(frozen=True)
class _Quota:
    """How many of which rollouts are shown, those with the largest number first."""

    why: str
    most: int
    includes: Callable[[ScoredRollout], bool]
    by: Callable[[RolloutResult], float]


QUOTAS = (
    _Quota("missed failure", MAX_MISSED, lambda s: s.is_missed, lambda r: -r.max_level),
    _Quota("false alarm", MAX_FALSE_ALARMS, lambda s: s.is_false_alarm, lambda r: r.max_level),
    _Quota("disturbed, yet done", MAX_RECOVERIES, lambda s: s.is_recovery, lambda r: r.max_level),
    _Quota("detected failure", MAX_DETECTED, lambda s: s.is_detected, lambda r: r.early_max_level),
    _Quota("no alarm", MAX_QUIET, lambda s: s.is_quiet_success, lambda r: r.max_level),
)


def select(rollouts: Sequence[ScoredRollout]) -> tuple[Selected, ...]:
    """Return the rollouts that are shown in full, by `SELECTION_RULE`."""
    selected = []
    for quota in QUOTAS:
        places = [place for place, scored in enumerate(rollouts) if quota.includes(scored)]
        places.sort(key=lambda place, by=quota.by: -by(rollouts[place].result))  # type: ignore[misc]
        selected += [Selected(place, quota.why) for place in places[: quota.most]]
    return tuple(selected)


def shown_decisions(result: RolloutResult) -> tuple[int, ...]:
    """Return decisions at about equal distances, first, last and that of the alarm included."""
    evenly = np.unique(np.linspace(0, result.decisions - 1, FRAMES).round().astype(int))
    if result.alarm_decision is not None:
        evenly[np.abs(evenly - result.alarm_decision).argmin()] = result.alarm_decision
    return tuple(int(decision) for decision in evenly)
