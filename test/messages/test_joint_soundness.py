# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Joint states are sound while every joint has a recent, finite position of one source."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.messages.joint_soundness import JointSoundness
from failure_monitor.messages.joint_sources import NO_STAMP

pytestmark = pytest.mark.law(10)

LIMIT, PERIOD = 0.5, 0.01


class Player:
    """Plays messages 100 times a second, and asks for what is wrong."""

    def __init__(self):
        self.now, self.number = 100.0, 0
        self.soundness = JointSoundness()

    def play(self, *messages, seconds=1.0):
        """Repeat messages (names, positions), each stamped when it is published."""
        for _ in range(round(seconds / PERIOD)):
            self.now += PERIOD
            for names, positions, *stamp in messages:
                self.number += 1
                at = stamp[0] if stamp else (int(self.now), round(1e9 * (self.now % 1)))
                self.soundness.update(names, positions, self.number, at, self.now)
        return self.soundness.problem("/joint_states", self.now, LIMIT)


@pytest.fixture
def player():
    player = Player()
    assert player.play((["a", "b"], [0.1, 0.2])) == ""
    return player


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (([], []), "no message on '/joint_states' has stated the position of a, b for more than"),
        ((["a", "b"], []), "has stated the position of a, b for more than 0.5 s"),
        ((["a", "b"], [0.1]), "has stated the position of b for more than 0.5 s"),
        ((["a"], [0.1]), "has stated the position of b for more than 0.5 s"),
        ((["a", "b"], [0.1, math.nan]), "the position of b is NaN or infinite"),
        ((["a", "b"], [0.1, 0.2], (5, 0)), "position of a, b comes with the same stamp for more"),
    ],
)
def test_messages_that_say_nothing_do_not_count(player, message, reason):
    assert reason in player.play(message)
    assert player.play((["a", "b"], [0.1, 0.2])) == ""


def test_a_position_that_is_not_finite_is_a_problem_at_once_and_whatever_others_say(player):
    player.play((["a", "b"], [math.inf, 0.2]), (["b", "c"], [0.2, 0.3]), seconds=PERIOD)
    problem = player.soundness.problem("/joint_states", player.now, LIMIT)
    assert "the position of a is NaN or infinite" in problem


def test_drivers_may_state_some_of_the_joints_each_and_no_stamp(player):
    assert player.play((["a"], [0.1], NO_STAMP), (["b"], [0.2], NO_STAMP)) == ""
    assert player.play((["a", "b"], []), (["a", "b"], [0.1, 0.2])) == ""


def test_nothing_was_ever_stated():
    assert "state no position of any joint" in Player().play(([], []))


def test_two_sources_of_a_joint_are_a_contradiction(player):
    for number in (5, 10_000, 6, 10_001):
        player.soundness.update(["b"], [0.0], number, NO_STAMP, player.now)
    problem = player.soundness.problem("/joint_states", player.now, LIMIT)
    assert "several publishers on '/joint_states' state the position of b" in problem


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abc"), unique=True),
            st.lists(st.sampled_from([0.0, 1.5, math.nan, -math.inf]), max_size=4),
            st.floats(0.0, 1.0),
        )
    )
)
def test_no_problem_means_that_every_joint_was_stated_of_late(messages):
    """Against a plain record of the last position of each joint."""
    soundness, now, last = JointSoundness(), 100.0, {}
    for number, (names, positions, passed) in enumerate(messages):
        now += passed
        soundness.update(names, positions, number, NO_STAMP, now)
        last |= {name: (at, now) for name, at in zip(names, positions, strict=False)}
        is_unnamed_finite = all(map(math.isfinite, positions[len(names) :]))
        is_sound = (
            is_unnamed_finite
            and bool(last)
            and all(math.isfinite(at) and now - when <= LIMIT for at, when in last.values())
        )
        assert (soundness.problem("/joint_states", now, LIMIT) == "") == is_sound
