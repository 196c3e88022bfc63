# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The gate passes commands only while every permit is fresh, and else stops the robot."""

from __future__ import annotations

import math
import re
import signal
import time

import psutil
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from testbed.command_messages import TRAJECTORY, TWIST, TWIST_STAMPED, commands
from testbed.gate_robot import OPEN, PERIOD, STATE, GateRobot
from testbed.repository import ROOT
from testbed.ros_graph import LATCHED, NodeProcess, Observer, node_process
from trajectory_msgs.msg import JointTrajectory

from failure_monitor.ros.gate.node import MAX_END

GATE = "failure_monitor.ros.gate.node"
LEASE = 0.3
SLACK = 0.7
"""Seconds that a busy machine may take on top."""

BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module", autouse=True)
def context():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def robot():
    """Beside a gate that the test starts itself."""
    robot = GateRobot()
    yield robot
    robot.node.destroy_node()


@pytest.fixture(scope="class")
def common_gate():
    """A gate that several tests share, and its robot."""
    robot = GateRobot()
    with node_process(GATE, permit_lease=LEASE) as process:
        robot.wait_until_connected()
        yield robot, process
    robot.node.destroy_node()


@pytest.fixture
def gated(common_gate):
    """The robot of the common gate, which is closed and sound, and has been told no command."""
    robot, process = common_gate
    robot.close_gate()
    robot.open_gate()
    robot.wait_for(lambda: robot.send(1.0) or "rejected" not in robot.gate_says(), "no fault")
    robot.permits, robot.scale = dict.fromkeys(robot.permits), None
    robot.wait_until_said("closed: no permit on")
    robot.spin(0.1)
    robot.received["command_out"].clear()
    yield robot
    assert process.is_running


def gate_process(**parameters: object):
    """A gate with parameters of its own; `command__type` stands for command.type."""
    named = {name.replace("__", "."): value for name, value in parameters.items()}
    return node_process(GATE, **{"permit_lease": LEASE, **named})


def values(messages: list[Float64MultiArray]) -> list[list[float]]:
    return [list(message.data) for message in messages]


