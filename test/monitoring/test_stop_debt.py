# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What was moved is told to stand in the end, or the gate states that it still owes a stop."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failure_monitor.monitoring.stop_debt import (
    MAX_DEBTS,
    CommandError,
    Moved,
    Stop,
    StopDebts,
)

pytestmark = pytest.mark.law(1)

RAMP = 0.5
PERIOD = 0.02
AXES = ("left", "right", "base")
Speeds = dict[str, float]


@dataclass
class Robot:
    """Axes that keep to the last speed that they were told, and what may prevent their stop."""

    repeat: float
    ramp: float = RAMP
    is_measured: bool = True
    is_reached: bool = True
    now: float = 100.0
    told: Speeds = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.debts: StopDebts[Speeds] = StopDebts(self.make_stop, self.repeat)

    def make_stop(self, moved: Moved[Speeds], due: float, now: float) -> Stop[Speeds]:
        if not self.is_measured:
            raise CommandError("no joint states")
        settled = due + self.ramp

        def command(time: float) -> Speeds:
            left = (settled - time) / self.ramp if time < settled else 0.0
            return {axis: moved.command[axis] * min(left, 1.0) for axis in moved.axes}

        return Stop(command, settled)

    def publish(self, command: Speeds) -> bool:
        if self.is_reached:
            self.told |= command
        return self.is_reached

    def command(self, axes: frozenset[str], speed: float) -> None:
        """Let a command pass, as an open gate does."""
        command = dict.fromkeys(axes, speed)
        self.debts.add(command, axes)
        self.told |= command

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.debts.pay(self.now, self.publish)

    def close(self) -> None:
        self.debts.close(self.now)
        self.debts.pay(self.now, self.publish)

    @property
    def stands(self) -> bool:
        return not any(self.told.values())


EVENTS = st.one_of(
    st.tuples(st.just("command"), st.frozensets(st.sampled_from(AXES), min_size=1)),
    st.tuples(st.just("close"), st.none()),
    st.tuples(st.just("tick"), st.none()),
    st.tuples(st.just("freeze"), st.floats(0.1, 10.0)),
    st.tuples(st.just("measured"), st.booleans()),
    st.tuples(st.just("reached"), st.booleans()),
)


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=40), st.sampled_from([0.0, 0.1, 1.0]))
def test_whatever_happens_every_moved_axis_is_told_to_stand_or_a_stop_is_owed(events, repeat):
    robot = Robot(repeat)
    for name, value in events:
        if name == "command":
            robot.command(value, 1.0)
        elif name == "close":
            robot.close()
        elif name == "measured":
            robot.is_measured = value
        elif name == "reached":
            robot.is_reached = value
        else:
            robot.tick(value if name == "freeze" else PERIOD)
    robot.close()
    assert robot.stands or robot.debts.is_due
    robot.is_measured = robot.is_reached = True
    for _ in range(int((RAMP + repeat) / PERIOD) + 3):
        robot.tick(PERIOD)
    assert robot.stands
    assert not robot.debts.is_due
    assert robot.debts.problem == ""


@given(st.lists(st.frozensets(st.sampled_from(AXES), min_size=1), min_size=1), st.floats(0, 1))
def test_a_frozen_gate_ends_its_ramp_with_the_command_to_stand(commands, duration):
    robot = Robot(duration)
    for axes in commands:
        robot.command(axes, 1.0)
    robot.close()
    robot.tick(60.0)
    assert robot.stands


def test_a_stop_that_cannot_be_made_is_named_and_made_later():
    robot = Robot(0.0, is_measured=False)
    robot.command(frozenset({"left", "right"}), 1.0)
    robot.close()
    robot.tick(5.0)
    assert robot.told == {"left": 1.0, "right": 1.0}
    assert robot.debts.problem == "still owes a stop to 'left', 'right': no joint states"
    assert robot.debts.standing_time(robot.now) == 0.0
    robot.is_measured = True
    robot.tick(PERIOD)
    assert robot.stands
    assert robot.debts.problem == ""


def test_a_stop_that_cannot_be_made_does_not_end_the_ramp_of_another():
    robot = Robot(0.0)
    robot.command(frozenset({"left"}), 1.0)
    robot.close()
    robot.is_measured = False
    robot.command(frozenset({"right"}), 1.0)
    robot.close()
    assert robot.debts.problem
    assert robot.debts.is_payable
    robot.tick(RAMP)
    assert robot.told == {"left": 0.0, "right": 1.0}
    assert not robot.debts.is_payable


