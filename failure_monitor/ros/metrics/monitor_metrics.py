# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The figures of one monitor, counted from what it publishes.

Nothing is claimed of a monitor that is silent: its state and permit are 0, its scores are gone,
and of its halt only one that was known to be latched is left.
Counters go on from 0 when this process starts again, as Prometheus expects of them.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping

from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.alarm_values import AlarmReading
from failure_monitor.promise.watch import PromiseWord
from failure_monitor.ros.metrics.exposition import Family, Sample

PREFIX = "failure_monitor_"

MAX_SCORES = 64
"""Names of scores of which each has a series; a bundle has no such number."""

OTHERS = "others"
"""Stands for the scores beyond these."""

MAX_ROLLOUTS = 200
"""Rollouts that are remembered, so that none counts twice; the monitor labels the last 100."""

MAX_ALARM_AGE = 5.0
"""Seconds without a state of the alarm, of which one comes every second, after which none is
known: whoever else publishes on the permit's topic does not make the last one true."""

UNKNOWN = "unknown"

FAMILIES = tuple(
    Family(PREFIX + name, "counter" if name.endswith("_total") else "gauge", text)
    for name, text in {
        "up": "Whether a message of the monitor came within max_silence.",
        "state": "1 for the state of the alarm; all are 0 while the monitor is silent.",
        "permit": "Whether commands may pass.",
        "halted": "Whether a halt is latched until it is reset; while the monitor is silent 1 if "
        "it was then, else no number.",
        "level": "The rule's level of the last decision; above 1 is an alarm.",
        "score_ratio": "Each score of the last decision divided by its threshold.",
        "alarms_total": "Times the state became ALARM, by the score that was highest then.",
        "stops_total": "Times a halt was latched.",
        "decisions_total": "Decisions of the monitor's process since it was configured.",
        "rollouts_total": "Rollouts that ended, by the outcome that was claimed.",
        "outcome_checks_total": "Ends that the outcome check judged.",
        "labels_total": "Labels by operators of how rollouts ended.",
        "false_alarm_alpha": "The false-alarm rate that the bundle promises.",
        "calibration_rollouts": "Rollouts that the promise was calibrated on.",
        "promise_state": "1 for what is known of the promise; unknown while it is silent.",
        "promise_evidence": "Evidence against the promise; it is broken at 1.",
        "promise_rollouts": "Rollouts that the state of the promise rests on.",
        "promise_above_threshold": "How many of these exceeded the threshold.",
        "info": "The bundle, task and robot of the monitor.",
    }.items()
)