class TestWithDefaultParameters:
    """All by one gate, which is put back to closed before each."""

    def test_it_passes_commands_while_the_permit_lasts(self, gated):
        gated.open_gate()
        gated.send(1.0, -0.5)
        gated.wait_for(gated.passed, "the command")
        assert values(gated.passed()) == [[1.0, -0.5]]
        gated.wait_until_said("open: the monitor permits")
        assert gated.gate_level() == DiagnosticStatus.OK

    def test_commands_pass_byte_for_byte(self, gated):
        raw: list[bytes] = []
        gated.node.create_subscription(Float64MultiArray, "command_out", raw.append, 10, raw=True)
        gated.open_gate()
        sent = serialize_message(Float64MultiArray(data=[0.1, 2.0]))
        gated.send_message(sent)
        gated.wait_for(lambda: raw, "the command")
        assert raw == [sent]

    def test_it_closes_when_the_permit_is_not_renewed(self, gated):
        gated.open_gate()
        gated.permits = dict.fromkeys(gated.permits)
        begin = time.monotonic()
        gated.wait_for(lambda: not gated.is_open(), "the gate to close", timeout=5.0)
        assert time.monotonic() - begin < LEASE + SLACK
        gated.send(1.0)
        gated.spin(0.3)
        assert gated.passed() == []
        assert "no permit on 'failure_monitor/permit' for 0.3 s" in gated.gate_says()
        assert gated.gate_level() == DiagnosticStatus.STALE
        assert "/observer publishes there" in gated.gate_values()["failure_monitor/permit"]

    def test_a_new_state_is_said_again_as_a_message_may_be_lost(self, gated):
        gated.open_gate()
        gated.close_gate()
        gated.wait_until_said("closed")
        gated.received[STATE].clear()
        gated.spin(0.9)
        texts = [message.message for message in gated.received[STATE]]
        # One may be that of every second; on a busy machine some are left out.
        assert len(texts) > 1
        assert all(text.startswith("closed") for text in texts)

    def test_it_opens_again_with_the_next_permit(self, gated):
        gated.open_gate()
        gated.close_gate()
        gated.open_gate()
        gated.send(2.0)
        gated.wait_for(gated.passed, "the command")

    def test_what_was_sent_while_it_was_closed_never_passes(self, gated):
        gated.open_gate()
        gated.close_gate()
        dropped = int(gated.gate_values()["command.dropped"])
        for _ in range(5):
            gated.send(1.0)
        gated.spin(0.2)
        gated.open_gate()
        gated.send(2.0)
        gated.wait_for(gated.passed, "the command")
        assert values(gated.passed()) == [[2.0]]
        gated.wait_for(
            lambda: int(gated.gate_values()["command.dropped"]) == dropped + 5, "the count"
        )

    def test_a_second_publisher_of_the_same_permit_cannot_open_it(self, gated):
        other = GateRobot({})
        gated.open_gate()
        other.permits = dict.fromkeys(other.permits, False)
        gated.wait_for(
            lambda: (
                other.spin(0.01)
                or (not gated.is_open() and "one of several publishers" in gated.gate_says())
            ),
            "a rejection",
        )
        gated.received[OPEN].clear()
        for _ in range(50):
            gated.send(1.0)
            other.spin(0.01)
            gated.spin(0.01)
        assert gated.received[OPEN] == []
        assert gated.passed() == []
        assert gated.gate_level() == DiagnosticStatus.ERROR
        other.node.destroy_node()

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_command_that_is_not_finite_never_passes(self, gated, value):
        gated.open_gate()
        gated.send(1.0, value)
        gated.wait_until_said("rejected a command on 'command_in': it has NaN or infinite values")
        assert gated.gate_level() == DiagnosticStatus.ERROR
        gated.send(3.0)
        gated.wait_for(gated.passed, "the sound command")
        assert values(gated.passed()) == [[3.0]]

    def test_a_command_that_is_not_finite_is_reported_while_the_gate_is_closed(self, gated):
        gated.send(math.nan)
        gated.wait_until_said("rejected a command on 'command_in': it has NaN or infinite values")
        assert not gated.is_open()

    def test_a_fault_is_shown_until_commands_pass_again(self, gated):
        gated.open_gate()
        gated.send(math.nan)
        gated.wait_until_said("NaN")

        def mended() -> bool:
            gated.send(1.0)
            gated.spin(0.05)
            return "NaN" not in gated.gate_says()

        gated.wait_for(mended, "the fault to be forgotten")
        assert gated.gate_level() == DiagnosticStatus.OK

    def test_a_command_that_cannot_be_read_is_refused_and_ends_nothing(self, gated):
        gated.open_gate()
        refused = int(gated.gate_values()["command.refused"])
        for data in (b"\x00\x01\x00", b"\x00\x01\x00\x00\x00\x00\x00\x00"):
            gated.send_message(data)
        gated.wait_until_said("rejected a command on 'command_in': it cannot be read")
        gated.send(1.0)
        gated.wait_for(gated.passed, "the sound command")
        assert values(gated.passed()) == [[1.0]]
        gated.wait_for(
            lambda: int(gated.gate_values()["command.refused"]) == refused + 2, "the count"
        )

    def test_the_speed_scale_is_none_of_the_business_of_other_commands(self, gated):
        gated.scale = 0.0
        gated.open_gate()
        gated.send(1.0)
        gated.wait_for(gated.passed, "the command")
        assert values(gated.passed()) == [[1.0]]

    def test_a_late_joiner_sees_the_state(self, gated):
        gated.open_gate()
        gated.wait_until_said("open: the monitor permits")
        late = Observer(["dx"])
        late.listen(OPEN, Bool, LATCHED)
        late.listen(STATE, DiagnosticStatus, LATCHED)
        late.wait_for(
            lambda: gated.spin(0.01) or (late.received[OPEN] and late.received[STATE]), "the state"
        )
        assert late.received[OPEN][0].data
        assert late.received[STATE][0].message == "open: the monitor permits"
        late.node.destroy_node()

    def test_the_diagnostics_are_told_at_once_and_every_second(self, gated):
        def told() -> list[str]:
            arrays: list[DiagnosticArray] = gated.received["/diagnostics"]
            return [array.status[0].message for array in arrays]

        gated.open_gate()
        gated.wait_for(lambda: "open: the monitor permits" in told(), "the change", timeout=0.9)
        gated.received["/diagnostics"].clear()
        gated.spin(3.0)
        assert 2 <= len(told()) <= 4
        status = gated.received["/diagnostics"][-1].status[0]
        assert status.name == "failure_monitor_gate: state"


