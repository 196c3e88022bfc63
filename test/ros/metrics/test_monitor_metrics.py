# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What monitors publish is counted once, written in Prometheus's format, and never outlived."""

from __future__ import annotations

import math

import pytest
from testbed.prometheus_text import read_metrics, value

from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.alarm_values import AlarmReading, ScoreReading
from failure_monitor.ros.metrics.exposition import Family, Sample, exposition
from failure_monitor.ros.metrics.monitor_metrics import FAMILIES, MAX_SCORES, MonitorMetrics

SILENCE = 0.6


def reading(state: AlarmState, *, halted: bool = False, **ratios: float) -> AlarmReading:
    scores = tuple(ScoreReading(name, ratio, 1.0, ratio) for name, ratio in ratios.items())
    return AlarmReading(
        state,
        "why",
        permit=not halted,
        halted=halted,
        level=max(ratios.values(), default=0.0),
        scores=scores,
    )


def read(metrics: MonitorMetrics, now: float = 0.0) -> dict:
    return read_metrics(exposition(FAMILIES, metrics.samples(now, SILENCE)))


def outcome(rollout: str, **values: str) -> dict[str, str]:
    return {"rollout": rollout, "ended": "true", "claim": "success", "label": "none", **values}


def test_the_format_escapes_what_names_may_hold():
    family = Family("a_total", "counter", "back\\slash\nline")
    names = ['quo"te', "back\\slash", "new\nline", "\x1b[31m\u202e", "x" * 10_000, "é 日本"]
    samples = [Sample("a_total", {"score": name}, number) for number, name in enumerate(names)]
    text = exposition([family], samples)
    assert text.startswith("# HELP a_total back\\\\slash\\nline\n# TYPE a_total counter\n")
    found = read_metrics(text)
    assert value(found, "a_total", score='quo"te') == 0
    assert value(found, "a_total", score="é 日本") == 5
    assert len(found) == len(names)
    assert max(len(line) for line in text.splitlines()) < 300


