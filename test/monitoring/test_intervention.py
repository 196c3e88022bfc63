# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A human who intervenes: what is said of one, and what it means for the alarm."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.messages.teleoperation import is_active
from failure_monitor.monitoring.alarm import Alarm, AlarmState
from failure_monitor.monitoring.intervention import Intervention
from failure_monitor.monitoring.response.table import Reaction

HUMAN = "a human intervenes: '/intervention' is true"
JOY, TWIST = "sensor_msgs/msg/Joy", "geometry_msgs/msg/Twist"


def verdict(level: float) -> Verdict:
    scores = (ScoreVerdict("rnd_oe", value=level, windowed=level, threshold=1.0),)
    return Verdict(0, 0, scores, "mean", level)


def joy(axes=(), buttons=()):
    return SimpleNamespace(axes=axes, buttons=buttons)


def twist(x=0.0, turn=0.0):
    linear = SimpleNamespace(x=x, y=0.0, z=0.0)
    return SimpleNamespace(linear=linear, angular=SimpleNamespace(x=0.0, y=0.0, z=turn))


class TestState:
    @pytest.mark.law(12)
    def test_silence_while_it_is_true_ends_nothing(self):
        state = Intervention("/intervention", None)
        state.update(True, 1.0)
        assert state.holds(1e9)
        assert state.reason(1e9) == HUMAN

    @pytest.mark.law(12)
    def test_of_two_publishers_the_one_that_says_true_wins(self):
        state = Intervention("/intervention", None)
        state.update(True, 1.0, contested=True)
        state.update(False, 1.1, contested=True)
        assert state.holds(1.1)
        state.update(False, 30.0)
        assert not state.holds(30.0)

    @pytest.mark.law(12)
    def test_what_was_lost_may_have_been_of_a_human(self):
        state = Intervention("/intervention", None)
        state.lose(1.0)
        assert state.holds(1.0)

    @pytest.mark.law(12)
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
    def test_it_never_ends_but_by_the_word_of_an_only_publisher(self, messages):
        state = Intervention("/intervention", None)
        for number, (active, contested) in enumerate(messages):
            before = state.holds(number)
            state.update(active, number, contested=contested)
            if before and not state.holds(number):
                assert not active
                assert not contested


class TestActivity:
    def test_it_ends_when_nothing_comes_any_more(self):
        activity = Intervention("/joy", 0.5)
        assert not activity.holds(0.0)
        activity.update(True, 1.0)
        assert activity.holds(1.4)
        assert not activity.holds(1.5)

    def test_a_device_at_rest_does_not_end_it_sooner(self):
        activity = Intervention("/joy", 0.5)
        activity.update(True, 1.0)
        activity.update(False, 1.1)
        assert activity.holds(1.4)

    @pytest.mark.parametrize(
        ("message", "kind", "active"),
        [
            (joy(), JOY, False),
            (joy(axes=(0.04, -0.04)), JOY, False),
            (joy(axes=(0.0, -0.06)), JOY, True),
            (joy(axes=(0.0,), buttons=(0, 1)), JOY, True),
            (joy(axes=(math.nan,)), JOY, True),
            (twist(), TWIST, False),
            (twist(x=-0.2), TWIST, True),
            (twist(turn=math.inf), TWIST, True),
            (twist(turn=math.nan), TWIST, True),
            (SimpleNamespace(twist=twist(x=0.2)), "geometry_msgs/msg/TwistStamped", True),
            (b"whatever", "sensor_msgs/msg/JointState", True),
        ],
    )
    def test_what_counts(self, message, kind, active):
        assert is_active(message, kind, 0.05) is active

    @pytest.mark.parametrize("dead_band", [-1.0, math.nan])
    def test_without_a_dead_band_every_message_counts(self, dead_band):
        assert is_active(b"", JOY, dead_band)


def watching(level: float | None = 0.5) -> Alarm:
    alarm = Alarm(max_decision_age=1.0)
    alarm.start_rollout()
    if level is not None:
        alarm.update(verdict(level), received=0.0, now=0.0)
        alarm.status(0.0)
    return alarm


