# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The gate passes commands only while the monitor's permit is fresh."""

import math
import signal
import time

import pytest
import rclpy
from geometry_msgs.msg import Twist
from ros_graph import LATCHED, Observer, node_process
from std_msgs.msg import Bool, Float64MultiArray

GATE = "failure_monitor.ros.gate_node"
MONITOR = "failure_monitor.ros.monitor_node"
LEASE = 0.3
OPEN = "/failure_monitor_gate/open"

pytestmark = pytest.mark.ros


class Robot(Observer):
    """Sends commands and permits to a gate, and hears what passes."""

    def __init__(self, command_type: type = Float64MultiArray) -> None:
        super().__init__(action_names=["dx"])
        self._sent = self.node.create_publisher(command_type, "command_in", 10)
        self._permits = self.node.create_publisher(Bool, "failure_monitor/permit", 1)
        self.listen("command_out", command_type)
        self.listen(OPEN, Bool, LATCHED)

    def permit(self, permitted: bool = True) -> None:
        self._permits.publish(Bool(data=permitted))

    def send(self, *values: float) -> None:
        self._sent.publish(Float64MultiArray(data=list(values)))

    def passed(self) -> list:
        return self.heard["command_out"]

    def is_open(self) -> bool:
        return bool(self.heard[OPEN]) and self.heard[OPEN][-1].data

    def wait_until_connected(self) -> None:
        """Until commands and permits reach the gate, and what passes comes back."""
        self.wait_for(
            lambda: (
                self._sent.get_subscription_count()
                and self._permits.get_subscription_count()
                and self.node.count_publishers("command_out")
                and self.heard[OPEN]
            ),
            "the gate",
        )

    def open_gate(self) -> None:
        def opened() -> bool:
            self.permit()
            return self.is_open()

        self.wait_for(opened, "the gate to open")


@pytest.fixture
def context():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def robot(context):
    robot = Robot()
    yield robot
    robot.node.destroy_node()


@pytest.fixture
def gate(robot):
    with node_process(GATE, permit_lease=LEASE) as process:
        robot.wait_until_connected()
        yield process


def test_it_is_closed_at_the_start(gate, robot):
    robot.send(1.0)
    robot.spin(0.5)
    assert not robot.is_open()
    assert robot.passed() == []


def test_a_fresh_permit_lets_commands_pass_unchanged(gate, robot):
    robot.open_gate()
    robot.send(1.0, -0.5)
    robot.wait_for(robot.passed, "the command")
    assert list(robot.passed()[0].data) == [1.0, -0.5]


def test_it_closes_when_the_permit_is_not_renewed(gate, robot):
    robot.open_gate()
    begin = time.monotonic()
    robot.wait_for(lambda: not robot.is_open(), "the gate to close", timeout=5.0)
    assert time.monotonic() - begin < 1.0
    robot.send(1.0)
    robot.spin(0.5)
    assert robot.passed() == []


def test_a_withdrawn_permit_closes_it_before_the_lease_is_over(gate, robot):
    robot.open_gate()
    robot.permit(False)
    robot.wait_for(lambda: not robot.is_open(), "the gate to close")
    robot.send(1.0)
    robot.spin(0.3)
    assert robot.passed() == []


def test_it_opens_again_with_the_next_permit(gate, robot):
    robot.open_gate()
    robot.permit(False)
    robot.wait_for(lambda: not robot.is_open(), "the gate to close")
    robot.open_gate()
    robot.send(2.0)
    robot.wait_for(robot.passed, "the command")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_command_that_is_not_finite_never_passes(gate, robot, value):
    robot.open_gate()
    robot.send(1.0, value)
    robot.open_gate()
    robot.send(3.0)
    robot.wait_for(robot.passed, "the sound command")
    assert [list(command.data) for command in robot.passed()] == [[3.0]]


def test_closing_stops_a_robot_that_does_not_stop_by_itself(robot):
    with node_process(GATE, permit_lease=LEASE, safe_command="zero"):
        robot.wait_until_connected()
        robot.open_gate()
        robot.send(1.0, 2.0)
        robot.wait_for(robot.passed, "the command")
        robot.wait_for(lambda: len(robot.passed()) == 2, "the safe command", timeout=5.0)
        assert list(robot.passed()[-1].data) == [0.0, 0.0]


def test_it_passes_and_stops_twists(context):
    robot = Robot(Twist)
    twist = Twist()
    twist.linear.x, twist.angular.z = 0.4, -0.2
    parameters = {"command_type": "geometry_msgs/msg/Twist", "safe_command": "zero"}
    with node_process(GATE, permit_lease=LEASE, **parameters):
        robot.wait_until_connected()
        robot.open_gate()
        robot._sent.publish(twist)
        robot.wait_for(robot.passed, "the command")
        assert robot.passed()[0] == twist
        robot.wait_for(lambda: len(robot.passed()) == 2, "the safe command", timeout=5.0)
        assert robot.passed()[-1] == Twist()
    robot.node.destroy_node()


@pytest.mark.parametrize("parameter", ["command_type", "safe_command"])
def test_an_unknown_choice_ends_it_with_one_sentence(context, parameter):
    with node_process(GATE, **{parameter: "teleport"}) as process:
        process._process.wait(timeout=20)
        code, output = process.end()
    assert code == 2
    assert f"the parameter '{parameter}' is 'teleport', not one of:" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(gate, number):
    code, output = gate.end(number)
    assert code == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_it_closes_when_the_monitor_is_killed_or_hangs(
    context, bundle_folder, policy, rollouts, number
):
    """The whole chain: decisions, a real monitor, a real gate, commands at 100 Hz."""
    policy_side = Observer(policy.action_names)
    policy_side.listen_to_monitor()
    robot = Robot()
    decisions = iter(list(rollouts[0].decisions()) * 100)
    parameters = {"bundle": bundle_folder, "max_joint_state_age": 0.0}

    def drive() -> bool:
        robot.send(1.0)
        policy_side.decide(next(decisions))
        policy_side.spin(0.01)
        robot.spin(0.005)
        return robot.is_open() and bool(robot.passed())

    # The test's own permits must not keep the gate open.
    robot.node.destroy_publisher(robot._permits)
    with (
        node_process(MONITOR, **parameters) as monitor,
        node_process(GATE, permit_lease=LEASE),
    ):
        policy_side.wait_until_heard()
        robot.wait_for(drive, "commands to pass")
        monitor.send(number)
        end = time.monotonic() + LEASE + 0.5
        while time.monotonic() < end:
            drive()
        assert not robot.is_open()
        passed = len(robot.passed())
        for _ in range(30):
            drive()
        assert len(robot.passed()) == passed
        if number == signal.SIGSTOP:
            monitor.send(signal.SIGCONT)
    policy_side.node.destroy_node()
    robot.node.destroy_node()
