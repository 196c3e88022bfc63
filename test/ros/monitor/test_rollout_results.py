# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a monitor says of how its rollouts ended: claims, labels, judges, log and promise."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from testbed.rollout_records import BLANK
from testbed.synthetic import synthetic_rollout

from failure_monitor.decision import Verdict
from failure_monitor.judges.judge import calibrated_judge
from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus
from failure_monitor.outcome.verdict import OutcomeVerdict, OutcomeWord
from failure_monitor.rollout_log.record import RolloutRecord, rollout_name, start_of
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.monitor.rollout_results import (
    KEPT,
    LABELS_AT_ONCE,
    MAX_LABELS,
    RolloutResults,
)
from failure_monitor.ros.monitor.running_rollout import Claim
from failure_monitor.ros.monitor.scoring_worker import ScoringResult
from failure_monitor.ros.monitor.watched_promise import CountedRollout, WatchedPromise
from failure_monitor.ros.monitor.watched_rollouts import LAST_DECISIONS, WatchedRollouts

JUDGE = calibrated_judge("reward", successes=[1.0 + n for n in range(20)], failures=[0.9] * 20)
DECISIONS = [*synthetic_rollout(0).decisions()]
PATIENCE = 10.0
NOMINAL = AlarmStatus(AlarmState.NOMINAL, "", permit=True)
HALT = AlarmStatus(AlarmState.ALARM, "ace 2", permit=False, halted=True)


class Confirming:
    """A check that finds every end usual, and keeps what it was shown."""

    alpha = 0.1

    def __init__(self) -> None:
        self.ends = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def check(self, end, task):
        self.goes_on.wait(PATIENCE)
        self.ends.append(end)
        scores = {"length": 0.5}
        return OutcomeVerdict(OutcomeWord.CONFIRMED, "as ever", 0.5, scores, 20, 3)


class Kept(WatchedPromise):
    """Keeps what counts."""

    def __init__(self) -> None:
        self.counted: dict[str, CountedRollout] = {}

    def end_rollout(self, ended: CountedRollout) -> None:
        self.counted[ended.name] = ended


class Log:
    """Keeps what is written."""

    path, problem = "log", ""

    def __init__(self) -> None:
        self.written: list[RolloutRecord] = []

    def write(self, record: RolloutRecord) -> None:
        self.written.append(record)


class Monitor:
    """The rollouts of a session and what becomes of them, without a node."""

    def __init__(self, *, check=None, without_outcome=False, newest_wins=False) -> None:
        self.check, self.promise, self.log = check or Confirming(), Kept(), Log()
        self.results = RolloutResults(
            self.check, self.promise, self.log, without_outcome=without_outcome
        )
        self.rollouts = WatchedRollouts(
            self.results, max_age=1.0, newest_wins=newest_wins, unscored=lambda: 0
        )
        self.now = 100.0
        self.clock = time.monotonic()
        self.received = 0

    def start(self, name="first"):
        self.rollouts.start_rollout(replace(BLANK, rollout=name), "", self.now)
        self.received = 0
        self.rollouts.observe(NOMINAL, self.now)

    def score(self, *levels, received=None):
        for level in levels:
            self.now += 0.1
            self.received += 1
            number = self.received - 1 if received is None else received
            decision = DECISIONS[number % len(DECISIONS)]
            verdict = Verdict(number, decision.stamp, (), "mean", level)
            self.rollouts.update(ScoringResult(number, None, self.now, decision, verdict))

    def claim(self, success, *, later=0.0, hindrance=""):
        return Claim(success, self.now + later, self.received, hindrance)

    def end(self, success=True, **said):
        self.rollouts.end_rollout(self.claim(success, **said), "its time was over")
        self.rollouts.check_end(self.now + said.get("later", 0.0))

    def say(self):
        """Return the message, once the checks under way are done."""
        end = time.monotonic() + PATIENCE
        while any(known.checked_since is not None for known in self.results._known.values()):
            assert time.monotonic() < end
            self.results.update(-math.inf)
            time.sleep(0.001)
        self.clock += 10.0
        self.results.update(self.clock)
        message = self.results.message(name="failure_monitor", hardware_id="arm")
        return message.level, message.message, read_key_values(message.values)


