# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A halt ends by a reset alone, whatever happens to the process, and a reset moves nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.monitoring.alarm import Alarm
from failure_monitor.monitoring.response.table import ALLOWED, Reaction, ResponseTable

MAX_AGE = 1.0
UNCONFIRMED = "the halt mark is not confirmed"

TABLES = st.builds(
    ResponseTable,
    **{state: st.sampled_from(allowed) for state, allowed in ALLOWED.items()},
    max_replans=st.integers(1, 4),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("decide", "decide", "decide"),
                *("fail", "problem", "no problem", "stopped", "not stopped"),
                *("start", "end", "enable", "disable"),
                *("kill", "deactivate", "reset", "write"),
            ]
        ),
        st.floats(0.0, 2.0) | st.just(math.nan),
        st.floats(0.0, 1.5),
    ),
    max_size=40,
)


def verdict(level: float) -> Verdict:
    scores = (ScoreVerdict("rnd_oe", value=level, windowed=level, threshold=1.0),)
    return Verdict(0, 0, scores, "mean", level)


class Cell:
    """A monitor that is killed and started again, its mark on a disk that takes its time."""

    def __init__(self, table: ResponseTable) -> None:
        self.table = table
        self.now = 0.0
        self.mark = False
        self.confirmed = False
        self.problem = False
        self.owes_reset = False
        """Whether a halt was latched, or a monitor was killed after it had permitted commands."""
        self.reset_at: float | None = None
        self.permitted_in_this_rollout = False
        self.start_monitor()

    def start_monitor(self) -> None:
        self.alarm = Alarm(max_decision_age=MAX_AGE, table=self.table)
        self.confirmed = False
        self.permitted_in_this_rollout = False
        if self.mark:
            self.alarm.restore_halt("a mark was found")
        # The hardest kind of boundaries: the robot may move at once.
        self.alarm.start_rollout()

    def read_status(self):
        """Return the state as the monitor publishes it, with the mark kept as it is needed."""
        if not self.alarm.needs_mark:
            self.mark = self.confirmed = False
        problems = [] if self.confirmed else [UNCONFIRMED]
        self.alarm.set_input_problems([*problems, *(["late"] if self.problem else [])])
        return self.alarm.status(self.now)

    def happen(self, event: str, level: float, passed: float) -> None:
        self.now += passed
        alarm = self.alarm
        if event == "decide":
            alarm.update(verdict(level), received=self.now, now=self.now)
        elif event == "fail":
            alarm.fail("broken", self.now)
        elif event in ("problem", "no problem"):
            self.problem = event == "problem"
        elif event in ("stopped", "not stopped"):
            alarm.set_stopped("pause" if event == "stopped" else "")
        elif event == "start":
            alarm.start_rollout()
        elif event == "end":
            alarm.end_rollout()
            self.permitted_in_this_rollout = False
        elif event in ("enable", "disable"):
            alarm.enable(event == "enable")
        elif event == "deactivate":
            alarm.status(self.now)
            alarm.end_rollout("not active")
            self.read_status()
            self.permitted_in_this_rollout = False
            alarm.start_rollout()
        elif event == "write":
            self.mark = self.confirmed = alarm.needs_mark
        elif event == "kill":
            self.owes_reset |= self.permitted_in_this_rollout
            self.start_monitor()
        elif event == "reset" and alarm.reset(self.now) == "":
            self.owes_reset = False
            self.reset_at = self.now


@pytest.mark.law(4)
@given(TABLES, EVENTS)
def test_after_a_halt_or_a_kill_nothing_is_permitted_without_an_accepted_reset(table, events):
    cell = Cell(table)
    for event in events:
        was_halted = cell.read_status().halted
        cell.happen(*event)
        status = cell.read_status()
        # A halt before the mark could be written was a halt before anything was permitted.
        cell.owes_reset |= status.halted and cell.mark
        if status.permit:
            assert not cell.owes_reset
            assert cell.mark
        cell.permitted_in_this_rollout |= status.permit
        if was_halted and not status.halted:
            assert event[0] == "reset" or (event[0] == "kill" and not cell.mark)


