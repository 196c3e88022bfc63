# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a monitor that is watched from a terminal.

Pure: times are seconds of a monotonic clock, handed in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.alarm_values import AlarmReading, read_alarm_values

SILENCE = 1.0
"""Seconds without a message after which a monitor is silent; it publishes many times a second."""

FORGOTTEN = 5.0
"""Seconds after which a node's diagnostics no longer count."""

REMEMBERED = 60
"""Decisions that a sparkline shows."""

JUDGE_PREFIX = "judge."
"""What the names of values of outside judges begin with."""

RATE_SPAN = 3.0
"""Seconds over which rates are taken."""


@dataclass(frozen=True)
class NodeStatus:
    """The diagnostics of a node, or of one of its inputs.

    Attributes:
        name: of the node and the thing.
        level: 0 is fine, 1 a warning, 2 an error, 3 stale.
        message: the text.
        values: more, by name.
        received: when it came.
    """

    name: str
    level: int
    message: str
    values: Mapping[str, str]
    received: float


@dataclass(frozen=True)
class WatchedOutcome:
    """What a monitor says of how its last rollout ended.

    Attributes:
        level: 0 is confirmed, 1 doubtful, 3 not judged.
        message: the text.
        values: more, by name.
        received: when it came.
    """

    level: int
    message: str
    values: Mapping[str, str]
    received: float

    @property
    def rollout(self) -> str:
        """The name of the rollout; empty if none has ended yet."""
        return self.values.get("rollout", "")

    @property
    def text(self) -> str:
        """All in one line."""
        said = [
            f"{what} {self.values[what]}"
            for what in ("claim", "label")
            if self.values.get(what, "none") != "none"
        ]
        return "; ".join([f"last rollout {self.message}", *said, *self._judges()])

    def _judges(self) -> Iterator[str]:
        """Yield what outside judges said, if anything."""
        for name, value in self.values.items():
            judge, dot, _ = name.removeprefix(JUDGE_PREFIX).partition(".")
            if name.startswith(JUDGE_PREFIX) and not dot and value != "none":
                word = self.values.get(f"{name}.word", "")
                yield f"judge {judge}: {word} ({value})"


@dataclass
class WatchedMonitor:
    """What a monitor has published, and whether it has fallen silent.

    Attributes:
        name: of its node.
        alarm: what it reported last; None before its first message.
        courses: the normalised scores of the last decisions, and of the rule, by name.
        statuses: diagnostics of it and of the nodes beside it, by name.
        outcome: how its last rollout ended; None before it said so.
    """

    name: str
    alarm: AlarmReading | None = None
    courses: dict[str, deque[float]] = field(default_factory=dict)
    statuses: dict[str, NodeStatus] = field(default_factory=dict)
    outcome: WatchedOutcome | None = None
    _received: float = -math.inf
    _alarms: deque[float] = field(default_factory=deque)
    _decisions: deque[float] = field(default_factory=deque)
    _last_decision: tuple[int | None, int | None] | None = None

    def hear_alarm(
        self, state: AlarmState, reason: str, values: Mapping[str, str], now: float
    ) -> None:
        """Take a word on `~/alarm`."""
        alarm = read_alarm_values(state, reason, values)
        self.alarm, self._received = alarm, now
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

    def add_status(self, status: NodeStatus) -> None:
        """Add a status of `/diagnostics`."""
        self.statuses[status.name] = status

    def is_silent(self, now: float) -> bool:
        """Return whether its last message is too old to be true."""
        return now - self._received > SILENCE

    def silence(self, now: float) -> float:
        """Return the seconds since its last message."""
        return now - self._received

    def state(self, now: float) -> AlarmState:
        """Return its state: STALE for a silent monitor."""
        return AlarmState.STALE if self.alarm is None or self.is_silent(now) else self.alarm.state

    def ratios(self) -> dict[str, float]:
        """Return the normalised scores of the last decision, the rule's last; NaN is undefined."""
        return {} if self.alarm is None else self.alarm.levels

    def recent_statuses(self, now: float) -> list[NodeStatus]:
        """Return the diagnostics that still count, by name."""
        return [
            status
            for _, status in sorted(self.statuses.items())
            if now - status.received <= FORGOTTEN
        ]

    def rates(self, now: float) -> tuple[float, float]:
        """Return the recent rates of messages on `~/alarm` and of decisions, per second."""
        return _rate(self._alarms, now), _rate(self._decisions, now)


def _rate(times: deque[float], now: float) -> float:
    while times and now - times[0] > RATE_SPAN:
        times.popleft()
    if len(times) < 2:
        return 0.0
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9)
