# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Escalation: everything is tried until something is known to stand, and only that is resumed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from failure_monitor.monitoring.response.escalation import Escalation, Step, StopResult

MENU = (Step("pause", 0.5), Step("policy", 2.0), Step("lock", 0.5))


@pytest.fixture
def escalation() -> Escalation:
    return Escalation(MENU)


def test_the_first_that_stands_ends_it(escalation):
    assert escalation.halt(0.0) == "pause"
    assert escalation.report()["halting"] == "waiting for pause; no command is permitted"
    assert escalation.receive_answer("pause", StopResult.STOPPED, "paused", 0.012, halt=1) == ""
    assert escalation.tick(100.0) == ""
    assert escalation.stopped == ["pause"]
    assert escalation.report() == {
        "halting": "the policy stands: pause",
        "halting.pause": "stopped, after 0.012 s: paused",
        "halting.policy": "not tried",
        "halting.lock": "not tried",
    }


def test_a_refusal_and_what_cannot_answer_lead_on_at_once(escalation):
    escalation.halt(0.0)
    assert escalation.receive_answer("pause", StopResult.REFUSED, "busy", 0.1, halt=1) == "policy"
    assert escalation.receive_answer("policy", StopResult.SENT, "told", 0.2, halt=1) == "lock"
    assert escalation.receive_answer("lock", StopResult.SENT, "locked", 0.2, halt=1) == ""
    assert escalation.stopped == []
    report = escalation.report()
    assert report["halting"] == "nothing has answered that it stopped; no command is permitted"
    assert report["halting.pause"] == "refused, after 0.100 s: busy"


def test_silence_leads_on_when_its_time_is_over(escalation):
    escalation.halt(0.0)
    assert escalation.tick(0.49) == ""
    assert escalation.tick(0.5) == "policy"
    assert escalation.tick(2.4) == ""
    assert escalation.tick(2.5) == "lock"
    assert escalation.report()["halting.pause"] == "no answer within 0.5 s"


def test_a_late_answer_counts_and_ends_it(escalation):
    escalation.halt(0.0)
    escalation.tick(0.5)
    assert escalation.receive_answer("pause", StopResult.STOPPED, "paused", 1.0, halt=1) == ""
    assert escalation.tick(10.0) == ""
    assert escalation.report()["halting"] == "the policy stands: pause"
    assert escalation.report()["halting.pause"] == "stopped, late, after 1.000 s: paused"
    assert escalation.report()["halting.lock"] == "not tried"


def test_what_stopped_after_the_halt_was_over_is_still_to_be_resumed(escalation):
    escalation.halt(0.0)
    escalation.release()
    assert escalation.receive_answer("pause", StopResult.STOPPED, "paused", 9.0, halt=1) == ""
    assert escalation.stopped == ["pause"]
    assert "call ~/resume to go on with pause" in escalation.report()["halting"]


def test_an_answer_to_the_last_halt_is_no_answer_to_this_one(escalation):
    escalation.halt(0.0)
    escalation.release()
    escalation.halt(1.0)
    assert escalation.receive_answer("pause", StopResult.STOPPED, "paused", 1.1, halt=1) == ""
    assert escalation.waiting_for == "pause"


def test_resuming_takes_off_the_list_only_what_goes_on(escalation):
    escalation.halt(0.0)
    escalation.receive_answer("pause", StopResult.STOPPED, "paused", 0.1, halt=1)
    escalation.release()
    escalation.receive_resumption("pause", "does not go on: busy", success=False)
    assert escalation.stopped == ["pause"]
    escalation.receive_resumption("pause", "goes on: running", success=True)
    assert escalation.stopped == []
    assert escalation.report()["halting"] == "no halt"
    assert escalation.report()["halting.pause"] == "goes on: running"


def test_what_was_given_up_or_refused_and_stops_after_all_is_a_proof(escalation):
    escalation.halt(0.0)
    escalation.receive_answer("pause", StopResult.REFUSED, "busy", 0.1, halt=1)
    escalation.receive_answer("policy", StopResult.REFUSED, "busy", 0.2, halt=1)
    escalation.receive_answer("lock", StopResult.SENT, "locked", 0.3, halt=1)
    assert not escalation.has_proof
    assert escalation.receive_answer("pause", StopResult.STOPPED, "now", 2.0, halt=1) == ""
    assert escalation.has_proof
    assert escalation.report()["halting"] == "the policy stands: pause"


