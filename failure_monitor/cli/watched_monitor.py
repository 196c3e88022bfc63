# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a monitor that is watched from a terminal.

Pure: times are seconds of a monotonic clock, handed in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.alarm_values import AlarmReading, read_alarm_values

SILENCE = 1.0
"""Seconds without a word after which a monitor is silent; it speaks many times a second."""

FORGOTTEN = 5.0
"""Seconds after which what a node said of itself in the diagnostics no longer counts."""

REMEMBERED = 60
"""Decisions that a sparkline shows."""

RATE_SPAN = 3.0
"""Seconds over which rates are taken."""


@dataclass(frozen=True)
class NodeStatus:
    """What a node said of itself, or of one of its inputs, in the diagnostics.

    Attributes:
        name: of the node and the thing.
        level: 0 is fine, 1 a warning, 2 an error, 3 stale.
        message: in words.
        values: more, by name.
        heard: when.
    """

    name: str
    level: int
    message: str
    values: Mapping[str, str]
    heard: float


@dataclass
class WatchedMonitor:
    """Takes what a monitor says, and knows when it has fallen silent.

    Attributes:
        name: of its node.
        alarm: what it reported last; None before its first message.
        courses: the normalised scores of the last decisions, and of the rule, by name.
        statuses: what it and the nodes beside it say in the diagnostics, by name.
    """

    name: str
    alarm: AlarmReading | None = None
    courses: dict[str, deque[float]] = field(default_factory=dict)
    statuses: dict[str, NodeStatus] = field(default_factory=dict)
    _heard: float = -math.inf
    _alarms: deque[float] = field(default_factory=deque)
    _decisions: deque[float] = field(default_factory=deque)
    _last_decision: tuple[int | None, float | None] | None = None

    def hear_alarm(
        self, state: AlarmState, reason: str, values: Mapping[str, str], now: float
    ) -> None:
        """Take a word on `~/alarm`."""
        alarm = read_alarm_values(state, reason, values)
        self.alarm, self._heard = alarm, now
        self._alarms.append(now)
        decision = (alarm.decision, alarm.stamp)
        if decision == self._last_decision:
            return
        if not alarm.decision:
            self.courses.clear()
        self._last_decision = decision
        if alarm.decision is not None:
            self._decisions.append(now)
            for name, ratio in self.ratios().items():
                self.courses.setdefault(name, deque(maxlen=REMEMBERED)).append(ratio)

    def hear_status(self, status: NodeStatus) -> None:
        """Take a word on `/diagnostics`."""
        self.statuses[status.name] = status

    def is_silent(self, now: float) -> bool:
        """Whether what it said last is too old to be true."""
        return now - self._heard > SILENCE

    def silence(self, now: float) -> float:
        """Seconds since its last word."""
        return now - self._heard

    def state(self, now: float) -> AlarmState:
        """What to take it for: of a silent monitor nothing is known."""
        return AlarmState.STALE if self.alarm is None or self.is_silent(now) else self.alarm.state

    def ratios(self) -> dict[str, float]:
        """The normalised scores of the last decision, and last of the rule; NaN is undefined."""
        if self.alarm is None:
            return {}
        ratios = {score.name: score.ratio for score in self.alarm.scores}
        if self.alarm.level is not None:
            ratios["rule"] = self.alarm.level
        return ratios

    def recent_statuses(self, now: float) -> list[NodeStatus]:
        """What counts of the diagnostics, by name."""
        return [
            status for _, status in sorted(self.statuses.items()) if now - status.heard <= FORGOTTEN
        ]

    def rates(self, now: float) -> tuple[float, float]:
        """Words on `~/alarm` and decisions, each a second, of late."""
        return _rate(self._alarms, now), _rate(self._decisions, now)


def _rate(times: deque[float], now: float) -> float:
    while times and now - times[0] > RATE_SPAN:
        times.popleft()
    if len(times) < 2:
        return 0.0
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9)
