# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which robots are unlike the others, with a false-discovery rate for all of them together.

Of a robot's n rollouts x show some event, such as an alarm; of M rollouts of others, y. If all of
these have the same chance of it, x is hypergeometric given the totals, whatever that chance is:

    h(x) = C(n, x) C(M, y) / C(n + M, x + y)

If the robot's odds are w times those of the others, it is h(x) wˣ / Σ h(z) wᶻ. The mean over
several w > 1 of this, divided by h(x), is an e-value: its mean is 1 where the chance is the same,
and at most 1 where the robot's is smaller (Fisher's exact test as a bet; the mean of a likelihood
ratio under the law that it is divided by is 1).

One robot that differs must not make the other nineteen look different from "the others". So every
robot is compared with those three quarters of the others that show the event most, each with as
many of its newest rollouts. This is the smallest e-value over all choices of three quarters, and
therefore no larger than that of the right choice: it is valid for "the robot shows the event no
more often than each of at least three quarters of the others", whatever the last quarter does.

The robots are named by e-BH (Wang and Ramdas, "False discovery rate control with e-values", 2022):
the k largest e-values for the largest k of which each is at least K / (k level). Of the robots
named, a share of at most `level` is like three quarters of the others, on average over such pages,
however the e-values depend on one another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

ODDS = (2.0, 3.0, 5.0)
"""How many times the odds of the others, that is bet on in equal parts."""

LIKE = 0.75
"""The share of the others that a robot must be unlike in no event."""

OUTER = 0.25
"""The share of calibration rollouts above, or below, which a rollout is high, or low."""


MAX_LOG_E = 700.0
"""Logarithm of the largest e-value that is given; no float is much larger than this."""


class Event(str, Enum):
    """What a robot may show more often than others."""

    ALARMS = "more alarms"
    HIGH = "higher scores"
    LOW = "lower scores"


@dataclass(frozen=True, eq=False)
class CountedRollouts:
    """A robot's rollouts that succeeded, oldest first.

    Attributes:
        alarms: bool (n,), whether each raised an alarm.
        below: int64 (n,), how many calibration rollouts lie below each; -1 where unknown.
    """

    alarms: NDArray[np.bool_]
    below: NDArray[np.int64]

    def shown(self, event: Event, calibration_rollouts: int) -> NDArray[np.bool_]:
        """Return whether each rollout shows an event, of those of which it is known.

        Args:
            event: the event.
            calibration_rollouts: of the bundle.
        """
        if event is Event.ALARMS:
            return self.alarms
        known = self.below[self.below >= 0]
        if event is Event.HIGH:
            return known >= (1 - OUTER) * calibration_rollouts
        return known <= OUTER * calibration_rollouts


@dataclass(frozen=True)
class Evidence:
    """The evidence that a robot shows an event more often than others.

    Attributes:
        event: which.
        events: how many of its rollouts show it.
        rollouts: of how many.
        other_events: how many of the others' rollouts that it is compared with.
        other_rollouts: of how many.
        robots: of how many robots these are.
        log_e: the natural logarithm of the e-value.
    """

    event: Event
    events: int
    rollouts: int
    other_events: int
    other_rollouts: int
    robots: int
    log_e: float

    @property
    def e_value(self) -> float:
        """The e-value, at most exp(`MAX_LOG_E`)."""
        return math.exp(min(self.log_e, MAX_LOG_E))


@dataclass(frozen=True)
class Comparison:
    """A robot beside the others with the same bundle.

    Attributes:
        evidence: of each event.
        log_e: the logarithm of the e-value of all of them, their mean.
        is_unlike: whether it is named.
    """

    evidence: tuple[Evidence, ...]
    log_e: float
    is_unlike: bool = False

    @property
    def e_value(self) -> float:
        """The e-value, at most exp(`MAX_LOG_E`)."""
        return math.exp(min(self.log_e, MAX_LOG_E))

    @property
    def mostly(self) -> Evidence:
        """The event that speaks most."""
        return max(self.evidence, key=lambda each: each.log_e)