@pytest.mark.parametrize(
    ("number", "text"),
    [(1.0, "1"), (0.1, "0.1"), (math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"),
     (1e300, "1e+300"), (True, "1")],
)  # fmt: skip
def test_numbers_are_those_of_the_format(number, text):
    line = exposition([Family("a", "gauge", "b")], [Sample("a", {"c": ""}, number)])
    assert line.endswith(f'a{{c=""}} {text}\n')


def test_alarms_and_stops_are_counted_where_they_begin_with_the_score_that_was_highest():
    metrics = MonitorMetrics("/failure_monitor")
    alarm = reading(AlarmState.ALARM, halted=True, lag=1.5, ace=3.0, low=0.2)
    # One that lasts since before this process is none of its own.
    for each in (alarm, reading(AlarmState.NOMINAL, lag=0.5), alarm, alarm):
        metrics.update_alarm(each, "left", 0.0)
    metrics.update_permit(False, 0.0)
    found = read(metrics)
    alarms = {dict(of)["score"]: n for (name, of), n in found.items() if "alarms_total" in name}
    assert alarms == {"": 0, "ace": 1, "lag": 0, "low": 0}
    assert value(found, "failure_monitor_stops_total") == 1
    assert value(found, "failure_monitor_state", state="ALARM") == 1
    assert value(found, "failure_monitor_state", state="NOMINAL") == 0
    assert value(found, "failure_monitor_halted") == 1
    assert value(found, "failure_monitor_score_ratio", score="lag") == 1.5
    assert value(found, "failure_monitor_info", robot="left") == 1


def test_nothing_is_claimed_of_a_silent_monitor():
    metrics = MonitorMetrics("/failure_monitor")
    assert value(read(metrics), "failure_monitor_up") == 0
    assert value(read(metrics), "failure_monitor_halted") is None
    metrics.update_promise({"word": "holds"}, is_known=True)
    metrics.update_permit(True, 10.0)
    metrics.update_alarm(reading(AlarmState.NOMINAL, lag=0.5), "", 10.0)
    assert value(read(metrics, 10.5), "failure_monitor_permit") == 1
    assert value(read(metrics, 10.5), "failure_monitor_halted") == 0
    assert value(read(metrics, 10.5), "failure_monitor_promise_state", word="holds") == 1
    silent = read(metrics, 10.7)
    for name in ("up", "permit"):
        assert value(silent, f"failure_monitor_{name}") == 0
    assert value(silent, "failure_monitor_halted") is None
    assert value(silent, "failure_monitor_promise_state", word="unknown") == 1
    assert {n for (name, _), n in silent.items() if name == "failure_monitor_state"} == {0}
    assert value(silent, "failure_monitor_level") is None
    assert value(silent, "failure_monitor_stops_total") == 0
    # Permits of somebody else do not make the last state of the alarm true.
    metrics.update_permit(True, 16.0)
    contested = read(metrics, 16.0)
    assert value(contested, "failure_monitor_up") == 1
    assert {n for (name, _), n in contested.items() if name == "failure_monitor_state"} == {0}
    assert value(contested, "failure_monitor_level") is None
    assert value(contested, "failure_monitor_halted") is None
    # A halt outlasts the process, and so its alarm goes on.
    metrics.update_alarm(reading(AlarmState.ALARM, halted=True, lag=0.5), "", 17.0)
    assert value(read(metrics, 60.0), "failure_monitor_halted") == 1


def test_a_rollout_counts_once_however_often_more_is_known_of_it():
    metrics = MonitorMetrics("/failure_monitor")
    # What the monitor said last before this process was there may have been counted.
    metrics.update_outcome(outcome("old"))
    for said in (
        {"outcome": "not judged", "ended": "false"},
        {"outcome": "not judged"},
        {"outcome": "doubtful"},
        {"outcome": "doubtful", "label": "failure"},
        {"outcome": "doubtful", "label": "failure"},
    ):
        metrics.update_outcome(outcome("a", **said))
    metrics.update_outcome(outcome("b", claim="none"))
    metrics.update_outcome(outcome("old", label="success"))
    for strange in ({}, {"ended": "true"}, {"rollout": "c", "ended": "yes"}):
        metrics.update_outcome(strange)
    found = read(metrics)
    rollouts = "failure_monitor_rollouts_total"
    assert value(found, rollouts, outcome="success") == 1
    assert value(found, rollouts, outcome="unknown") == 1
    assert value(found, rollouts, outcome="failure") == 0
    assert value(found, "failure_monitor_outcome_checks_total", check="doubtful") == 1
    assert value(found, "failure_monitor_labels_total", label="failure") == 1
    assert value(found, "failure_monitor_labels_total", label="success") == 1


def test_figures_of_bundle_and_promise_are_those_that_the_monitor_states():
    metrics = MonitorMetrics("/left/failure_monitor")
    metrics.update_permit(True, 0.0)
    metrics.update_scoring(
        {
            "alpha": "0.1",
            "judged_decisions": "40",
            "skipped_decisions": "nan",
            "bundle_sha256": "a",
        }
    )
    metrics.update_promise({"word": "broken", "evidence": "1.5", "rollouts": "61"}, is_known=True)
    found = read(metrics)
    assert value(found, "failure_monitor_false_alarm_alpha") == 0.1
    assert value(found, "failure_monitor_decisions_total", result="scored") == 40
    assert value(found, "failure_monitor_decisions_total", result="skipped") is None
    assert value(found, "failure_monitor_promise_state", word="broken") == 1
    assert value(found, "failure_monitor_promise_rollouts") == 61
    assert value(found, "failure_monitor_info", bundle_sha256="a") == 1
    metrics.update_promise({"word": "holds"}, is_known=False)
    assert value(read(metrics), "failure_monitor_promise_state", word="unknown") == 1


def test_a_flood_of_names_stays_bounded():
    metrics = MonitorMetrics("/failure_monitor")
    metrics.update_permit(True, 0.0)
    for number in range(3 * MAX_SCORES):
        metrics.update_alarm(reading(AlarmState.NOMINAL), "", 0.0)
        metrics.update_alarm(reading(AlarmState.ALARM, **{f"score{number}": 2.0}), "", 0.0)
        metrics.update_outcome(outcome(str(number)))
    many = {f"score{number}": 2.0 for number in range(10_000)}
    metrics.update_alarm(reading(AlarmState.ALARM, **many), "", 0.0)
    found = read(metrics)
    assert sum(name == "failure_monitor_alarms_total" for name, _ in found) == MAX_SCORES + 1
    assert value(found, "failure_monitor_alarms_total", score="others") >= 2 * MAX_SCORES
    assert len(found) < 4 * MAX_SCORES
