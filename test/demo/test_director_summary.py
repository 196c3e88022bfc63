# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from rich.console import Console
from testbed.demo_timelines import (
    HALF_DONE,
    KNOCKED,
    NOMINAL,
    detected,
    missed,
    nominal,
    recording,
)

from failure_monitor.demo.summary import RolloutSummary, shortfalls, summarise
from failure_monitor.demo.summary_table import summary_table
from failure_monitor.demo.timeline import timeline
from failure_monitor.monitoring.alarm import AlarmState


def demo(*changed: RolloutSummary) -> list[RolloutSummary]:
    """The four watched rollouts of a demo that holds, the last ones replaced, and its claim."""
    good = [summarise(nominal()), *[summarise(detected())] * 3]
    return [*good[: 4 - len(changed)], *changed, claimed()]


def claimed(
    check: str = "doubtful: dz is 0.3 at the end", *, success: bool = False, claim: bool = True
) -> RolloutSummary:
    """The summary of a rollout whose caller claims success."""
    return summarise(timeline(HALF_DONE, recording(success=success, claim=claim, check=check)))


def test_a_nominal_rollout_is_a_success_without_an_alarm() -> None:
    summary = summarise(nominal())
    assert summary.outcome == "success"
    assert not summary.alarmed
    assert summary.max_level == 0.5
    assert summary.decisions == 20
    assert summary.lead_time is None
    assert summary.reaction_time is None


def test_a_detected_failure_is_measured_from_publication_to_publication() -> None:
    summary = summarise(detected())
    assert summary.outcome == "stopped"
    assert summary.stop_reason == "level 1.5"
    assert summary.alarm_decision == 7
    assert summary.alarm_time == pytest.approx(0.71)
    assert summary.detection_delay == pytest.approx(0.21)
    assert summary.lead_time == pytest.approx(3.29)
    assert summary.reaction_time == pytest.approx(0.005)
    assert summary.passed_after_alarm == 0


def test_a_missed_failure_is_a_failure() -> None:
    summary = summarise(missed())
    assert summary.outcome == "failure"
    assert summary.stop_reason == ""
    assert not summary.detected


def test_an_alarm_before_the_perturbation_is_no_detection() -> None:
    early = timeline(KNOCKED, recording(success=False, perturbed_at=1.5, alarm_at_decision=3))
    summary = summarise(early)
    assert summary.alarmed
    assert not summary.detected


@pytest.mark.parametrize(
    ("perturbed_at", "when"), [(1.5, "1.19 s before the perturbation"), (None, "came before the")]
)
def test_an_alarm_before_the_perturbation_does_not_hold(perturbed_at, when) -> None:
    """Though two others are detected, which is all that is asked of the perturbed rollouts."""
    early = recording(success=False, perturbed_at=perturbed_at, alarm_at_decision=3)
    (sentence,) = shortfalls(demo(summarise(timeline(KNOCKED, early))))
    assert sentence.startswith("the alarm of 'Camera knocked' came")
    assert when in sentence


def test_a_lost_input_stops_without_an_alarm() -> None:
    recorded = recording(duration=2.0, success=False)
    recorded.readings[10:] = [
        replace(reading, state=AlarmState.STALE, permit=False, reason="no joint states")
        for reading in recorded.readings[10:]
    ]
    summary = summarise(timeline(NOMINAL, recorded))
    assert (summary.outcome, summary.stop_reason) == ("stopped", "no joint states")
    assert not summary.alarmed
    assert "no joint states" in " ".join(shortfalls([summary, *demo()[1:]]))


def test_a_summary_is_plain_json() -> None:
    assert json.loads(json.dumps(asdict(summarise(detected()))))["outcome"] == "stopped"


def test_a_demo_that_holds_has_no_shortfall() -> None:
    assert shortfalls(demo()) == []


def test_one_missed_perturbation_is_forgiven_two_are_not() -> None:
    gone = summarise(missed())
    assert shortfalls(demo(gone)) == []
    (sentence,) = shortfalls(demo(gone, gone))
    assert sentence.startswith("1 of 3 perturbed rollouts raised an alarm")


def test_a_false_alarm_in_the_nominal_rollout_does_not_hold() -> None:
    false_alarm = summarise(timeline(NOMINAL, recording(success=False, alarm_at_decision=5)))
    (sentence,) = shortfalls([false_alarm, *demo()[1:]])
    assert "the undisturbed rollout raised an alarm after 0.51 s" in sentence


def test_a_nominal_rollout_that_fails_does_not_hold() -> None:
    failed = summarise(timeline(NOMINAL, recording(success=False)))
    (sentence,) = shortfalls([failed, *demo()[1:]])
    assert sentence.startswith("the undisturbed rollout ended as failure")


def test_a_command_that_passes_after_an_alarm_does_not_hold() -> None:
    leaky = replace(summarise(detected()), passed_after_alarm=1)
    (sentence,) = shortfalls(demo(leaky))
    assert sentence.startswith("1 commands passed the gate after the alarm in 'Camera knocked'")


def test_a_false_success_is_told_from_a_true_one_by_the_simulators_truth() -> None:
    assert claimed().outcome == "false success"
    assert claimed().check == "doubtful: dz is 0.3 at the end"
    assert claimed(success=True).outcome == "success"
    unclaimed = claimed("not judged: no success is claimed", claim=False)
    assert (unclaimed.outcome, unclaimed.check) == ("failure", "")


@pytest.mark.parametrize("check", ["not judged: it ended after 2 decisions", ""])
def test_a_false_success_that_is_not_judged_does_not_hold(check: str) -> None:
    (sentence,) = shortfalls([*demo()[:-1], claimed(check)])
    assert sentence.startswith("'Half done' ended as false success")
    assert (check or "nothing") in sentence


def test_that_a_false_success_is_doubted_is_not_promised() -> None:
    assert shortfalls([*demo()[:-1], claimed("confirmed: the end is like those of 30")]) == []


def test_a_false_success_that_an_alarm_prevents_holds() -> None:
    stopped = timeline(HALF_DONE, recording(success=False, claim=False, alarm_at_decision=9))
    assert shortfalls([*demo()[:-1], summarise(stopped)]) == []


def test_the_table_tells_alarm_and_reaction() -> None:
    console = Console(width=80)
    slow = replace(summarise(detected()), title="Mechanism stuck", reaction_time=1.2345)
    with console.capture() as capture:
        console.print(summary_table(demo(slow)))
    text = capture.get()
    assert "…" not in text
    for head in ("rollout,", "outcome", "alarm at", "after", "onset", "before", "passed"):
        assert f" {head} " in text
    assert "Undisturbed" in text
    assert "decision 7" in text
    assert "5.0 ms" in text
