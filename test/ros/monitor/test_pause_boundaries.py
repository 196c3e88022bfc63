# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A decision starts a rollout only after a pause that was seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.ros.monitor.rollout_boundaries import PauseBoundaries

pytestmark = pytest.mark.law(4)

PAUSE = 1.0


class Rollouts:
    """What the boundaries start and end, as the monitor's session does."""

    def __init__(self):
        self.boundaries = PauseBoundaries(self, PAUSE)
        self.now, self.is_policy_there = 0.0, True
        self.events: list[str] = []
        self.boundaries.update(self.now, is_policy_there=True)

    def start_rollout(self, task, *, by_decision=False):
        self.events.append("start")
        self.boundaries.set_running(True, self.now)

    def end_rollout(self, reason):
        self.events.append(reason)
        self.boundaries.set_running(False, self.now)

    def wait(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now += 0.05
            self.boundaries.update(self.now, is_policy_there=self.is_policy_there)

    def decide(self, *, is_first=False):
        self.boundaries.receive_decision(self.now, is_first=is_first)


@pytest.fixture
def rollouts():
    return Rollouts()


def test_a_decision_after_a_pause_starts_a_rollout_and_a_pause_ends_it(rollouts):
    rollouts.wait(1.2)
    for _ in range(5):
        rollouts.decide()
        rollouts.wait(0.5)
    assert rollouts.events == ["start"]
    rollouts.wait(1.2)
    assert "1 s without a decision ended it" in rollouts.events[-1]
    rollouts.decide()
    assert rollouts.events[-1] == "start"


def test_decisions_that_come_already_start_none_until_they_pause(rollouts):
    for _ in range(5):
        rollouts.wait(0.5)
        rollouts.decide()
    (reason,) = rollouts.events
    assert "whose rollout has started already" in reason
    rollouts.wait(1.2)
    rollouts.decide()
    assert rollouts.events[1:] == ["start"]


def test_silence_before_the_policy_can_be_received_is_no_pause(rollouts):
    rollouts.is_policy_there = False
    rollouts.wait(5.0)
    rollouts.is_policy_there = True
    rollouts.wait(0.2)
    rollouts.decide()
    assert "start" not in rollouts.events


def test_the_first_message_of_a_policy_starts_a_rollout(rollouts):
    rollouts.decide(is_first=True)
    assert rollouts.events == ["start"]


@pytest.mark.law(6)
def test_decisions_that_are_rarer_than_the_pause_are_a_problem(rollouts):
    rollouts.wait(1.2)
    rollouts.decide()
    assert rollouts.boundaries.problems() == ()
    for _ in range(3):
        rollouts.wait(1.2)
        assert rollouts.boundaries.problems() == ()
        rollouts.decide()
        assert "decides more seldom than every 1 s" in rollouts.boundaries.problems()[0]
    rollouts.decide()
    assert rollouts.boundaries.problems() == ()


def test_a_service_may_start_and_end_a_rollout(rollouts):
    rollouts.start_rollout("")
    rollouts.wait(0.5)
    rollouts.decide()
    rollouts.wait(0.5)
    rollouts.end_rollout("by service")
    rollouts.decide()
    assert rollouts.events[:2] == ["start", "by service"]
    assert "whose rollout has started already" in rollouts.events[2]


@given(st.lists(st.floats(0.05, 3.0), max_size=30))
def test_no_rollout_starts_without_a_pause_before_it(gaps):
    rollouts = Rollouts()
    last = rollouts.now
    for gap in gaps:
        rollouts.wait(gap)
        before = rollouts.events.count("start")
        rollouts.decide()
        if rollouts.events.count("start") > before:
            assert rollouts.now - last > PAUSE
        last = rollouts.now