# Open and closed


def test_it_is_closed_at_the_start(robot):
    with gate_process():
        robot.wait_until_connected()
        robot.send(1.0)
        robot.spin(0.5)
        assert not robot.is_open()
        assert robot.passed() == []
        assert "closed: no permit has come yet on 'failure_monitor/permit'" in robot.gate_says()
        assert robot.gate_level() == DiagnosticStatus.STALE


def test_commands_of_every_type_pass_unchanged():
    sent = {
        f"c{number}": (kind, command) for number, (kind, command) in enumerate(commands().items())
    }
    robot = GateRobot({f"{name}_in": type(command) for name, (_, command) in sent.items()})
    types = {f"{name}.type": kind for name, (kind, _) in sent.items()}
    with gate_process(commands=list(sent), **types):
        robot.wait_until_connected()
        robot.open_gate()
        for name, (_, command) in sent.items():
            robot.send_message(command, f"{name}_in")
        robot.wait_for(lambda: all(robot.passed(f"{name}_out") for name in sent), "all commands")
        for name, (_, command) in sent.items():
            assert robot.passed(f"{name}_out") == [command]
    robot.node.destroy_node()


def test_a_withdrawn_permit_closes_it_at_once(robot):
    with gate_process(permit_lease=3.0):
        robot.wait_until_connected()
        robot.open_gate()
        begin = time.monotonic()
        robot.close_gate()
        assert time.monotonic() - begin < 3.0 - SLACK
        robot.send(1.0)
        robot.spin(0.3)
        assert robot.passed() == []
        robot.wait_until_said("closed: the monitor withholds its permit")
        assert robot.gate_level() == DiagnosticStatus.WARN


def test_of_several_monitors_any_one_closes_it():
    topics = ("left/permit", "right/permit")
    robot = GateRobot(permits=topics)
    with gate_process(permit_topics=list(topics)):
        robot.wait_until_connected()
        robot.permits["left/permit"] = True
        robot.wait_for(
            lambda: "'right/permit'" in robot.gate_says() and "left" not in robot.gate_says(),
            "the missing permit alone to be named",
        )
        robot.open_gate()
        robot.permits["right/permit"] = False
        robot.wait_for(lambda: not robot.is_open(), "the gate to close")
        robot.open_gate()
        robot.permits["left/permit"] = None
        robot.wait_until_said("no permit on 'left/permit' for")
        assert not robot.is_open()
        robot.permits["right/permit"] = None
        robot.wait_for(
            lambda: "left" in robot.gate_says() and "'right/permit' for" in robot.gate_says(),
            "both silent monitors to be named",
        )
    robot.node.destroy_node()


def test_several_command_topics_pass_through_one_gate():
    robot = GateRobot(dict.fromkeys(["arm_in", "base_in"], Float64MultiArray))
    with gate_process(commands=["arm", "base"], base__safe_command="zero"):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send_message(Float64MultiArray(data=[1.0]), "arm_in")
        robot.send_message(Float64MultiArray(data=[2.0, 3.0]), "base_in")
        robot.wait_for(lambda: robot.passed("arm_out") and robot.passed("base_out"), "both")
        robot.close_gate()
        robot.wait_for(lambda: len(robot.passed("base_out")) > 1, "the safe command")
        assert values(robot.passed("arm_out")) == [[1.0]]
        assert values(robot.passed("base_out"))[:2] == [[2.0, 3.0], [0.0, 0.0]]
    robot.node.destroy_node()


# Commands that are none


# To a stand


def test_closing_sends_zeros_for_a_while_and_then_nothing(robot):
    with gate_process(
        command__safe_command="zero", safe_command_duration=0.5, safe_command_rate=20.0
    ):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(1.0, 2.0)
        robot.wait_for(robot.passed, "the command")
        robot.close_gate()
        robot.wait_for(lambda: len(robot.passed()) > 1, "the safe command")
        robot.spin(1.0)
        stops = values(robot.passed())[1:]
        assert stops == [[0.0, 0.0]] * len(stops)
        assert 4 <= len(stops) <= 12
        count = len(robot.passed())
        robot.spin(0.5)
        assert len(robot.passed()) == count


def test_closing_sends_nothing_where_nothing_has_passed(robot):
    with gate_process(command__safe_command="zero"):
        robot.wait_until_connected()
        robot.open_gate()
        robot.close_gate()
        robot.spin(0.3)
        assert robot.passed() == []


