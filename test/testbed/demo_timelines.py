# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of rollouts as the demo observes them, made up message by message."""

from __future__ import annotations

import numpy as np

from failure_monitor.demo import jpeg
from failure_monitor.demo.perturbation import Perturbation
from failure_monitor.demo.timeline import (
    SECOND,
    Frame,
    GateChange,
    ObservedMessages,
    RolloutPlan,
    TimedAlarm,
    Timeline,
    timeline,
)
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.alarm_values import ScoreReading

BEGIN = 1_700_000_000 * SECOND
NOMINAL = RolloutPlan("Undisturbed", seed=3)
HALF_DONE = RolloutPlan("Half done", Perturbation("early", 1.0, 0.0), seed=3, claims=True)
KNOCKED = RolloutPlan("Camera knocked", Perturbation("camera", 1.0, 0.5), seed=3)
MILLISECOND = SECOND // 1000
DECISION_PERIOD = SECOND // 10


def at(seconds: float) -> int:
    return BEGIN + round(seconds * SECOND)


def reading(
    time: int, level: float, decision: int, state: AlarmState = AlarmState.NOMINAL
) -> TimedAlarm:
    return TimedAlarm(
        time=time,
        state=state,
        reason=f"level {level}",
        permit=state in (AlarmState.NOMINAL, AlarmState.CAUTION),
        decision=decision,
        stamp=time - 10 * MILLISECOND,
        rule="any",
        level=level,
        scores=(
            ScoreReading("rnd_oe", 2.0 * level, 2.0, level),
            ScoreReading("ace", 0.6, 1.0, 0.6),
        ),
    )


def recording(
    *,
    duration: float = 2.0,
    success: bool = True,
    claim: bool | None = None,
    check: str = "",
    perturbed_at: float | None = None,
    alarm_at_decision: int | None = None,
) -> ObservedMessages:
    """Return decisions every 0.1 s, scored 10 ms after the observation and 4 ms after the chunks.

    With an alarm the gate closes 1 ms after it, and the last command passes 1 ms before it.
    """
    recorded = ObservedMessages()
    recorded.active = [(BEGIN, True), (at(duration), False)]
    recorded.outcomes = [(at(duration) - MILLISECOND, success if claim is None else claim)]
    recorded.truths = [(at(duration) - MILLISECOND, success)]
    recorded.checks = [(at(duration) + MILLISECOND, check)]
    recorded.perturbations = [(BEGIN - MILLISECOND, "none")]
    if perturbed_at is not None:
        recorded.perturbations.append((at(perturbed_at), "camera"))
    recorded.gate = [GateChange(at(0.02), True)]
    image = jpeg.encode(np.full((96, 96, 3), 128, dtype=np.uint8))
    for index in range(round(10 * duration)):
        judged = BEGIN + index * DECISION_PERIOD + 10 * MILLISECOND
        alarmed = alarm_at_decision is not None and index >= alarm_at_decision
        state = AlarmState.ALARM if alarmed else AlarmState.NOMINAL
        recorded.readings.append(reading(judged, 1.5 if alarmed else 0.5, index, state))
        recorded.chunks.append((judged - 4 * MILLISECOND, judged - 10 * MILLISECOND))
        recorded.sent.append(judged - MILLISECOND)
        recorded.frames.append(Frame(judged - 10 * MILLISECOND, image))
        if alarm_at_decision is None or index <= alarm_at_decision:
            recorded.passed.append(judged - MILLISECOND)
        if index == alarm_at_decision:
            recorded.gate.append(GateChange(judged + MILLISECOND, False))
    return recorded


def nominal() -> Timeline:
    return timeline(NOMINAL, recording())


def detected() -> Timeline:
    return timeline(
        KNOCKED,
        recording(duration=4.0, success=False, perturbed_at=0.5, alarm_at_decision=7),
    )


def missed() -> Timeline:
    return timeline(KNOCKED, recording(duration=4.0, success=False, perturbed_at=0.5))
