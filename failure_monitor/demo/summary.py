# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a rollout of the demo came to, and whether the demo showed what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from failure_monitor.demo.timeline import SECOND, Timeline
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.outcome.verdict import OutcomeWord

DETECTIONS_ASKED = 2
"""How many of the perturbed rollouts of the demo must raise an alarm."""


@dataclass(frozen=True)
class RolloutSummary:
    """One line of the summary.

    Attributes:
        title: what the rollout shows.
        perturbation: the kind of the perturbation.
        strength: the strength of the perturbation.
        seed: the seed of the scene.
        claims: whether its caller ends it by claiming success.
        outcome: `success`, `stopped` where the monitor withdrew its permit, `false success` where
            that was claimed of a failure, `failure` otherwise.
        check: what the monitor says of a claimed success; empty without a word.
        stop_reason: why the permit was withdrawn first; empty where it was not.
        duration: seconds from the start to the end.
        decisions: number of decisions that the monitor scored.
        max_level: the rule's highest combined normalised score; None without a decision.
        alarm_decision: the number of the decision that raised the alarm; None without an alarm.
        alarm_time: seconds from the start to the alarm.
        lead_time: seconds from the alarm to the end.
        detection_delay: seconds from the perturbation to the alarm; negative where the alarm
            came first and the perturbation is not its cause.
        reaction_time: seconds from the publication of the decision that raised the alarm to the
            closing of the gate.
        commands_sent: number of commands of the policy.
        commands_passed: number of commands that the gate passed.
        passed_after_alarm: number of commands that came out of the gate after the alarm.
    """

    title: str
    perturbation: str
    strength: float
    seed: int
    claims: bool
    outcome: str
    check: str
    stop_reason: str
    duration: float
    decisions: int
    max_level: float | None
    alarm_decision: int | None
    alarm_time: float | None
    lead_time: float | None
    detection_delay: float | None
    reaction_time: float | None
    commands_sent: int
    commands_passed: int
    passed_after_alarm: int

    @property
    def alarmed(self) -> bool:
        """Whether there was an alarm before the end."""
        return self.alarm_time is not None

    @property
    def detected(self) -> bool:
        """Whether there was an alarm between the perturbation and the end."""
        return self.detection_delay is not None and self.detection_delay >= 0


def summarise(timeline: Timeline) -> RolloutSummary:
    """Reduce what was observed to the numbers of the summary."""
    plan, alarm, chunk = timeline.plan, timeline.alarm, timeline.alarming_chunk
    closing, perturbed = timeline.gate_closing, timeline.perturbed
    decisions = [reading.decision for reading in timeline.readings if reading.decision is not None]
    levels = [reading.level for reading in timeline.readings if reading.level is not None]
    return RolloutSummary(
        title=plan.title,
        perturbation=plan.perturbation.kind,
        strength=plan.perturbation.strength,
        seed=plan.seed,
        claims=plan.claims,
        outcome=_outcome(timeline),
        check=timeline.check if timeline.claim else "",
        stop_reason=_stop_reason(timeline),
        duration=timeline.duration,
        decisions=max(decisions, default=-1) + 1,
        max_level=max(levels, default=None),
        alarm_decision=None if alarm is None else alarm.decision,
        alarm_time=None if alarm is None else timeline.seconds(alarm.time),
        lead_time=_seconds(None if alarm is None else alarm.time, timeline.end),
        detection_delay=_seconds(perturbed, None if alarm is None else alarm.time),
        reaction_time=_seconds(chunk, closing),
        commands_sent=len(timeline.sent),
        commands_passed=len(timeline.passed),
        passed_after_alarm=timeline.passed_after_alarm,
    )


def shortfalls(summaries: Sequence[RolloutSummary]) -> list[str]:
    """Return a sentence for each part of the demo's promise that did not hold."""
    perturbed = [s for s in summaries if s.perturbation != "none" and not s.claims]
    detected = sum(summary.detected for summary in perturbed)
    found = []
    for summary in summaries:
        if summary.perturbation == "none":
            found += _nominal_shortfalls(summary)
        elif summary.claims:
            found += _claim_shortfalls(summary)
        elif summary.alarmed and not summary.detected:
            found.append(_early_alarm(summary))
        if summary.passed_after_alarm:
            found.append(
                f"{summary.passed_after_alarm} commands passed the gate after the alarm in "
                f"'{summary.title}', where none may: see the gate's output"
            )
    if detected < DETECTIONS_ASKED:
        found.append(
            f"{detected} of {len(perturbed)} perturbed rollouts raised an alarm between the "
            f"perturbation and their end, where {DETECTIONS_ASKED} should: try another --seed, "
            "or a larger --alpha"
        )
    return found


def _early_alarm(summary: RolloutSummary) -> str:
    when = "before the perturbation"
    if summary.detection_delay is not None:
        when = f"{-summary.detection_delay:.2f} s {when}"
    return (
        f"the alarm of '{summary.title}' came {when} ({summary.stop_reason}), which is not its "
        "cause: a false alarm, which the promise allows in a share alpha of rollouts, so try "
        "another --seed, or a smaller --alpha"
    )


def _nominal_shortfalls(summary: RolloutSummary) -> list[str]:
    if summary.alarmed:
        return [
            f"the undisturbed rollout raised an alarm after {summary.alarm_time:.2f} s "
            f"({summary.stop_reason}): the promise allows a false alarm in a share alpha of "
            "rollouts, so try another --seed, or a smaller --alpha"
        ]
    if summary.outcome == "success":
        return []
    why = f" ({summary.stop_reason})" if summary.stop_reason else ""
    return [f"the undisturbed rollout ended as {summary.outcome}{why}: try another --seed"]


def _claim_shortfalls(summary: RolloutSummary) -> list[str]:
    """Return what does not hold of a false success.

    An alarm may prevent it. That it is doubted is not promised, that it is judged is.
    """
    judged = (OutcomeWord.DOUBTFUL.value, OutcomeWord.CONFIRMED.value)
    if summary.alarmed or summary.check.startswith(judged):
        return []
    said = summary.check or "nothing"
    return [
        f"'{summary.title}' ended as {summary.outcome}, where success should be claimed and its "
        f"end judged; the monitor said: {said}: see its output"
    ]


def _outcome(timeline: Timeline) -> str:
    if timeline.success:
        return "success"
    if _stop_reason(timeline):
        return "stopped"
    return "false success" if timeline.claim else "failure"


def _stop_reason(timeline: Timeline) -> str:
    """Return why the permit was first withdrawn after it had been given."""
    permitted = False
    for reading in timeline.readings:
        if permitted and not reading.permit:
            return reading.reason
        # An alarm on the very first decision stops what never was permitted.
        if reading.state == AlarmState.ALARM:
            return reading.reason
        permitted |= reading.permit
    return ""


def _seconds(earlier: int | None, later: int | None) -> float | None:
    return None if earlier is None or later is None else (later - earlier) / SECOND