def test_the_next_command_ends_the_stop(robot):
    with gate_process(command__safe_command="zero", safe_command_duration=60.0):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(1.0)
        robot.wait_for(robot.passed, "the command")
        robot.close_gate()
        robot.wait_for(lambda: robot.gate_values()["command.stopping"] == "true", "the stop")
        robot.open_gate()
        robot.wait_for(lambda: len(robot.passed()) > 5, "the stop to go on while it is open")
        robot.send(5.0)
        robot.wait_for(lambda: [5.0] in values(robot.passed()), "the command")
        robot.received["command_out"].clear()
        robot.spin(0.5)
        assert robot.passed() == []


def test_a_twist_decelerates_within_its_limits():
    robot = GateRobot({"command_in": Twist})
    twist = commands()[TWIST]
    with gate_process(
        command__type=TWIST,
        command__safe_command="decelerate",
        command__max_deceleration=[0.5, 10.0],
        safe_command_duration=0.2,
    ):
        robot.wait_until_connected()
        robot.wait_until_stopped()
        robot.open_gate()
        robot.send_message(twist)
        robot.wait_for(robot.passed, "the command")
        assert robot.passed()[0] == twist
        robot.close_gate()
        robot.wait_for(lambda: robot.passed()[-1].linear.x == 0.0, "standstill")
        speeds = [command.linear.x for command in robot.passed()[1:]]
        assert speeds == sorted(speeds, reverse=True)
        assert len(set(speeds)) > 10
        for command in robot.passed()[1:]:
            assert command.angular.z == pytest.approx(-2 * command.linear.x)
    robot.node.destroy_node()


def test_a_stop_of_a_stamped_twist_carries_the_time_of_now():
    robot = GateRobot({"command_in": TwistStamped})
    with gate_process(command__type=TWIST_STAMPED, command__safe_command="zero"):
        robot.wait_until_connected()
        robot.wait_until_stopped()
        robot.open_gate()
        robot.send_message(commands()[TWIST_STAMPED])
        robot.wait_for(robot.passed, "the command")
        robot.close_gate()
        robot.wait_for(lambda: len(robot.passed()) > 1, "the safe command")
        header = robot.passed()[1].header
        assert header.frame_id == "tool"
        assert abs(header.stamp.sec - time.time()) < 60.0
    robot.node.destroy_node()


def joint_states(*positions: float, velocity: tuple[float, ...] = ()) -> JointState:
    names = ["elbow", "gripper", "shoulder"][: len(positions)]
    return JointState(name=names, position=list(positions), velocity=list(velocity))


def move_arm(robot: GateRobot) -> None:
    """Wait for a gate that can hold the arm, and let a command pass."""
    robot.wait_until_connected()
    robot.joints = joint_states(0.1, 0.2, 0.3)
    robot.wait_until_stopped()
    robot.open_gate()
    robot.spin(5 * PERIOD)
    robot.send(1.0, 2.0)
    robot.wait_for(robot.passed, "the command")


def test_an_array_of_positions_is_held_where_the_robot_is_measured(robot):
    with gate_process(command__safe_command="hold", command__joints=["shoulder", "elbow"]):
        move_arm(robot)
        robot.joints = joint_states(0.4, 0.5, 0.6)
        robot.spin(5 * PERIOD)
        robot.close_gate()
        robot.joints = joint_states(0.7, 0.8, 0.9)
        robot.wait_for(lambda: len(robot.passed()) > 5, "the safe command")
        assert values(robot.passed())[1:6] == [[0.6, 0.4]] * 5


def test_a_trajectory_comes_to_rest_from_the_measured_motion():
    robot = GateRobot({"command_in": JointTrajectory})
    command = commands()[TRAJECTORY]
    with gate_process(
        command__type=TRAJECTORY,
        command__safe_command="decelerate",
        command__max_deceleration=[2.0],
    ):
        robot.wait_until_connected()
        robot.joints = joint_states(0.1, 0.0, 0.3, velocity=(1.0, 0.0, -0.5))
        robot.open_gate()
        robot.spin(5 * PERIOD)
        robot.send_message(command)
        robot.wait_for(robot.passed, "the command")
        robot.close_gate()
        robot.wait_for(lambda: len(robot.passed()) > 5, "the safe command")
        first, later = robot.passed()[1], robot.passed()[5]
        assert first.joint_names == ["shoulder", "elbow"]
        assert list(first.points[0].positions) == pytest.approx([0.175, 0.35])
        assert first.points[0].time_from_start.nanosec == pytest.approx(5e8, abs=1e7)
        assert later.points[0].positions == first.points[0].positions
        assert later.points[0].time_from_start.nanosec < first.points[0].time_from_start.nanosec
    robot.node.destroy_node()