def ended(success, *levels, human=False, **options) -> str:
    """Why a rollout does not count for the promise."""
    monitor = Monitor(**options)
    monitor.start()
    monitor.score(*levels)
    if human:
        monitor.rollouts.intervene()
    monitor.end(success)
    return monitor.promise.counted["first"].why_left_out


def test_a_success_counts_and_what_nobody_vouches_for_does_not():
    assert ended(True, 0.5) == ""
    assert ended(True, 1.5) == ""
    assert ended(True) == "has no decision"
    assert ended(False, 0.5) == "failed"
    assert ended(None, 0.5) == "has no outcome"
    assert ended(None, 0.5, without_outcome=True) == ""
    assert ended(None, 1.5, without_outcome=True) == "has no outcome"
    assert ended(True, 0.5, human=True) == "a human acted in it"


def test_a_claimed_end_is_checked_and_said_with_its_parts():
    monitor = Monitor()
    assert monitor.say()[:2] == (DiagnosticStatus.STALE, "not judged: no rollout has ended yet")
    monitor.start()
    monitor.score(0.2, 0.7, 0.3, 0.4)
    monitor.end()
    level, message, values = monitor.say()
    assert (level, message) == (DiagnosticStatus.OK, "confirmed: as ever")
    assert values["rollout"] == "first"
    assert (values["claim"], values["label"], values["known_outcome"]) == (
        "success",
        "none",
        "success",
    )
    assert (values["level"], values["length.ratio"], values["compared_with"]) == (
        "0.5",
        "0.5",
        "20",
    )
    [end] = monitor.check.ends
    assert end.length == 4
    [record] = monitor.log.written
    assert (record.decisions, record.level, record.claim, record.check) == (
        4,
        0.7,
        "success",
        "confirmed",
    )


def test_a_decision_that_is_scored_after_the_end_still_belongs_to_the_rollout():
    monitor = Monitor()
    monitor.start()
    monitor.score(0.2, 0.2, 0.2)
    claim = Claim(True, monitor.now, 4)
    monitor.rollouts.end_rollout(claim, "")
    monitor.rollouts.check_end(monitor.now)
    assert not monitor.promise.counted
    monitor.score(0.7)
    monitor.rollouts.check_end(monitor.now)
    assert monitor.promise.counted["first"].finished.level == 0.7
    assert monitor.say()[2]["outcome"] == "confirmed"
    assert monitor.check.ends[0].length == 4


def test_an_end_whose_last_decisions_are_never_scored_is_not_judged():
    monitor = Monitor()
    monitor.start()
    monitor.score(0.2, 0.2, 0.2)
    monitor.rollouts.end_rollout(Claim(True, monitor.now, 4), "")
    monitor.rollouts.check_end(monitor.now + LAST_DECISIONS)
    assert "its last decisions were not all scored" in monitor.say()[1]
    monitor.start("second")
    monitor.score(0.2, 0.2, 0.2)
    monitor.received += 1
    monitor.score(0.2)
    monitor.end()
    assert "its last decisions were not all scored" in monitor.say()[1]
    assert not monitor.check.ends


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"later": 5.0}, "success was claimed 5.0 s after the last decision"),
        ({"hindrance": "the robot was halted by then: ace 2"}, "the robot was halted by then"),
        ({"success": False}, "failure was claimed"),
        ({"success": None}, "success was not claimed"),
    ],
)
def test_what_cannot_be_judged_is_said_with_the_reason(said, reason):
    monitor = Monitor()
    monitor.start()
    monitor.score(0.2, 0.2, 0.2, 0.2)
    monitor.end(**said)
    level, message, _ = monitor.say()
    assert level == DiagnosticStatus.STALE
    assert message.startswith(f"not judged: {reason}")
    assert not monitor.check.ends
    assert monitor.log.written[-1].check == "not judged"


