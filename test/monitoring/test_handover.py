# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is owed while a human drives, and the first command after them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.monitoring.handover import Handover
from failure_monitor.monitoring.stop_debt import CommandError, Stop, StopDebts

pytestmark = pytest.mark.law(12)

AXES = frozenset({"shoulder"})
MEASURED = {"shoulder": 0.1, "elbow": 0.5}


def measure(names):
    return [MEASURED[name] for name in names]


def ramp(moved, due, now):
    return Stop(lambda time: f"{moved.command} at {time:g}", settled=now + 1.0)


class TestDebt:
    def test_it_is_suspended_and_paid_anew_when_the_human_lets_go(self):
        debts, sent = StopDebts(ramp, 0.0), []
        debts.add("move", AXES)
        debts.close(0.0)
        debts.pay(0.1, lambda command: sent.append(command) or True)
        assert sent
        debts.suspend()
        sent.clear()
        assert not debts.is_due
        for time in (0.2, 2.0, 60.0):
            debts.pay(time, lambda command: sent.append(command) or True)
        assert sent == []
        assert [moved.axes for moved in debts.moved] == [AXES]
        debts.close(61.0)
        assert debts.is_moving
        debts.pay(61.0, lambda command: sent.append(command) or True)
        debts.pay(62.0, lambda command: sent.append(command) or True)
        assert sent == ["move at 61", "move at 62"]
        assert not debts.moved

    def test_what_was_told_to_stand_is_the_humans(self):
        debts = StopDebts(ramp, 5.0)
        debts.add("move", AXES)
        debts.close(0.0)
        debts.pay(0.0, lambda command: True)
        debts.pay(1.5, lambda command: True)
        assert not debts.is_moving
        debts.suspend()
        assert not debts.moved

    @given(st.lists(st.sampled_from(["move", "close", "pay", "human"]), max_size=30))
    def test_nothing_is_sent_between_a_humans_word_and_the_next_close(self, events):
        debts, sent, is_silent = StopDebts(ramp, 0.5), [], False
        for number, event in enumerate(events):
            time = 0.3 * number
            if event == "move" and not is_silent:
                debts.add("move", AXES)
            elif event == "close":
                debts.close(time)
                is_silent = False
            elif event == "human":
                debts.suspend()
                is_silent = True
            before = len(sent)
            debts.pay(time, lambda command: sent.append(command) or True)
            assert not (is_silent and len(sent) > before)


class TestFirstCommand:
    def test_nothing_is_compared_before_there_was_a_human(self):
        assert not Handover(0.2).is_awaited

    def test_it_names_the_joint_that_is_farthest_off_and_both_numbers(self):
        handover = Handover(0.2)
        handover.begin()
        with pytest.raises(CommandError, match=r"'elbow' to 1\.250, which is at 0\.500"):
            handover.check({"shoulder": 0.35, "elbow": 1.25}, measure, 0.0)
        handover.check({"shoulder": 0.3, "elbow": 0.3}, measure, 0.1)
        # One that lies well but does not pass, because the gate is closed, meets nothing.
        with pytest.raises(CommandError, match="'shoulder'"):
            handover.check({"shoulder": 9.0}, measure, 2.0)
        handover.meet(["shoulder", "elbow"])
        # Each joint is met once, and asked for no more.
        handover.check({"shoulder": 9.0}, lambda names: pytest.fail("measured again"), 2.1)
        handover.begin()
        with pytest.raises(CommandError, match="'shoulder'"):
            handover.check({"shoulder": 9.0}, measure, 5.0)

    def test_what_is_said_does_not_change_with_every_command(self):
        handover, said = Handover(0.1), []
        handover.begin()
        for number in range(30):
            with pytest.raises(CommandError) as caught:
                handover.check({"elbow": 1.0 + 0.01 * number}, measure, 0.1 * number)
            said.append(str(caught.value))
        assert 2 <= len(set(said)) <= 4

    def test_a_tolerance_of_zero_compares_nothing(self):
        handover = Handover(0.0)
        handover.begin()
        assert not handover.is_awaited

    def test_a_joint_that_is_not_measured_keeps_the_command_back(self):
        def unknown(names):
            raise CommandError("no readable joint states")

        handover = Handover(0.2)
        handover.begin()
        with pytest.raises(CommandError, match="no readable"):
            handover.check({"elbow": 0.5}, unknown, 0.0)