def test_a_robot_that_could_not_be_held_is_not_set_in_motion(robot):
    with gate_process(command__safe_command="hold", command__joints=["shoulder", "wrist"]):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(1.0, 2.0)
        robot.wait_until_said("no readable joint states on 'joint_states' within 0.2 s")
        robot.joints = joint_states(0.1, 0.2, 0.3)
        robot.spin(5 * PERIOD)
        robot.send(1.0, 2.0)
        robot.wait_until_said("'joint_states' has no position of 'wrist'")
        assert robot.passed() == []
        assert robot.gate_level() == DiagnosticStatus.ERROR


def test_a_moving_robot_that_can_no_longer_be_held_is_held_as_soon_as_it_can_be(robot):
    with gate_process(command__safe_command="hold", command__joints=["shoulder", "elbow"]):
        move_arm(robot)
        robot.joints = None
        robot.spin(1.0)
        robot.send(4.0, 5.0)
        robot.wait_until_said("no readable joint states on 'joint_states' within 0.2 s")
        assert values(robot.passed()) == [[1.0, 2.0]]
        robot.wait_until_said("still owes a stop")
        assert robot.gate_level() == DiagnosticStatus.ERROR
        robot.joints = joint_states(0.1, 0.2, 0.3)
        robot.wait_for(lambda: values(robot.passed())[-1] == [0.3, 0.1], "the safe command")
        robot.send(6.0, 7.0)
        robot.wait_for(lambda: values(robot.passed())[-1] == [6.0, 7.0], "the command")
        robot.wait_for(robot.is_open, "the gate to open")


def test_a_command_for_other_joints_than_the_first_is_refused_and_the_robot_held(robot):
    with gate_process(command__safe_command="hold", command__joints=["shoulder", "elbow"]):
        move_arm(robot)
        robot.send(3.0)
        robot.wait_until_said("it has 1 values and the one before had 2")
        robot.wait_for(lambda: [0.3, 0.1] in values(robot.passed()), "the safe command")
        assert [3.0] not in values(robot.passed())


def test_what_is_refused_stops_the_robot_until_a_sound_command_comes(robot):
    with gate_process(command__safe_command="zero", safe_command_duration=60.0):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(math.nan)
        robot.wait_until_said("NaN")
        assert robot.passed() == []
        robot.send(1.0)
        robot.wait_for(robot.passed, "the command")
        robot.send(math.nan)
        robot.wait_for(lambda: len(robot.passed()) > 3, "the safe command")
        assert set(map(tuple, values(robot.passed())[1:])) == {(0.0,)}
        assert not robot.is_open()
        robot.send(2.0)
        robot.wait_for(lambda: [2.0] in values(robot.passed()), "the sound command")
        robot.received["command_out"].clear()
        robot.spin(0.3)
        assert robot.passed() == []


def test_joint_states_that_cannot_be_read_are_none_and_end_nothing(robot):
    with gate_process(command__safe_command="hold", command__joints=["shoulder"]) as gate:
        robot.wait_until_connected()
        robot.open_gate()
        broken = b"\x00\x01\x00"
        for _ in range(3):
            robot._joints.publish(broken)
            robot.spin(PERIOD)
        robot.send(1.0)
        robot.wait_until_said("no readable joint states on 'joint_states' within 0.2 s")
        robot.joints = joint_states(0.1, 0.2, 0.3)
        robot.spin(5 * PERIOD)
        robot._joints.publish(broken)
        robot.send(2.0)
        robot.wait_for(robot.passed, "the command")
        robot.close_gate()
        robot.wait_for(lambda: [0.3] in values(robot.passed()), "the safe command")
        assert gate.is_running


def test_what_could_not_be_stopped_within_a_minute_does_not_pass(robot):
    with gate_process(command__safe_command="decelerate", command__max_deceleration=[2.0]):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(1e6)
        robot.wait_until_said("it would take 500000 s to stop, more than 60 s")
        robot.send(1.0)
        robot.wait_for(robot.passed, "the command")
        assert values(robot.passed()) == [[1.0]]


