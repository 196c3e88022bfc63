# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an alarm message carries beside state and reason: text by name, written and read here.

The message itself is in `failure_monitor.ros.common.alarm_message`; programs that load no ROS
read its values here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from failure_monitor.decision import Verdict
from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus

UNDEFINED = "undefined"
"""The value of a score or level that is not defined yet."""

RULE = "rule"
"""Name of the combined score, beside the names of the scores."""

SECOND = 1_000_000_000

MAX_DIGITS = 20
"""Digits of a whole number; a stranger's message may have thousands."""

_THRESHOLD, _RATIO = ".threshold", ".ratio"


@dataclass(frozen=True)
class ScoreReading:
    """A windowed score beside its threshold.

    Attributes:
        name: of the score.
        value: NaN where it is undefined.
        threshold: in the same unit.
        ratio: the normalised score, 1 at the threshold; NaN where it is undefined.
    """

    name: str
    value: float
    threshold: float
    ratio: float


@dataclass(frozen=True)
class AlarmReading:
    """One message of a monitor's alarm.

    Attributes:
        state: of the alarm.
        reason: text.
        permit: whether commands may pass.
        halted: whether a halt is latched until it is reset.
        halt_age: seconds since the halt; None without one, or if it was before the monitor.
        now: while a halt is latched, the state as if none were, with its reason.
        decision: number of the last decision in its rollout; None before the first.
        stamp: of that decision's observation, in nanoseconds.
        decision_age: seconds since that decision was received.
        rule: how the scores combine.
        level: the combined normalised score; NaN where it is undefined.
        scores: of that decision.
        values: all that the message carries, by name.
    """

    state: AlarmState
    reason: str
    permit: bool
    halted: bool = False
    halt_age: float | None = None
    now: str = ""
    decision: int | None = None
    stamp: int | None = None
    decision_age: float | None = None
    rule: str = ""
    level: float | None = None
    scores: tuple[ScoreReading, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def levels(self) -> dict[str, float]:
        """The normalised scores by name, the rule's last; NaN where undefined."""
        levels = {score.name: score.ratio for score in self.scores}
        return levels if self.level is None else {**levels, RULE: self.level}


def alarm_values(
    status: AlarmStatus,
    verdict: Verdict | None,
    *,
    decision_age: float | None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return what the state rests on, as text by name.

    Args:
        status: of the alarm.
        verdict: the last one, if there is any in this rollout.
        decision_age: seconds since its decision was received.
        more: further values as text by name, such as what was done about the state.
    """
    values = {
        "state": status.state.value,
        "permit": _flag(status.permit),
        "halted": _flag(status.halted),
        "response": status.reaction.value,
        **more,
    }
    if status.halt_age is not None:
        values["halt_age"] = f"{status.halt_age:.1f}"
    if status.now:
        values["now"] = status.now
    if decision_age is not None:
        values["decision_age"] = f"{decision_age:.3f}"
    if verdict is not None:
        values |= _verdict_values(verdict)
    return values


def read_alarm_values(state: AlarmState, reason: str, values: Mapping[str, str]) -> AlarmReading:
    """Read the values of a message; what is missing or malformed is unknown and permits nothing.

    Args:
        state: which the message's level stands for.
        reason: the message's text.
        values: of the message, by name.
    """
    return AlarmReading(
        state=state,
        reason=reason,
        permit=values.get("permit") == _flag(True),
        halted=values.get("halted") == _flag(True),
        halt_age=_number(values.get("halt_age")),
        now=values.get("now", ""),
        decision=_whole_number(values.get("decision")),
        stamp=_nanoseconds(values.get("stamp")),
        decision_age=_number(values.get("decision_age")),
        rule=values.get("rule", ""),
        level=_number(values.get("level")),
        scores=tuple(
            ScoreReading(
                name=(name := key.removesuffix(_THRESHOLD)),
                value=_number_or_nan(values.get(name)),
                threshold=_number_or_nan(threshold),
                ratio=_number_or_nan(values.get(f"{name}{_RATIO}")),
            )
            for key, threshold in values.items()
            if key.endswith(_THRESHOLD)
        ),
        values=values,
    )


def _verdict_values(verdict: Verdict) -> dict[str, str]:
    values = {
        "decision": str(verdict.index),
        "stamp": _seconds(verdict.stamp),
        "rule": verdict.rule,
        "level": UNDEFINED if verdict.is_undefined else f"{verdict.level:.4f}",
    }
    for score in verdict.scores:
        values[score.name] = f"{score.windowed:.6g}" if score.is_defined else UNDEFINED
        values[f"{score.name}{_THRESHOLD}"] = f"{score.threshold:.6g}"
        if score.is_defined:
            values[f"{score.name}{_RATIO}"] = f"{score.normalised:.4f}"
    return values


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _seconds(nanoseconds: int) -> str:
    """Return seconds, exactly as a header states them."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return f"{seconds}.{rest:09d}"


def _nanoseconds(text: str | None) -> int | None:
    whole, _, rest = (text or "").partition(".")
    seconds, nanoseconds = _whole_number(whole), _whole_number(rest[:9].ljust(9, "0"))
    return None if seconds is None or nanoseconds is None else seconds * SECOND + nanoseconds


def _whole_number(text: str | None) -> int | None:
    is_one = text is not None and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text or 0) if is_one else None


def _number(text: str | None) -> float | None:
    return None if text is None else _number_or_nan(text)


def _number_or_nan(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