def test_a_rollout_in_which_a_human_acted_or_nothing_was_decided_is_not_judged():
    monitor = Monitor()
    monitor.start()
    monitor.end()
    assert "it has no decision" in monitor.say()[1]
    monitor.start("second")
    monitor.score(0.2, 0.2, 0.2)
    monitor.rollouts.intervene()
    monitor.end()
    assert "a human acted" in monitor.say()[1]
    assert monitor.log.written[-1].intervention


def test_a_second_end_changes_nothing_and_a_contradiction_is_refused():
    monitor = Monitor()
    assert "no rollout has run" in monitor.rollouts.claim_ended(monitor.claim(True))
    monitor.start()
    monitor.score(0.2, 0.2, 0.2)
    monitor.end(True)
    monitor.end(False)
    assert monitor.rollouts.claim_ended(monitor.claim(True)) == ""
    assert "success was claimed" in monitor.rollouts.claim_ended(monitor.claim(False))
    assert monitor.say()[2]["claim"] == "success"
    assert [record.claim for record in monitor.log.written] == ["success"]


def test_a_claim_after_an_end_without_one_is_taken_and_one_that_is_late_not_judged():
    for later, outcome in ((0.2, "confirmed"), (3.0, "not judged")):
        monitor = Monitor()
        monitor.start()
        monitor.score(0.2, 0.2, 0.2)
        monitor.end(None)
        assert monitor.say()[2]["claim"] == "none"
        assert monitor.promise.counted["first"].why_left_out == "has no outcome"
        monitor.rollouts.claim(monitor.claim(True, later=later))
        assert monitor.say()[2]["outcome"] == outcome
        assert monitor.promise.counted["first"].why_left_out == ""
        assert monitor.log.written[-1].claim == "success"


def test_success_may_be_claimed_while_the_rollout_goes_on_and_taken_back():
    monitor = Monitor()
    monitor.start()
    monitor.score(0.2, 0.2, 0.2)
    monitor.rollouts.claim(monitor.claim(True))
    monitor.score(0.2, 0.2)
    assert monitor.say()[2]["outcome"] == "confirmed"
    assert monitor.check.ends[0].length == 3
    assert not monitor.log.written, "it has not ended"
    monitor.end(None)
    assert monitor.say()[2]["claim"] == "success"
    monitor.start("second")
    monitor.score(0.2, 0.2, 0.2)
    monitor.rollouts.claim(monitor.claim(True))
    monitor.rollouts.claim(monitor.claim(None))
    monitor.end(None)
    assert monitor.say()[1] == "not judged: success was not claimed"


def test_success_that_is_claimed_again_and_again_is_checked_now_and_then():
    monitor = Monitor()
    monitor.start()
    for _ in range(50):
        monitor.score(0.2)
        monitor.rollouts.claim(monitor.claim(True))
        monitor.rollouts.claim(monitor.claim(None))
    _, message, values = monitor.say()
    assert (message, values["claim"]) == (
        "not judged: the claim of success was taken back",
        "none",
    )
    monitor.end()
    monitor.say()
    assert 2 < len(monitor.check.ends) <= 7


def test_what_is_claimed_right_after_a_check_is_checked_at_the_end():
    """Else the word on a better end before would stand for it."""
    monitor = Monitor()
    monitor.start()
    monitor.score(0.2, 0.2, 0.2)
    monitor.rollouts.claim(monitor.claim(True))
    monitor.rollouts.claim(monitor.claim(False))
    monitor.score(0.2, 0.2)
    monitor.rollouts.claim(monitor.claim(True))
    assert [end.length for end in monitor.check.ends] == [3] or not monitor.check.ends
    monitor.end(None)
    monitor.say()
    assert [end.length for end in monitor.check.ends] == [3, 5]


def test_rollouts_that_end_faster_than_the_log_is_written_are_all_in_it():
    monitor = Monitor()
    for number in range(3 * KEPT):
        monitor.start(str(number))
        monitor.end(False)
    monitor.results.close()
    assert [one.rollout for one in monitor.log.written] == [str(n) for n in range(3 * KEPT)]