@pytest.mark.law(9)
def test_what_has_appeared_is_tried_again_once_nothing_else_is_waited_for(escalation):
    assert escalation.retry("pause", 0.0) == "", "there is no halt"
    escalation.halt(0.0)
    assert escalation.retry("pause", 0.1) == "", "it is waited for"
    escalation.tick(0.5)
    assert escalation.retry("lock", 0.6) == "", "its turn has not come"
    escalation.receive_answer("policy", StopResult.STOPPED, "inactive", 0.7, halt=1)
    # The policy was started again: what stopped the one before is no proof.
    assert escalation.retry("policy", 5.0) == "policy"
    assert not escalation.has_proof
    assert escalation.tick(7.0) == "lock"


@pytest.mark.law(9)
def test_only_an_action_of_this_halt_explains_that_the_policy_is_silent(escalation):
    escalation.halt(0.0)
    assert escalation.stopped_by == ""
    escalation.receive_answer("pause", StopResult.STOPPED, "paused", 0.1, halt=1)
    assert escalation.stopped_by == "pause"
    escalation.release()
    assert escalation.stopped_by == "pause", "until it is resumed"
    escalation.halt(1.0)
    assert escalation.stopped_by == ""
    escalation.receive_answer("pause", StopResult.AT_REST, "stood already", 1.1, halt=2)
    assert escalation.stopped_by == ""


def test_an_empty_menu_has_nothing_to_ask_and_nothing_to_report():
    escalation = Escalation(())
    assert escalation.halt(0.0) == ""
    assert escalation.report() == {}


@given(st.lists(st.sampled_from([*StopResult]), min_size=3, max_size=3))
def test_each_is_asked_once_in_order_up_to_the_first_proof(outcomes):
    escalation, asked = Escalation(MENU), []
    name = escalation.halt(0.0)
    for outcome in outcomes:
        if name:
            asked.append(name)
            name = escalation.receive_answer(name, outcome, "", 0.1, halt=1)
    names = [step.name for step in MENU]
    proofs = [outcome.is_proof for outcome in outcomes]
    until = proofs.index(True) + 1 if any(proofs) else len(names)
    assert asked == names[:until]
    assert set(escalation.stopped) <= set(asked)


class Halts(RuleBasedStateMachine):
    """Whatever happens in whatever order: at most one is waited for, and nothing is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.escalation = Escalation(MENU)
        self.now = 0.0
        self.asked: list[str] = []
        self.stood: set[str] = set()
        self.released_at = -1.0

    def take(self, name: str) -> None:
        if name:
            assert name not in self.asked
            self.asked.append(name)

    @rule()
    def halt(self) -> None:
        if not self.escalation.is_halted:
            self.asked = []
        self.take(self.escalation.halt(self.now))

    @rule()
    def release(self) -> None:
        self.escalation.release()

    @rule(passed=st.floats(0.0, 3.0))
    def pass_time(self, passed: float) -> None:
        self.now += passed
        self.take(self.escalation.tick(self.now))

    @rule(name=st.sampled_from([step.name for step in MENU]))
    def appear(self, name: str) -> None:
        if self.escalation.retry(name, self.now):
            assert name in self.asked

    @precondition(lambda self: self.escalation.halts)
    @rule(
        name=st.sampled_from([step.name for step in MENU]),
        outcome=st.sampled_from([*StopResult]),
        back=st.integers(0, 1),
    )
    def answer(self, name: str, outcome: StopResult, back: int) -> None:
        if outcome == StopResult.STOPPED:
            self.stood.add(name)
        halt = max(self.escalation.halts - back, 1)
        self.take(self.escalation.receive_answer(name, outcome, "words", self.now, halt=halt))

    @rule(name=st.sampled_from([step.name for step in MENU]), success=st.booleans())
    def resume(self, name: str, success: bool) -> None:
        if success:
            self.stood.discard(name)
        self.escalation.receive_resumption(name, "words", success=success)

    @invariant()
    def what_stands_because_of_us_is_known(self) -> None:
        assert set(self.escalation.stopped) == self.stood
        assert len(self.escalation.stopped) == len(self.stood)

    @invariant()
    def nobody_is_waited_for_without_a_halt(self) -> None:
        assert self.escalation.is_halted or not self.escalation.waiting_for

    @invariant()
    def a_halt_either_waits_or_has_a_proof_or_has_tried_all(self) -> None:
        report = self.escalation.report()
        assert set(report) == {"halting", *(f"halting.{step.name}" for step in MENU)}
        if self.escalation.is_halted and not self.escalation.waiting_for:
            stands = "stands" in report["halting"]
            assert stands or self.asked == [step.name for step in MENU]


TestHalts = Halts.TestCase
