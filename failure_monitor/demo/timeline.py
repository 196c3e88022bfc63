# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What was observed of a rollout, in the order of publication.

All times are publication times in nanoseconds of one wall clock: what happened first is not
what was received first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from failure_monitor.demo.perturbation import UNDISTURBED, Perturbation
from failure_monitor.errors import FailureMonitorError
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.alarm_values import AlarmReading

SECOND = 1_000_000_000
"""Nanoseconds."""


@dataclass(frozen=True)
class RolloutPlan:
    """A rollout that is to be run.

    Attributes:
        title: what it shows, in a few words.
        perturbation: what goes wrong in it.
        seed: decides the scene.
        claims: whether its caller claims success, true or not, and ends it.
    """

    title: str
    perturbation: Perturbation = UNDISTURBED
    seed: int = 0
    claims: bool = False

    @property
    def is_nominal(self) -> bool:
        """Whether nothing goes wrong in it."""
        return self.perturbation.kind == "none"


@dataclass(frozen=True)
class TimedAlarm(AlarmReading):
    """One message of the monitor's alarm.

    Attributes:
        time: the time of publication.
    """

    time: int = 0

    @classmethod
    def of(cls, reading: AlarmReading, time: int) -> TimedAlarm:
        """Return a reading with the time of its publication, and without undefined scores."""
        scores = tuple(score for score in reading.scores if not math.isnan(score.ratio))
        return cls(**{**vars(reading), "scores": scores}, time=time)


@dataclass(frozen=True)
class GateChange:
    """The gate opened or closed."""

    time: int
    is_open: bool


@dataclass(frozen=True)
class Frame:
    """A camera image as it was published, compressed."""

    time: int
    jpeg: bytes


@dataclass
class ObservedMessages:
    """What is observed, as it comes in; pairs are a time and what was reported then.

    Attributes:
        active: whether a rollout runs.
        outcomes: whether success was claimed.
        truths: whether it succeeded.
        checks: what the monitor says of a claimed success.
        perturbations: the kind at work.
        readings: the messages of the alarm.
        gate: the changes of the gate.
        chunks: the publication time of action chunks, and the stamp of their observation.
        sent: when the policy sent commands.
        passed: when commands came out of the gate.
        frames: the frames of the camera.
    """

    active: list[tuple[int, bool]] = field(default_factory=list)
    outcomes: list[tuple[int, bool]] = field(default_factory=list)
    truths: list[tuple[int, bool]] = field(default_factory=list)
    checks: list[tuple[int, str]] = field(default_factory=list)
    perturbations: list[tuple[int, str]] = field(default_factory=list)
    readings: list[TimedAlarm] = field(default_factory=list)
    gate: list[GateChange] = field(default_factory=list)
    chunks: list[tuple[int, int]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


@dataclass(frozen=True)
class Timeline:
    """One rollout from start to end.

    Attributes:
        plan: what was to be run.
        begin: when the robot announced it.
        end: when the robot announced that.
        success: the outcome.
        claim: whether success was claimed, by who sees only hand and commands; the outcome
            elsewhere.
        check: what the monitor says of the claimed success; empty without a word.
        perturbed: when the perturbation set in; None if it did not.
        readings: the messages of the alarm, in order.
        gate: the changes of the gate, in order.
        chunks: publication time of action chunks by the stamp of their observation.
        sent: when the policy sent commands.
        passed: when commands came out of the gate, up to the last that was seen.
        frames: the frames of the camera, in order.
    """

    plan: RolloutPlan
    begin: int
    end: int
    success: bool
    claim: bool
    check: str
    perturbed: int | None
    readings: tuple[TimedAlarm, ...]
    gate: tuple[GateChange, ...]
    chunks: Mapping[int, int]
    sent: tuple[int, ...]
    passed: tuple[int, ...]
    frames: tuple[Frame, ...]

    def seconds(self, time: int) -> float:
        """Return the seconds from the start to a time."""
        return (time - self.begin) / SECOND

    @property
    def duration(self) -> float:
        """Seconds from begin to end."""
        return self.seconds(self.end)

    @property
    def alarm(self) -> TimedAlarm | None:
        """The first alarm."""
        alarms = (reading for reading in self.readings if reading.state == AlarmState.ALARM)
        return next(alarms, None)

    @property
    def gate_closing(self) -> int | None:
        """When the gate first closed at or after the alarm."""
        if (alarm := self.alarm) is None:
            return None
        # The permit is withdrawn before the alarm is published, so the gate may be the first.
        chunk = self.alarming_chunk
        since = alarm.time if chunk is None else chunk
        return next(
            (change.time for change in self.gate if not change.is_open and change.time >= since),
            None,
        )

    @property
    def alarming_chunk(self) -> int | None:
        """When the action chunks of the decision that raised the alarm were published."""
        alarm = self.alarm
        if alarm is None or alarm.stamp is None:
            return None
        return self.chunks.get(alarm.stamp)

    @property
    def passed_after_alarm(self) -> int:
        """How many commands came out of the gate after the alarm was published."""
        alarm = self.alarm
        return 0 if alarm is None else sum(time > alarm.time for time in self.passed)


def timeline(plan: RolloutPlan, observed: ObservedMessages) -> Timeline:
    """Cut the first rollout out of what was observed.

    Raises:
        FailureMonitorError: no begin, end or outcome of a rollout was observed.
    """
    begin = _first([time for time, active in sorted(observed.active) if active], "begin")
    end = _first(
        [time for time, active in sorted(observed.active) if not active and time > begin], "end"
    )
    claims = [claim for time, claim in sorted(observed.outcomes) if time >= begin]
    truths = [success for time, success in sorted(observed.truths) if time >= begin]
    checks = [text for time, text in sorted(observed.checks) if time >= end]
    perturbations = [time for time, kind in sorted(observed.perturbations) if kind != "none"]
    return Timeline(
        plan=plan,
        begin=begin,
        end=end,
        success=_first(truths, "outcome"),
        claim=_first(claims, "claim"),
        check=checks[-1] if checks else "",
        perturbed=next((time for time in perturbations if begin <= time <= end), None),
        readings=tuple(_within(observed.readings, begin, end)),
        gate=tuple(_within(observed.gate, begin, end)),
        chunks={stamp: time for time, stamp in observed.chunks},
        sent=tuple(time for time in sorted(observed.sent) if begin <= time <= end),
        passed=tuple(time for time in sorted(observed.passed) if begin <= time),
        frames=tuple(_within(observed.frames, begin, end)),
    )


Event = TypeVar("Event", TimedAlarm, GateChange, Frame)
Found = TypeVar("Found", int, bool)


def _within(events: list[Event], begin: int, end: int) -> list[Event]:
    return sorted(
        (event for event in events if begin <= event.time <= end), key=lambda event: event.time
    )


def _first(found: list[Found], what: str) -> Found:
    if not found:
        raise FailureMonitorError(
            f"no message about the {what} of the rollout came: check that the robot publishes "
            "'rollout/active', 'rollout/success' and 'rollout/truth'"
        )
    return found[0]