def test_the_next_start_ends_a_rollout_and_the_end_of_a_session_cuts_it_off():
    monitor = Monitor()
    monitor.start()
    monitor.score(0.2)
    monitor.start("second")
    monitor.score(0.3)
    monitor.rollouts.close()
    monitor.say()
    first, second = monitor.log.written
    assert first.why_ended == "the next rollout started"
    assert second.why_ended == "was cut off, as the monitor was deactivated"
    assert monitor.promise.counted["first"].why_left_out == "has no outcome"
    assert monitor.promise.counted["second"].why_left_out == second.why_ended


def test_a_check_that_hangs_is_said_and_its_word_counts_when_it_comes():
    check = Confirming()
    check.goes_on.clear()
    monitor = Monitor(check=check)
    monitor.start()
    monitor.score(0.2, 0.2, 0.2)
    monitor.end()
    monitor.results.update(time.monotonic() + 10.0)
    said = monitor.results.message(name="", hardware_id="")
    assert said.message == "not judged: the check takes more than 1 s"
    monitor.start("second")
    assert monitor.results.label(True) == ""
    check.goes_on.set()
    monitor.results.close()
    assert monitor.results.message(name="", hardware_id="").message == "confirmed: as ever"


def test_a_check_that_raises_is_no_word_on_the_end():
    class Raising(Confirming):
        def check(self, end, task):
            raise RuntimeError("a bug")

    monitor = Monitor(check=Raising())
    monitor.start()
    monitor.score(0.2, 0.2, 0.2)
    monitor.end()
    assert monitor.say()[1] == "not judged: the check failed: RuntimeError: a bug"


def test_alarms_and_halts_of_the_rollout_are_in_its_record_and_those_before_are_not():
    monitor = Monitor()
    monitor.start()
    monitor.rollouts.observe(HALT, monitor.now + 2.5)
    monitor.rollouts.observe(NOMINAL, monitor.now + 3.0)
    monitor.rollouts.observe(HALT, monitor.now + 4.0)
    monitor.score(math.inf)
    monitor.received = 0
    monitor.rollouts.start_rollout(replace(BLANK, rollout="second"), "", monitor.now)
    monitor.rollouts.observe(HALT, monitor.now)
    monitor.end(False)
    monitor.say()
    first, second = monitor.log.written
    assert (first.alarm, first.alarms, first.stopped, first.level) == (2.5, 2, True, 1e9)
    assert (second.alarm, second.alarms, second.stopped) == (None, 0, False)


def test_the_operators_word_stands_beside_the_claim_and_counts_for_the_promise():
    monitor = Monitor()
    assert monitor.results.label(True) == "no rollout has ended yet"
    monitor.start()
    monitor.score(0.2, 0.2, 0.2)
    monitor.end(True)
    assert monitor.results.label(False) == ""
    values = monitor.say()[2]
    assert (values["claim"], values["label"], values["known_outcome"]) == (
        "success",
        "failure",
        "failure",
    )
    assert monitor.promise.counted["first"].why_left_out == "failed"
    assert monitor.results.label(True) == ""
    assert monitor.promise.counted["first"].why_left_out == ""
    monitor.say()
    # The first word at once, again with what the check found, and the second at once.
    assert [record.label for record in monitor.log.written] == ["failure", "failure", "success"]


def test_a_label_belongs_to_the_last_ended_rollout_or_to_the_one_named():
    monitor = Monitor()
    for name in ("first", "second"):
        monitor.start(name)
        monitor.score(0.2)
        monitor.end()
    monitor.start("third")
    assert monitor.results.label(False) == ""
    assert monitor.results.label(True, "first") == ""
    assert monitor.results.label(True, "third") == "rollout 'third' has not ended yet"
    assert "is none of the last 2" in monitor.results.label(True, "x" * 10_000)
    assert len(monitor.say()[2]["label_problem"]) < 300
    labels = {record.rollout: record.label for record in monitor.log.written}
    assert labels == {"first": "success", "second": "failure"}