class MonitorMetrics:
    """What is known of one monitor, and what was counted."""

    def __init__(self, monitor: str) -> None:
        """Start with nothing known.

        Args:
            monitor: the node's full name.
        """
        self._labels = {"monitor": monitor}
        self._heard: float | None = None
        self._permit = False
        self._alarm: AlarmReading | None = None
        self._alarm_at = -math.inf
        self._alarms: Counter[str] = Counter({"": 0})
        self._stops = 0
        self._scoring: Mapping[str, str] = {}
        self._promise: Mapping[str, str] = {}
        self._robot = ""
        self._has_outcome = False
        self._rollouts: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._ended: Counter[str] = Counter()
        self._checks: Counter[str] = Counter()
        self._given_labels: Counter[str] = Counter()

    def update_permit(self, permit: bool, now: float) -> None:
        """Receive a permit.

        Args:
            permit: whether commands may pass.
            now: the time, in seconds of a steady clock.
        """
        self._permit, self._heard = permit, now

    def update_alarm(self, reading: AlarmReading, robot: str, now: float) -> None:
        """Receive the state of the alarm, once a second and after each change.

        Args:
            reading: the state, with what it rests on.
            robot: the robot's name.
            now: the time, in seconds of a steady clock.
        """
        was, self._alarm, self._robot = self._alarm, reading, robot
        self._alarm_at = now
        for score in reading.scores[:MAX_SCORES]:
            # A series that begins at its first alarm would not show that one.
            self._alarms[self._known_score(score.name)] += 0
        if was is None:
            # What came before is not known to be new.
            return
        if reading.state is AlarmState.ALARM and was.state is not AlarmState.ALARM:
            self._alarms[self._known_score(_highest(reading))] += 1
        self._stops += reading.halted and not was.halted

    def update_scoring(self, values: Mapping[str, str]) -> None:
        """Receive what is scored, and with which bundle."""
        self._scoring = values

    def update_promise(self, values: Mapping[str, str], *, is_known: bool) -> None:
        """Receive what is known of the promise."""
        self._promise = values if is_known else {}

    def update_outcome(self, values: Mapping[str, str]) -> None:
        """Receive how the last rollout ended; the same rollout comes again with more known."""
        is_first, self._has_outcome = not self._has_outcome, True
        rollout = values.get("rollout", "")
        if not rollout or values.get("ended") != "true":
            return
        check, label = values.get("outcome", ""), values.get("label", "")
        if rollout not in self._rollouts and not is_first:
            self._ended[_one_of(values.get("claim"), ("success", "failure"))] += 1
        if is_first:
            # It ended before this process was there, and may have been counted.
            self._rollouts[rollout] = (check, label)
        was_check, was_label = self._rollouts.get(rollout, ("", ""))
        if check != was_check and check in ("confirmed", "doubtful"):
            self._checks[check] += 1
        if label != was_label and label in ("success", "failure"):
            self._given_labels[label] += 1
        self._rollouts[rollout] = (check, label)
        if len(self._rollouts) > MAX_ROLLOUTS:
            self._rollouts.popitem(last=False)

    def samples(self, now: float, max_silence: float) -> Iterator[Sample]:
        """Yield everything.

        Args:
            now: the time, in seconds of a steady clock.
            max_silence: seconds without a permit, or its refusal, after which nothing is known.
        """
        is_up = self._heard is not None and now - self._heard <= max_silence
        is_known = is_up and now - self._alarm_at <= MAX_ALARM_AGE
        alarm = self._alarm if is_known else None
        yield self._sample("up", is_up)
        for state in AlarmState:
            is_state = alarm is not None and alarm.state is state
            yield self._sample("state", is_state, state=state.value)
        yield self._sample("permit", is_up and self._permit)
        yield from self._halted(alarm)
        yield from self._scores(alarm)
        for score, number in self._alarms.items():
            yield self._sample("alarms_total", number, score=score)
        yield self._sample("stops_total", self._stops)
        yield from self._decisions()
        yield from self._outcomes()
        yield from self._promised(is_up)
        yield self._sample(
            "info",
            1,
            bundle_sha256=self._scoring.get("bundle_sha256", ""),
            task=self._scoring.get("task", ""),
            robot=self._robot,
        )

    def _halted(self, alarm: AlarmReading | None) -> Iterator[Sample]:
        """Yield whether a halt is latched: one ends by a reset alone, and not by silence."""
        if alarm is not None or (self._alarm is not None and self._alarm.halted):
            yield self._sample("halted", self._alarm is not None and self._alarm.halted)

    def _scores(self, alarm: AlarmReading | None) -> Iterator[Sample]:
        if alarm is None:
            return
        if alarm.level is not None:
            yield self._sample("level", alarm.level)
        ratios: dict[str, float] = {}
        for score in alarm.scores[:MAX_SCORES]:
            ratios.setdefault(score.name, score.ratio)
        for name, ratio in ratios.items():
            yield self._sample("score_ratio", ratio, score=name)

    def _decisions(self) -> Iterator[Sample]:
        for result, name in (
            ("scored", "judged_decisions"),
            ("skipped", "skipped_decisions"),
            ("unscored", "unscored_decisions"),
        ):
            number = _number(self._scoring.get(name))
            if number is not None:
                yield self._sample("decisions_total", number, result=result)

    def _outcomes(self) -> Iterator[Sample]:
        for outcome in ("success", "failure", UNKNOWN):
            yield self._sample("rollouts_total", self._ended[outcome], outcome=outcome)
        for check in ("confirmed", "doubtful"):
            yield self._sample("outcome_checks_total", self._checks[check], check=check)
        for label in ("success", "failure"):
            yield self._sample("labels_total", self._given_labels[label], label=label)

    def _promised(self, is_up: bool) -> Iterator[Sample]:
        for name, key in (
            ("false_alarm_alpha", "alpha"),
            ("calibration_rollouts", "calibration_rollouts"),
        ):
            number = _number(self._scoring.get(key))
            if number is not None:
                yield self._sample(name, number)
        words = tuple(word.value for word in PromiseWord)
        known = _one_of(self._promise.get("word") if is_up else None, words)
        for word in (*words, UNKNOWN):
            yield self._sample("promise_state", word == known, word=word)
        for name in ("evidence", "rollouts", "above_threshold"):
            number = _number(self._promise.get(name))
            if number is not None:
                yield self._sample(f"promise_{name}", number)

    def _known_score(self, name: str) -> str:
        return name if name in self._alarms or len(self._alarms) < MAX_SCORES else OTHERS

    def _sample(self, name: str, value: float, **labels: str) -> Sample:
        return Sample(PREFIX + name, {**self._labels, **labels}, value)


def _highest(reading: AlarmReading) -> str:
    """Return the score that is highest above its threshold; empty if none is."""
    above = [score for score in reading.scores if score.ratio > 1]
    return max(above, key=lambda score: score.ratio).name if above else ""


def _one_of(text: str | None, known: tuple[str, ...]) -> str:
    return text if text in known and text is not None else UNKNOWN


def _number(text: str | None) -> float | None:
    """Return a finite number that is not below 0; None if a text is none."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None