def compare(
    robots: Sequence[CountedRollouts], calibration_rollouts: int | None
) -> list[Comparison | None]:
    """Compare the robots of one bundle with one another.

    Args:
        robots: their rollouts.
        calibration_rollouts: of the bundle, where it promises for one task; None if unknown, and
            then only alarms are compared.

    Returns:
        The comparison of each robot, not yet named; None where there is nothing to compare with.
    """
    events = (Event.ALARMS,) if calibration_rollouts is None else tuple(Event)
    shown = {
        event: [robot.shown(event, calibration_rollouts or 0) for robot in robots]
        for event in events
    }
    found: list[Comparison | None] = []
    for at in range(len(robots)):
        evidence = [
            _against_others(event, series[at], [*series[:at], *series[at + 1 :]])
            for event, series in shown.items()
        ]
        known = tuple(each for each in evidence if each is not None)
        # An event without evidence is an e-value of 1.
        logs = [0.0 if each is None else each.log_e for each in evidence]
        log_e = float(np.logaddexp.reduce(logs)) - math.log(len(logs))
        found.append(Comparison(known, log_e) if known else None)
    return found


def _against_others(
    event: Event, own: NDArray[np.bool_], others: Sequence[NDArray[np.bool_]]
) -> Evidence | None:
    lengths = sorted((len(other) for other in others if len(other)), reverse=True)
    if not len(own) or not lengths:
        return None
    # The choice of who is compared with depends on the numbers of rollouts alone.
    fewest = math.ceil(len(lengths) / 2)
    robots = max(
        range(fewest, len(lengths) + 1), key=lambda count: _chosen(count) * lengths[count - 1]
    )
    newest = lengths[robots - 1]
    candidates = [int(other[-newest:].sum()) for other in others if len(other) >= newest]
    most = sorted(candidates, reverse=True)[: _chosen(len(candidates))]
    events, rollouts = int(own.sum()), len(own)
    log_e = log_e_value(events, rollouts, sum(most), newest * len(most))
    return Evidence(event, events, rollouts, sum(most), newest * len(most), len(most), log_e)


def _chosen(robots: int) -> int:
    return math.ceil(LIKE * robots)


def log_e_value(events: int, rollouts: int, other_events: int, other_rollouts: int) -> float:
    """Return the logarithm of the e-value against "no more often than the others".

    Args:
        events: how many of a robot's rollouts show it.
        rollouts: of how many.
        other_events: likewise, of the others.
        other_rollouts: of how many.
    """
    total = events + other_events
    possible = np.arange(max(0, total - other_rollouts), min(rollouts, total) + 1)
    log_chance = _log_choose(rollouts, possible) + _log_choose(other_rollouts, total - possible)
    log_odds = np.log(ODDS)
    weights = log_chance + log_odds[:, None] * possible
    normaliser = np.logaddexp.reduce(weights, axis=1) - np.logaddexp.reduce(log_chance)
    return float(np.logaddexp.reduce(log_odds * events - normaliser)) - math.log(len(ODDS))


def _log_choose(n: int, k: NDArray[np.int64]) -> NDArray[np.float64]:
    # scipy takes long to load, and most who import this module compare nothing.
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def e_bh(log_e_values: Sequence[float], level: float) -> list[bool]:
    """Return which hypotheses e-BH rejects.

    Args:
        log_e_values: the logarithms of the e-values.
        level: the false-discovery rate.
    """
    ordered = sorted(log_e_values, reverse=True)
    numbers = range(1, len(ordered) + 1)
    limits = [math.log(len(ordered) / (number * level)) for number in numbers]
    enough = [at for at, (e, limit) in enumerate(zip(ordered, limits, strict=True)) if e >= limit]
    smallest = ordered[enough[-1]] if enough else math.inf
    return [log_e >= smallest for log_e in log_e_values]