def test_a_command_to_stand_is_repeated_as_long_as_it_is_owed():
    robot = Robot(1.0)
    robot.command(frozenset({"base"}), 1.0)
    robot.close()
    robot.tick(RAMP)
    assert robot.debts.is_payable
    robot.tick(1.0)
    assert not robot.debts.is_payable


def test_a_command_for_other_axes_does_not_end_a_stop():
    robot = Robot(0.0)
    robot.command(frozenset({"left", "right"}), 1.0)
    robot.close()
    robot.tick(RAMP / 2)
    robot.command(frozenset({"left"}), 0.7)
    robot.tick(RAMP / 4)
    assert robot.told == {"left": 0.7, "right": pytest.approx(0.25)}
    robot.tick(RAMP)
    assert robot.told == {"left": 0.7, "right": 0.0}


def test_what_was_told_to_stand_does_not_move_because_other_axes_do():
    robot = Robot(1.0)
    robot.command(frozenset({"left", "right"}), 1.0)
    robot.close()
    robot.tick(RAMP)
    assert not robot.debts.is_moving
    robot.command(frozenset({"left"}), 0.7)
    assert not robot.debts.is_moving
    robot.tick(PERIOD)
    assert robot.told == {"left": 0.7, "right": 0.0}


def test_each_axis_is_stopped_from_its_own_last_command():
    robot = Robot(0.0)
    robot.command(frozenset({"left", "right"}), 1.0)
    robot.command(frozenset({"left"}), 0.4)
    robot.close()
    robot.tick(RAMP / 2)
    assert robot.told == {"left": pytest.approx(0.2), "right": pytest.approx(0.5)}


def test_what_nothing_receives_pays_no_debt():
    robot = Robot(0.1, is_reached=False)
    robot.command(frozenset({"base"}), 1.0)
    robot.close()
    for _ in range(200):
        robot.tick(PERIOD)
    assert robot.debts.is_due
    assert robot.debts.standing_time(robot.now) == 0.0
    assert "nothing receives its commands" in robot.debts.problem


def test_after_a_long_freeze_nothing_old_is_repeated():
    robot = Robot(1.0)
    robot.command(frozenset({"base"}), 1.0)
    robot.close()
    robot.tick(RAMP)
    robot.told = {}
    robot.tick(60.0)
    assert robot.told == {}
    assert not robot.debts.is_due


def test_what_publishing_raises_leaves_the_debt():
    robot = Robot(0.0)
    robot.command(frozenset({"base"}), 1.0)
    robot.debts.close(robot.now)

    def fail(command: Speeds) -> bool:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        robot.debts.pay(robot.now + 10.0, fail)
    assert robot.debts.is_due
    robot.tick(10.0)
    assert robot.stands


def test_more_debts_than_can_be_kept_are_rejected():
    robot = Robot(0.0)
    for index in range(MAX_DEBTS):
        robot.debts.check(frozenset({f"joint {index}"}))
        robot.debts.add({f"joint {index}": 1.0}, frozenset({f"joint {index}"}))
    with pytest.raises(CommandError, match="64 commands before it"):
        robot.debts.check(frozenset({"one more"}))
    robot.debts.check(frozenset({"joint 3"}) | {f"joint {index}" for index in range(MAX_DEBTS)})


def test_what_moved_before_the_start_is_stopped_without_being_reported():
    robot = Robot(0.0, is_measured=False)
    robot.debts.add({"base": 0.0}, frozenset({"base"}), is_assumed=True)
    robot.close()
    assert robot.debts.is_due
    assert robot.debts.problem == ""


def test_a_ramp_that_is_made_anew_ends_as_it_is_made_then():
    robot = Robot(repeat=0.0, ramp=20.0)
    robot.command(frozenset({"base"}), 1.0)
    robot.debts.close(robot.now)
    robot.debts.pay(robot.now + 1.0, robot.publish)
    assert 0.0 < robot.told["base"] < 1.0
    robot.ramp = 1.0
    robot.debts.pay(robot.now + 1.5, robot.publish)
    assert robot.told["base"] > 0.0
    robot.debts.remake_stops()
    robot.debts.pay(robot.now + 1.5, robot.publish)
    assert robot.told["base"] == 0.0
    assert not robot.debts.is_due
