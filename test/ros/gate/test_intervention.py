# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""While a human intervenes, the gate is closed to the policy, and can yield to the human."""

from __future__ import annotations

from array import array

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState, Joy
from std_msgs.msg import Bool
from testbed.gate_robot import OPEN, STATE, GateRobot
from testbed.ros_graph import LATCHED, node_process

GATE = "failure_monitor.ros.gate.node"
HUMAN = "a human intervenes: '/intervention' is true"
ANEW = "a human has intervened: commands pass once the monitor withheld its permit for that"

pytestmark = [pytest.mark.ros, pytest.mark.law(12)]


@pytest.fixture(scope="module", autouse=True)
def context():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def robot():
    robot = GateRobot()
    robot.node.human = robot.node.create_publisher(Bool, "intervention", LATCHED)
    yield robot
    robot.node.destroy_node()


def gate_process(**parameters: object):
    named = {name.replace("__", "."): value for name, value in parameters.items()}
    return node_process(GATE, **{"permit_lease": 0.4, **named})


def human(robot: GateRobot, intervenes: bool) -> None:
    robot.node.human.publish(Bool(data=intervenes))


def connect(robot: GateRobot) -> None:
    robot.wait_until_connected()
    robot.wait_for(lambda: robot.node.human.get_subscription_count() == 2, "the gate to listen")


def values(robot: GateRobot) -> list[float]:
    return [message.data[0] for message in robot.passed()]


def move(robot: GateRobot, speed: float = 1.0) -> None:
    """Let a command of the policy pass."""
    robot.open_gate()
    robot.send(speed)
    robot.wait_for(lambda: speed in values(robot), "the command")


def hand_back(robot: GateRobot) -> None:
    """Let the monitor withhold its permit, the human let go, and the monitor be reset."""
    robot.permits = dict.fromkeys(robot.permits, False)
    robot.wait_until_said("the monitor withholds its permit")
    human(robot, False)
    robot.wait_for(lambda: "human" not in robot.gate_says(), "the human to let go")


def test_it_yields_to_a_human_and_stops_what_they_leave(robot):
    ramp = {"command__safe_command": "decelerate", "command__max_deceleration": [0.2]}
    with gate_process(**ramp, command__at_intervention="yield"):
        connect(robot)
        # During a stop: a ramp of five seconds goes on.
        move(robot)
        robot.close_gate()
        robot.wait_for(lambda: any(0.5 < value < 1.0 for value in values(robot)), "the ramp")
        human(robot, True)
        robot.wait_until_said(HUMAN)
        robot.received["command_out"].clear()
        robot.spin(0.3)
        assert robot.passed() == []
        owed = robot.gate_values()["command.owed_stop"]
        assert owed == "decelerate, once the human who intervenes lets go"
        # Neither a permit nor the policy changes that.
        robot.permits = dict.fromkeys(robot.permits, True)
        robot.send(1.0)
        robot.spin(0.2)
        assert robot.passed() == []
        assert not robot.is_open()
        hand_back(robot)
        robot.wait_for(robot.passed, "the stop that was owed")
        robot.spin(0.1)
        # No ramp from a speed that the human has ended.
        assert set(values(robot)) == {0.0}
        move(robot, 0.7)


def test_a_human_who_takes_over_in_motion_is_sent_nothing_else(robot):
    with gate_process(command__safe_command="zero", command__at_intervention="yield"):
        connect(robot)
        move(robot)
        robot.received["command_out"].clear()
        human(robot, True)
        robot.wait_until_said(HUMAN)
        robot.spin(0.3)
        assert robot.passed() == []
        human(robot, False)
        robot.wait_for(lambda: 0.0 in values(robot), "the stop that was owed")
        assert set(values(robot)) == {0.0}


def test_what_moves_is_stopped_as_ever_and_stands_when_the_human_lets_go(robot):
    ramp = {"command__safe_command": "decelerate", "command__max_deceleration": [0.2]}
    with gate_process(**ramp):
        connect(robot)
        move(robot)
        human(robot, True)
        robot.wait_for(lambda: any(0.5 < value < 0.95 for value in values(robot)), "the ramp")
        robot.wait_until_said(HUMAN)
        human(robot, False)
        # It would go on for three seconds and more, at a speed that the human has ended.
        robot.wait_for(lambda: 0.0 in values(robot), "the command to stand", timeout=2.0)
        assert not any(0.0 < value < 0.4 for value in values(robot))


@pytest.mark.parametrize("reaction", ["stop", "yield"])
def test_a_human_who_is_there_for_a_moment_ends_a_ramp(robot, reaction):
    ramp = {"command__safe_command": "decelerate", "command__max_deceleration": [0.1]}
    with gate_process(**ramp, command__at_intervention=reaction):
        connect(robot)
        move(robot)
        robot.close_gate()
        robot.wait_for(lambda: any(0.5 < value < 1.0 for value in values(robot)), "the ramp")
        human(robot, True)
        human(robot, False)
        # It would go on for ten seconds.
        robot.wait_for(lambda: 0.0 in values(robot), "the command to stand", timeout=4.0)