def test_a_flood_of_contradictory_labels_fills_neither_log_nor_memory():
    monitor = Monitor()
    for number in range(3 * KEPT):
        monitor.start(f"rollout {number}")
        monitor.end()
    problems = [monitor.results.label(number % 2 == 0) for number in range(10_000)]
    assert f"has changed {MAX_LABELS} times" in max(problems)
    monitor.say()
    assert "is none of the last" in monitor.results.label(True, "rollout 0")
    assert len(monitor.results._known) == KEPT
    lines = 3 * KEPT + LABELS_AT_ONCE
    assert len(monitor.log.written) == lines, "a line for each rollout, none for each label"
    assert monitor.log.written[-1].label == monitor.say()[2]["label"]


def judged_monitor() -> Monitor:
    monitor = Monitor()
    monitor.results = RolloutResults(
        monitor.check,
        monitor.promise,
        monitor.log,
        without_outcome=False,
        judges={"reward": JUDGE, "other": None},
        judge_problems=["the judge 'x.json' does not exist"],
    )
    monitor.rollouts = WatchedRollouts(
        monitor.results, max_age=1.0, newest_wins=False, unscored=lambda: 0
    )
    return monitor


def test_a_judges_number_is_of_the_rollout_that_it_names():
    monitor = judged_monitor()
    monitor.start()
    assert "no rollout has ended yet" in monitor.results.record_judge("first", "reward", 0.25)
    monitor.score(0.5, 0.5, 0.5)
    monitor.end()
    monitor.start("second")
    assert monitor.results.record_judge("first", "reward", 0.25) == ""
    assert "has not ended yet" in monitor.results.record_judge("second", "reward", 0.5)
    assert "is none of the last" in monitor.results.record_judge("another", "reward", 0.5)
    assert "a finite number" in monitor.results.record_judge("first", "other", math.nan)
    assert "no judge is called 'third'" in monitor.results.record_judge("first", "third", 1.0)
    assert "has its number already" in monitor.results.record_judge("first", "reward", 0.75)
    assert monitor.results.record_judge("first", "other", 7.0) == ""
    level, message, values = monitor.say()
    assert level == DiagnosticStatus.WARN
    assert message == (
        "confirmed: as ever; the judge reward says doubtful: 0 of 20 labelled successes are as "
        "low, and 20 of 20 labelled failures are as high"
    )
    assert (values["judge.reward"], values["judge.reward.word"]) == ("0.25", "doubtful")
    assert (values["judge.other"], values["judge.other.word"]) == ("7", "not calibrated")
    assert values["ended"] == "true"
    assert values["judges_problem"] == "the judge 'x.json' does not exist"
    [record] = monitor.log.written
    assert record.judges == {"reward": 0.25, "other": 7.0}
    assert record.judge_words == {"reward": "doubtful"}


def test_a_number_that_comes_before_the_last_decisions_are_scored_waits_for_them():
    monitor = judged_monitor()
    monitor.start()
    monitor.score(0.5)
    monitor.rollouts.end_rollout(Claim(True, monitor.now, 2), "")
    assert monitor.results.ended_at(monitor.now) == "first"
    assert monitor.results.record_judge("first", "reward", 2.0) == ""
    assert not monitor.log.written
    monitor.rollouts.check_end(monitor.now + LAST_DECISIONS)
    _, message, values = monitor.say()
    assert "reward" not in message, "it is accepted"
    assert values["judge.reward.word"] == "accepted"
    assert "has its number already" in monitor.results.record_judge("first", "reward", 0.0)


def test_a_number_without_a_name_is_of_the_rollout_that_had_ended_when_it_came():
    monitor = judged_monitor()
    monitor.start()
    assert monitor.results.ended_at(monitor.now) == ""
    monitor.now += 10.0
    monitor.end()
    monitor.now += 10.0
    monitor.start("second")
    monitor.now += 10.0
    monitor.end()
    assert [monitor.results.ended_at(100.0 + time) for time in (5, 10, 15, 20, 25, 30, 99)] == [
        "",
        "first",
        "first",
        "",
        "",
        "second",
        "second",
    ]


def test_a_rollouts_name_tells_when_it_started():
    assert rollout_name(1_795_923_912.12, 3) == "20261129T034512.120Z-3"
    assert start_of("20261129T034512.120Z-3") == pytest.approx(1_795_923_912.12)
    assert start_of("first") is None