def test_joints_that_several_sources_measure_are_put_together(robot):
    with gate_process(command__safe_command="hold", command__joints=["shoulder", "wrist"]):
        robot.wait_until_connected()
        robot.joints = joint_states(0.1, 0.2, 0.3)
        wrist = robot.node.create_publisher(JointState, "joint_states", 10)
        robot.open_gate()

        def send() -> list:
            wrist.publish(JointState(name=["wrist"], position=[0.9]))
            robot.send(1.0, 2.0)
            robot.spin(0.02)
            return robot.passed()

        robot.wait_for(send, "the command")
        robot.received["command_out"].clear()
        robot.close_gate()
        robot.wait_for(lambda: [0.3, 0.9] in values(robot.passed()), "the safe command")


# Slower


def test_commands_are_slowed_by_the_speed_scale(robot):
    with gate_process(command__scaled=True):
        robot.wait_until_connected()
        robot.scale = 1.0
        robot.open_gate()
        robot.send(1.0, -2.0)
        robot.wait_for(robot.passed, "the command")
        robot.scale = 0.5
        robot.wait_until_said("open, but slowed: the monitor permits")
        robot.send(1.0, -2.0)
        robot.wait_for(lambda: len(robot.passed()) == 2, "the slowed command")
        assert values(robot.passed()) == [[1.0, -2.0], [0.5, -1.0]]
        assert robot.gate_level() == DiagnosticStatus.WARN
        assert robot.gate_values()["speed_scale"] == "0.500"


def test_without_a_sound_speed_scale_it_is_closed(robot):
    with gate_process(command__scaled=True, command__safe_command="zero", speed_scale_lease=0.4):
        robot.wait_until_connected()
        for scale, words in [
            (None, "no speed scale on 'failure_monitor/speed_scale' for 0.4 s"),
            (math.nan, "is nan, expected 0 to 1"),
            (-0.5, "is -0.5, expected 0 to 1"),
            (1.5, "is 1.5, expected 0 to 1"),
            (0.0, "is 0: stand still"),
        ]:
            robot.scale = 1.0
            robot.open_gate()
            robot.send(1.0)
            robot.wait_for(lambda: [1.0] in values(robot.passed()), "the command")
            robot.received["command_out"].clear()
            robot.scale = scale
            robot.wait_for(lambda: not robot.is_open(), "the gate to close")
            robot.wait_until_said(words)
            robot.send(1.0)
            robot.spin(0.3)
            assert set(map(tuple, values(robot.passed()))) == {(0.0,)}
            robot.received["command_out"].clear()


# What it says


def test_it_informs_only_when_told_so(robot):
    with gate_process(inform_only=True, command__safe_command="zero", command__scaled=True):
        robot.wait_until_connected()
        assert robot.is_open()
        robot.wait_until_said("informs only, would be closed: no permit has come yet")
        robot.send(1.0)
        robot.wait_for(robot.passed, "the command")
        robot.scale = 0.5
        robot.permits = dict.fromkeys(robot.permits, True)
        robot.wait_until_said("informs only, would be open, but slowed")
        robot.send(2.0)
        robot.send(math.nan)
        robot.wait_until_said("would reject a command on 'command_in': it has NaN")
        robot.permits = dict.fromkeys(robot.permits, False)
        robot.wait_until_said("informs only, would be closed: the monitor withholds")
        robot.spin(0.3)
        assert values(robot.passed())[:2] == [[1.0], [2.0]]
        assert math.isnan(robot.passed()[2].data[0])
        assert len(robot.passed()) == 3
        assert robot.is_open()
        assert robot.gate_values()["inform_only"] == "true"


# Quality of service


def test_a_permit_of_incompatible_quality_keeps_it_closed_and_is_named():
    robot = GateRobot()
    robot.node.destroy_publisher(robot._permit_publishers.pop("failure_monitor/permit"))
    robot.permits = {}
    permits = robot.node.create_publisher(Bool, "failure_monitor/permit", BEST_EFFORT)
    with gate_process():
        robot.wait_until_connected()
        robot.wait_until_said(
            "the publisher of 'failure_monitor/permit' offers less RELIABILITY than the gate asks"
        )
        for _ in range(30):
            permits.publish(Bool(data=True))
            robot.spin(0.02)
        assert not robot.is_open()
        assert robot.gate_level() == DiagnosticStatus.ERROR
    robot.node.destroy_node()


