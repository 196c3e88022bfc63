# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which rollouts are shown in full, and at which of their decisions the camera's frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from failure_monitor.evaluation.metrics import RolloutResult
from failure_monitor.report.scored_rollout import ScoredRollout

MOST_MISSED, MOST_FALSE_ALARMS, MOST_RECOVERIES, MOST_DETECTED, MOST_QUIET = 8, 8, 4, 4, 2

SELECTION_RULE = (
    f"Shown in full are at most {MOST_MISSED} missed failures, those that stayed lowest first, "
    f"{MOST_FALSE_ALARMS} false alarms and {MOST_RECOVERIES} alarms in rollouts that succeeded "
    f"although something disturbed them, the highest first, {MOST_DETECTED} detected failures, the "
    f"clearest early ones first, and the {MOST_QUIET} successful rollouts that came closest to an "
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
    _Quota("missed failure", MOST_MISSED, lambda s: s.is_missed, lambda r: -r.max_level),
    _Quota("false alarm", MOST_FALSE_ALARMS, lambda s: s.is_false_alarm, lambda r: r.max_level),
    _Quota("disturbed, yet done", MOST_RECOVERIES, lambda s: s.is_recovery, lambda r: r.max_level),
    _Quota("detected failure", MOST_DETECTED, lambda s: s.is_detected, lambda r: r.early_max_level),
    _Quota("no alarm", MOST_QUIET, lambda s: s.is_quiet_success, lambda r: r.max_level),
)


def select(rollouts: Sequence[ScoredRollout]) -> tuple[Selected, ...]:
    """The rollouts that are shown in full, as `SELECTION_RULE` says."""
    selected = []
    for quota in QUOTAS:
        places = [place for place, scored in enumerate(rollouts) if quota.includes(scored)]
        places.sort(key=lambda place, by=quota.by: -by(rollouts[place].result))  # type: ignore[misc]
        selected += [Selected(place, quota.why) for place in places[: quota.most]]
    return tuple(selected)


def shown_decisions(result: RolloutResult) -> tuple[int, ...]:
    """Decisions from the first to the last, about as far apart; that of the alarm is among them."""
    evenly = np.unique(np.linspace(0, result.decisions - 1, FRAMES).round().astype(int))
    if result.alarm_decision is not None:
        evenly[np.abs(evenly - result.alarm_decision).argmin()] = result.alarm_decision
    return tuple(int(decision) for decision in evenly)