@pytest.mark.law(12)
class TestAlarm:
    def test_it_halts_without_the_stop_menu(self):
        alarm = watching()
        alarm.set_intervention(HUMAN)
        status = alarm.status(0.1)
        assert (status.state, status.permit, status.halted) == (AlarmState.STALE, False, True)
        assert status.reaction == Reaction.HOLD
        assert status.reason == f"{HUMAN}; the policy's part of this rollout has ended"

    def test_what_the_policy_decides_meanwhile_does_not_count(self):
        alarm = watching()
        alarm.set_intervention(HUMAN)
        for level in (0.1, 5.0, math.nan):
            alarm.update(verdict(level), received=0.2, now=0.2)
            alarm.fail("broken", 0.2)
            assert alarm.status(0.2).state == AlarmState.STALE
            assert alarm.status(0.2).reason.startswith(HUMAN)

    def test_a_reset_is_rejected_while_it_lasts_and_hands_back_then(self):
        alarm = watching()
        alarm.set_intervention(HUMAN)
        assert HUMAN in alarm.reset(0.2)
        assert alarm.status(0.2).halted
        alarm.set_intervention("")
        status = alarm.status(0.3)
        assert status.halted
        assert status.reason.startswith("the cause is gone: call ~/reset to go on; it was: a hum")
        assert "; now" not in status.reason
        assert alarm.reset(0.4) == ""
        assert not alarm.status(0.4).permit
        alarm.update(verdict(0.1), received=0.5, now=0.5)
        assert alarm.status(0.5).permit

    def test_a_moment_is_enough(self):
        alarm = watching()
        alarm.set_intervention(HUMAN)
        alarm.set_intervention("")
        assert alarm.status(0.1).halted

    def test_before_the_first_decision(self):
        alarm = watching(None)
        alarm.set_intervention(HUMAN)
        assert alarm.status(0.0).halted
        alarm.set_intervention("")
        alarm.update(verdict(0.1), received=0.1, now=0.1)
        assert not alarm.status(0.1).permit

    def test_between_rollouts_it_halts_nothing_and_keeps_the_next_from_moving(self):
        alarm = Alarm(max_decision_age=1.0)
        alarm.set_intervention(HUMAN)
        assert not alarm.status(0.0).halted
        assert HUMAN in alarm.status(0.0).reason
        alarm.start_rollout()
        alarm.update(verdict(0.1), received=0.1, now=0.1)
        assert alarm.status(0.1).halted
        alarm.end_rollout()
        alarm.set_intervention("")
        alarm.start_rollout()
        alarm.update(verdict(0.1), received=0.2, now=0.2)
        assert not alarm.status(0.2).permit

    def test_after_an_alarm_the_reset_awaits_its_end(self):
        alarm = watching(5.0)
        alarm.set_intervention(HUMAN)
        status = alarm.status(0.1)
        assert (status.state, status.reaction) == (AlarmState.ALARM, Reaction.HALT)
        assert status.reason.startswith(f"{HUMAN}; before: ")
        assert HUMAN in alarm.reset(0.1)
        alarm.set_intervention("")
        assert alarm.reset(0.2) == ""
        assert not alarm.is_in_human_hands

    def test_a_monitor_that_is_disabled_meanwhile_permits_nothing_when_it_is_enabled(self):
        alarm = watching()
        alarm.enable(False)
        alarm.set_intervention(HUMAN)
        alarm.set_intervention("")
        assert not alarm.status(0.1).halted
        alarm.enable(True)
        alarm.update(verdict(0.1), received=0.2, now=0.2)
        assert alarm.status(0.2).halted

    @given(
        st.lists(
            st.sampled_from(["decide", "alarm", "human", "none", "start", "end", "reset"]),
            max_size=40,
        )
    )
    def test_nothing_is_permitted_from_a_takeover_to_an_accepted_reset(self, events):
        alarm, is_owed, human, runs = Alarm(max_decision_age=1.0), False, False, False
        for number, event in enumerate(events):
            now = 0.01 * number
            if event in ("decide", "alarm"):
                alarm.update(verdict(0.5 if event == "decide" else 5.0), received=now, now=now)
            elif event in ("human", "none"):
                human = event == "human"
                alarm.set_intervention(HUMAN if human else "")
            elif event == "start":
                alarm.start_rollout()
                runs = True
            elif event == "end":
                alarm.status(now)
                alarm.end_rollout()
                runs = False
            elif alarm.reset(now) == "":
                assert not human
                is_owed = False
            is_owed |= human and runs
            permit = alarm.status(now).permit
            assert not (permit and (human or is_owed))