@pytest.mark.law(8)
@given(TABLES, EVENTS)
def test_no_reset_permits_anything_that_the_next_decision_does_not(table, events):
    cell = Cell(table)
    for event in events:
        before = cell.read_status()
        cell.happen(*event)
        status = cell.read_status()
        if event[0] == "reset" and not before.permit:
            assert not status.permit


@pytest.mark.law(8)
def test_a_decision_from_before_the_reset_that_is_scored_late_permits_nothing():
    alarm = halted_alarm()
    alarm.update(verdict(0.5), received=0.2, now=0.2)
    assert alarm.reset(0.4) == ""
    alarm.update(verdict(0.5), received=0.3, now=0.5)
    assert not alarm.status(0.5).permit
    alarm.update(verdict(0.5), received=0.45, now=0.6)
    assert alarm.status(0.6).permit


@pytest.mark.law(8)
def test_a_strange_decision_from_before_the_reset_that_is_scored_late_halts():
    alarm = halted_alarm()
    alarm.update(verdict(0.5), received=0.2, now=0.2)
    assert alarm.reset(0.4) == ""
    alarm.update(verdict(2.0), received=0.3, now=0.5)
    assert alarm.status(0.5).halted


@pytest.mark.law(8)
@given(TABLES, EVENTS)
def test_a_reset_is_rejected_while_what_has_halted_persists(table, events):
    cell = Cell(table)
    for event in events:
        cell.happen(*event)
        cell.read_status()
    cell.happen("write", 0.0, 0.0)
    cell.happen("no problem", 0.0, 0.0)
    cell.happen("enable", 0.0, 0.0)
    cell.happen("start", 0.0, 0.0)
    cell.happen("fail", 0.0, 0.0)
    assert "the cause of the halt persists: broken" in cell.alarm.reset(cell.now)
    assert cell.read_status().halted


def halted_alarm(stale: Reaction = Reaction.HALT) -> Alarm:
    """An alarm that has permitted commands and was halted by a decision, at 0.1 s."""
    alarm = Alarm(max_decision_age=MAX_AGE, table=ResponseTable(stale=stale))
    alarm.start_rollout()
    alarm.update(verdict(0.5), received=0.0, now=0.0)
    assert alarm.status(0.0).permit
    alarm.update(verdict(2.0), received=0.1, now=0.1)
    assert alarm.status(0.1).halted
    return alarm


@pytest.mark.law(9)
@pytest.mark.parametrize("stale", [Reaction.HALT, Reaction.HOLD])
@pytest.mark.parametrize("cause", ["verdict", "fault"])
def test_silence_that_a_stop_action_causes_is_no_reason_to_reject_a_reset(stale, cause):
    alarm = halted_alarm(stale)
    if cause == "fault":
        alarm.fail("a NaN", 0.1)
    alarm.set_stopped("pause")
    assert "persists" in alarm.reset(0.5), "the decision that halted is recent"
    assert alarm.reset(2.0) == ""
    status = alarm.status(9.0)
    assert (status.permit, status.halted) == (False, False)
    assert status.reason == "'pause' has stopped the policy: call ~/resume"
    alarm.set_stopped("")
    assert (alarm.status(9.5).permit, alarm.status(9.5).halted) == (False, False)
    alarm.update(verdict(0.5), received=10.0, now=10.0)
    assert alarm.status(10.0).permit


@pytest.mark.law(9)
def test_silence_that_nothing_explains_rejects_a_reset():
    alarm = halted_alarm()
    assert "older than 1 s" in alarm.reset(2.0)


@pytest.mark.law(9)
def test_a_missing_input_rejects_a_reset_although_the_policy_is_stopped():
    alarm = halted_alarm()
    alarm.set_stopped("pause")
    alarm.set_input_problems(["no joint states"])
    assert "no joint states" in alarm.reset(2.0)


@pytest.mark.law(9)
def test_a_stopped_policy_that_decides_again_is_watched_like_any_other():
    """Its operator may have resumed it by hand: the stop action knows nothing of it."""
    alarm = halted_alarm()
    alarm.set_stopped("pause")
    assert alarm.reset(2.0) == ""
    alarm.update(verdict(0.5), received=2.1, now=2.1)
    assert alarm.status(2.1).permit
    status = alarm.status(4.0)
    assert (status.permit, status.halted) == (False, True)