def test_commands_of_incompatible_quality_are_reported():
    robot = GateRobot(qos=BEST_EFFORT)
    with gate_process():
        robot.wait_until_said("a publisher on 'command_in' offers less RELIABILITY")
        robot.wait_until_said("qos_overrides./command_in.subscription.reliability")
        assert robot.gate_level() == DiagnosticStatus.ERROR
    robot.node.destroy_node()


REMAPPED = ("-p", "command.input:=policy/cmd_vel", "-r", "policy/cmd_vel:=command_in")
OVERRIDES = """
/**:
  ros__parameters:
    qos_overrides:
      /command_in:
        subscription:
          reliability: best_effort
"""


@pytest.mark.parametrize("arguments", [(), REMAPPED])
def test_commands_of_lower_quality_pass_when_it_is_told_to_take_them(arguments, tmp_path):
    """As docs/gate.md says: by the topic's name after remappings, as monitor.launch.xml has."""
    (tmp_path / "gate.yaml").write_text(OVERRIDES)
    robot = GateRobot(qos=BEST_EFFORT)
    gate = NodeProcess(GATE, "--params-file", str(tmp_path / "gate.yaml"), *arguments)
    try:
        robot.wait_until_connected()
        robot.open_gate()

        def send() -> list:
            robot.send(1.0)
            robot.spin(0.02)
            return robot.passed()

        robot.wait_for(send, "the command")
    finally:
        gate.end()
    robot.node.destroy_node()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "/policy/cmd_vel.subscription.reliability",
            "has no effect, as the topic is called '/command_in' here: write "
            "'qos_overrides./command_in.subscription.reliability'",
        ),
        (
            "/command_in.subscription.reliabilty",
            "has no effect: there are qos_overrides./command_in.subscription.depth, "
            "qos_overrides./command_in.subscription.history, "
            "qos_overrides./command_in.subscription.reliability",
        ),
        (
            "/command_in.publisher.reliability",
            "has no effect: there are qos_overrides./command_in.subscription.depth",
        ),
    ],
)
def test_an_override_without_effect_ends_it_with_one_sentence(override, words):
    option = ("-p", f"qos_overrides.{override}:=best_effort")
    code, output = NodeProcess(GATE, *REMAPPED, *option).wait()
    assert code == 2
    assert words in output
    assert "Traceback" not in output


def test_an_override_for_another_topic_is_logged():
    gate = NodeProcess(
        GATE, "-p", "qos_overrides./elsewhere.subscription.reliability:=best_effort"
    )
    robot = GateRobot()
    robot.wait_until_connected()
    robot.node.destroy_node()
    code, output = gate.end()
    assert code == 0
    assert "'qos_overrides./elsewhere.subscription.reliability' has no effect on this" in output


# Time


@pytest.mark.parametrize("jump", [1e6, -1e6])
def test_ros_time_that_jumps_changes_nothing(robot, jump):
    clock = robot.node.create_publisher(Clock, "/clock", 10)
    now = 2e6

    def tick() -> bool:
        message = Clock()
        message.clock.sec = int(now)
        clock.publish(message)
        robot.spin(0.02)
        return robot.is_open()

    with gate_process(use_sim_time=True):
        robot.wait_until_connected()
        robot.permits = dict.fromkeys(robot.permits, True)
        robot.wait_for(tick, "the gate to open")
        robot.received[OPEN].clear()
        now += jump
        for _ in range(20):
            tick()
        assert robot.received[OPEN] == []
        robot.permits = dict.fromkeys(robot.permits)
        begin = time.monotonic()
        robot.wait_for(lambda: tick() or (robot.received[OPEN] and not robot.is_open()), "closing")
        assert time.monotonic() - begin < LEASE + SLACK


def test_it_works_on_simulated_time_without_a_clock(robot):
    with gate_process(use_sim_time=True, command__safe_command="zero", safe_command_duration=0.2):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(1.0)
        robot.wait_for(robot.passed, "the command")
        robot.permits = dict.fromkeys(robot.permits)
        robot.wait_for(lambda: not robot.is_open(), "the gate to close", timeout=LEASE + SLACK)
        robot.spin(0.5)
        count = len(robot.passed())
        assert count > 1
        robot.spin(0.3)
        assert len(robot.passed()) == count