def test_a_human_who_toggles_is_not_overruled_by_a_permit_that_was_never_withheld(robot):
    with gate_process():
        connect(robot)
        move(robot)
        robot.received["command_out"].clear()
        for number in range(60):
            human(robot, number % 2 == 0)
            robot.send(2.0)
            robot.spin(0.01)
        robot.wait_until_said(ANEW)
        robot.send(2.0)
        robot.spin(0.1)
        # The first ones may have come before the first word of the human.
        assert len(robot.passed()) < 10
        robot.permits = dict.fromkeys(robot.permits, False)
        robot.wait_until_said("the monitor withholds its permit")
        robot.open_gate()


def test_a_human_who_was_there_before_and_falls_silent_is_still_there(robot):
    human(robot, True)
    with gate_process():
        connect(robot)
        robot.permits = dict.fromkeys(robot.permits, True)
        robot.wait_until_said(HUMAN)
        robot.node.destroy_publisher(robot.node.human)
        robot.spin(0.8)
        robot.send(1.0)
        robot.spin(0.2)
        assert HUMAN in robot.gate_says()
        assert robot.passed() == []


def test_of_two_publishers_the_stricter_wins(robot):
    other = robot.node.create_publisher(Bool, "intervention", 10)
    with gate_process():
        connect(robot)
        robot.wait_for(other.get_subscription_count, "the gate to listen")
        human(robot, True)
        robot.wait_until_said(HUMAN)
        for _ in range(5):
            other.publish(Bool(data=False))
            robot.spin(0.05)
        assert HUMAN in robot.gate_says()
        robot.wait_for(lambda: "2 publishers on '/intervention'" in robot.gate_says(), "a fault")
        assert robot.gate_level() == DiagnosticStatus.ERROR
        robot.node.destroy_publisher(other)
        robot.wait_for(
            lambda: human(robot, False) or HUMAN not in robot.gate_says(), "the human to let go"
        )


def test_who_cannot_be_heard_keeps_the_gate_closed(robot):
    quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    with gate_process():
        connect(robot)
        move(robot)
        deaf = robot.node.create_publisher(Bool, "intervention", quality)
        robot.wait_until_said("whether a human intervenes is not known: /observer publishes")
        assert not robot.is_open()
        robot.node.destroy_publisher(deaf)
        robot.close_gate()
        robot.open_gate()


def test_a_joystick_that_is_moved_is_a_human_until_it_rests(robot):
    joystick = robot.node.create_publisher(Joy, "joy", 10)
    joy = {"intervention_topic": "joy", "intervention_type": "sensor_msgs/msg/Joy"}
    with gate_process(**joy, intervention_timeout=0.3):
        robot.wait_until_connected()
        robot.wait_for(joystick.get_subscription_count, "the gate to listen")
        joystick.publish(Joy(axes=array("f", [0.01])))
        robot.open_gate()
        joystick.publish(Joy(axes=array("f", [float("nan")])))
        robot.wait_until_said("a human intervenes: there is activity on '/joy'")
        robot.wait_until_said(ANEW)


def test_the_first_command_after_a_human_lies_where_the_robot_is(robot):
    hold = {"command__safe_command": "hold", "command__joints": ["shoulder", "elbow"]}
    with gate_process(**hold, command__handover_tolerance=0.2):
        connect(robot)
        robot.joints = JointState(name=["elbow", "shoulder"], position=array("d", [0.5, 0.1]))
        robot.wait_until_stopped()
        robot.open_gate()
        # Before there was a human nothing is compared.
        robot.send(5.0, 5.0)
        robot.wait_for(robot.passed, "the command")
        human(robot, True)
        robot.wait_until_said(HUMAN)
        hand_back(robot)
        robot.permits = dict.fromkeys(robot.permits, True)
        robot.wait_for(robot.is_open, "the gate to open")
        robot.received["command_out"].clear()
        robot.send(0.0, 1.25)
        robot.wait_until_said("it moves 'elbow' to 1.250, which is at 0.500")
        assert "more than handover_tolerance, 0.2, away" in robot.gate_says()
        assert robot.gate_values()["command.refused"] == "1"
        # The gate does not open and close again for each that is rejected.
        robot.received[OPEN].clear()
        for _ in range(3):
            robot.send(0.0, 1.3)
        robot.wait_for(lambda: robot.gate_values()["command.refused"] == "4", "the rejections")
        assert robot.received[OPEN] == []
        robot.send(0.0, 0.6)
        robot.wait_for(lambda: [0.0, 0.6] in [list(m.data) for m in robot.passed()], "it")
        # From then on the policy goes where it likes.
        robot.send(3.0, 3.0)
        robot.wait_for(lambda: [3.0, 3.0] in [list(m.data) for m in robot.passed()], "it")
        assert robot.received[STATE]