def test_what_waited_for_a_frozen_gate_does_not_pass(robot):
    """Permits and commands that came while it was frozen are old when it goes on."""
    with gate_process() as gate:
        robot.wait_until_connected()
        robot.open_gate()
        gate.send(signal.SIGSTOP)
        for _ in range(50):
            robot.send(1.0)
            robot.spin(0.02)
        robot.permits = dict.fromkeys(robot.permits)
        gate.send(signal.SIGCONT)
        robot.wait_for(lambda: not robot.is_open(), "the gate to close")
        robot.spin(1.0)
        assert robot.passed() == []
        assert not robot.is_open()


# Start and end


def test_it_starts_fast_and_stays_small(robot):
    begin = time.monotonic()
    with gate_process() as process:
        robot.wait_for(lambda: robot.received[STATE], "the gate")
        assert time.monotonic() - begin < 5.0  # most of it discovery
        memory = psutil.Process(process.pid).memory_info().rss
        assert memory < 100e6  # with numpy, which comes with rclpy


def test_the_example_on_its_page_is_a_parameter_file(robot, tmp_path):
    page = (ROOT / "docs" / "gate.md").read_text()
    file = tmp_path / "gate.yaml"
    file.write_text(re.search(r"```yaml\n(.*?)```", page, flags=re.DOTALL).group(1))
    gate = NodeProcess(GATE, "--params-file", str(file))
    try:
        robot.wait_for(lambda: robot.received[STATE], "the gate")
        assert {"arm.passed", "base.passed"} <= robot.gate_values().keys()
    finally:
        gate.end()


UNKNOWN = [
    (
        "command.type",
        "teleport",
        "the parameter 'command.type' is 'teleport', not one of geometry_msgs",
    ),
    (
        "command.safe_command",
        "pray",
        "'command.safe_command' is 'pray', not one of those of std_msgs/msg/Float64MultiArray: "
        "nothing, zero, decelerate, hold",
    ),
    ("command.safe_comand", "zero", "there is no parameter 'command.safe_comand'"),
    ("command.safe_command", "hold", "'command.joints' names no joint"),
    ("command.safe_command", "decelerate", "needs a list of a number above 0"),
    ("command.output", "command_in", "more than once on '/command_in'"),
    ("command.input", "a b", "'command.input' is 'a b', not a valid topic name"),
    ("permit_lease", 1, "of type 'INTEGER', expecting type 'DOUBLE'"),
    ("permit_lease", 100.0, "out of range Min: 0.01, Max: 10.0"),
    ("permit_topics", [], "the parameter 'permit_topics' is given without a value"),
    ("commands", ["arm", "arm"], "none twice"),
    ("qos_overrides./command_in.subscription.reliability", "some", "Unexpected QoS override"),
]


@pytest.mark.parametrize(("parameter", "value", "words"), UNKNOWN)
def test_parameters_that_make_no_sense_end_it_with_one_sentence(parameter, value, words):
    with node_process(GATE, **{parameter: value}) as process:
        code, output = process.wait()
    assert code == 2
    assert words in output
    assert "Traceback" not in output


def test_it_stops_the_robot_before_it_ends(robot):
    with gate_process(command__safe_command="zero", safe_command_duration=0.3) as gate:
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(1.0)
        robot.wait_for(robot.passed, "the command")
        gate.send(signal.SIGTERM)
        robot.wait_for(lambda: not gate.is_running, "the gate to end")
        robot.spin(0.1)
        assert len(robot.passed()) > 3
        assert set(map(tuple, values(robot.passed()[1:]))) == {(0.0,)}
        assert "closed: the gate is ending" in robot.gate_says()
        code, output = gate.wait()
        assert code == 0, output


def test_it_does_not_take_for_ever_to_end(robot):
    with gate_process(command__safe_command="zero", safe_command_duration=60.0) as gate:
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(1.0)
        robot.wait_for(robot.passed, "the command")
        begin = time.monotonic()
        gate.send(signal.SIGINT)
        robot.wait_for(lambda: not gate.is_running, "the gate to end")
        assert time.monotonic() - begin < MAX_END + SLACK + 1.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(robot, number):
    with gate_process() as gate:
        robot.wait_for(lambda: robot.received[STATE], "the gate")
        code, output = gate.end(number)
    assert code == 0, output
    assert "Traceback" not in output
