# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The gate is attacked while a robot moves: whatever was moved is told to stand."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import rclpy
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Twist, Vector3
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, Float64MultiArray
from testbed.command_messages import JOINTS, TRAJECTORY, TWIST
from testbed.faults.stop_trial import StopTrial
from testbed.faults.table import keep_rows
from testbed.gate_robot import PERMIT, SPEED_SCALE, GateRobot
from testbed.ros_graph import LATCHED, NodeProcess, node_process
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

pytestmark = pytest.mark.ros

GATE = "failure_monitor.ros.gate.node"
LEASE = 0.2
MOVING = Twist(linear=Vector3(x=1.0))
AddTrial = Callable[..., StopTrial]


@pytest.fixture(scope="module", autouse=True)
def context() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Iterator[AddTrial]:
    """Add a row for an attack."""
    trials: list[StopTrial] = []

    def add(name: str, promised: float = 0.0) -> StopTrial:
        trials.append(StopTrial(name, promised))
        return trials[-1]

    yield add
    keep_rows(request.node, trials)


@contextmanager
def moving(
    send: Callable[[GateRobot], object],
    *,
    inputs: dict[str, type] | None = None,
    joints: JointState | None = None,
    scale: float | None = None,
    **parameters: object,
) -> Iterator[tuple[GateRobot, NodeProcess]]:
    """Start a gate, and a robot that has let a command through."""
    robot = GateRobot(inputs or {"command_in": Twist})
    named = {name.replace("__", "."): value for name, value in parameters.items()}
    robot.joints, robot.scale = joints, scale
    with node_process(GATE, **{"permit_lease": LEASE, **named}) as gate:
        robot.wait_until_connected()
        robot.wait_until_stopped()
        robot.open_gate()
        robot.spin(0.1)

        def passed() -> bool:
            send(robot)
            robot.spin(0.05)
            return all(robot.passed(name.replace("_in", "_out")) for name in robot.senders)

        robot.wait_for(passed, "a command to pass")
        yield robot, gate
    robot.node.destroy_node()


def twist_moves(**parameters: object):
    return moving(
        lambda robot: robot.send_message(MOVING),
        command__type=TWIST,
        **{"command__safe_command": "zero", **parameters},
    )


def withdraw(robot: GateRobot) -> None:
    robot.permits = dict.fromkeys(robot.permits, False)


def stands(command: Twist) -> bool:
    return command.linear.x == 0.0


def joint_state(position: float = 0.3, velocity: float = 0.1) -> JointState:
    return JointState(name=["l", "r"], position=[position] * 2, velocity=[velocity] * 2)


def long_trajectory(*names: str) -> JointTrajectory:
    point = JointTrajectoryPoint(positions=[9.0] * len(names), time_from_start=Duration(sec=10))
    return JointTrajectory(joint_names=names, points=[point])


def is_at_rest(trajectory: JointTrajectory) -> bool:
    point = trajectory.points[-1]
    return point.time_from_start.sec < 5 and list(point.velocities) == [0.0] * len(
        trajectory.joint_names
    )


# What prevents the stop for a moment


@pytest.mark.law(1)
@pytest.mark.parametrize("safe_command", ["hold", "decelerate"])
@pytest.mark.parametrize("gap", ["the alarm", "a rejected command"])
def test_joint_states_that_cease_for_a_moment_only_delay_the_stop(safe_command, gap, table):
    trial = table(f"joint states cease, {gap} meanwhile ({safe_command})", promised=0.1)
    with moving(
        lambda robot: robot.send_message(long_trajectory("l", "r")),
        inputs={"command_in": JointTrajectory},
        joints=joint_state(),
        command__type=TRAJECTORY,
        command__safe_command=safe_command,
        command__max_deceleration=[2.0],
        command__joints=["l", "r"],
    ) as (robot, _):
        robot.joints = None
        robot.spin(0.5)
        if gap == "the alarm":
            withdraw(robot)
        else:
            robot.send_message(long_trajectory("l", "r"))
        robot.wait_until_said("still owes a stop to 'l', 'r'")
        robot.spin(0.5)

        def back() -> None:
            robot.joints = joint_state()

        trial.stands(robot, back, is_at_rest)


@pytest.mark.law(1)
@pytest.mark.parametrize(("freeze_after", "left"), [(0.0, 1.0), (0.1, 0.0), (0.5, 0.0)])
def test_a_gate_that_freezes_in_its_ramp_ends_it_once_it_is_thawed(freeze_after, left, table):
    """One that froze before it received the withdrawal has the whole ramp left."""
    trial = table(f"gate frozen {freeze_after:g} s after the alarm, for 1.5 s", left + 0.1)
    with twist_moves(command__safe_command="decelerate", command__max_deceleration=[1.0, 1.0]) as (
        robot,
        gate,
    ):
        withdraw(robot)
        robot.spin(freeze_after)
        gate.send(signal.SIGSTOP)
        robot.spin(1.5)
        trial.stands(robot, lambda: gate.send(signal.SIGCONT), stands)


@pytest.mark.law(1)
@pytest.mark.parametrize("rate", [50.0, 5.0, 1.0])
def test_a_ramp_that_is_not_repeated_ends_with_the_command_to_stand(rate, table):
    trial = table(f"safe_command_duration 0, {rate:g} safe commands a second", 1.0 + 1 / rate)
    with twist_moves(
        command__safe_command="decelerate",
        command__max_deceleration=[1.0, 1.0],
        safe_command_duration=0.0,
        safe_command_rate=rate,
    ) as (robot, _):
        trial.stands(robot, lambda: withdraw(robot), stands)


@pytest.mark.law(8)
def test_a_permit_in_the_middle_of_a_ramp_moves_nothing(table):
    trial = table("permit granted again in the middle of a ramp of 2 s", promised=2.0)
    with twist_moves(command__safe_command="decelerate", command__max_deceleration=[0.5, 1.0]) as (
        robot,
        _,
    ):
        timer = robot.node.create_timer(0.02, lambda: robot.send_message(MOVING))

        def reset_too_early() -> None:
            withdraw(robot)
            robot.spin(0.5)
            robot.permits = dict.fromkeys(robot.permits, True)
            robot.wait_until_said("closed: the robot is still being stopped on 'command_out'")
            speeds = [command.linear.x for command in robot.passed()[-5:]]
            assert speeds == sorted(speeds, reverse=True)

        reset_too_early()
        robot.node.destroy_timer(timer)
        trial.stands(robot, lambda: None, stands)
        robot.wait_for(robot.is_open, "the gate to open")


@pytest.mark.law(1)
def test_a_controller_that_is_away_is_told_to_stand_when_it_is_back(table):
    trial = table("controller away during the alarm", promised=2.0)
    with twist_moves(safe_command_duration=0.1) as (robot, _):
        (subscription,) = (s for s in robot.node.subscriptions if s.topic_name == "/command_out")
        robot.node.destroy_subscription(subscription)
        robot.spin(0.3)
        withdraw(robot)
        robot.wait_until_said("still owes a stop to the robot: nothing receives its commands")
        trial.stands(robot, lambda: robot.listen("command_out", Twist), stands)


# What ends the gate


@pytest.mark.law(1)
@pytest.mark.law(5)
@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGINT, signal.SIGINT],
        [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT],
    ],
    ids=lambda signals: " ".join(number.name for number in signals),
)
def test_a_gate_that_is_ended_finishes_its_ramp(signals, table):
    names = ", ".join(number.name for number in signals)
    trial = table(f"{names} at 1 m/s, ramp of 4 s", promised=4.0)
    with twist_moves(
        command__safe_command="decelerate",
        command__max_deceleration=[0.25, 1.0],
        safe_command_duration=0.2,
    ) as (robot, gate):

        def end() -> None:
            for number in signals:
                gate.send(number)
                robot.spin(0.1)

        trial.stands(robot, end, stands)
        code, output = gate.wait()
        assert code == 0, output


@pytest.mark.law(1)
def test_a_gate_that_was_killed_stops_the_robot_when_it_starts_again(table):
    trial = table("gate killed at 1 m/s, started again without a monitor", promised=3.0)
    with twist_moves() as (robot, gate):
        gate.send(signal.SIGKILL)
        robot.permits = dict.fromkeys(robot.permits)
        robot.spin(0.2)
        parameters = {"command.type": TWIST, "command.safe_command": "zero"}
        again = node_process(GATE, **parameters)
        trial.stands(robot, again.__enter__, stands)
        again.__exit__(None, None, None)


@pytest.mark.law(1)
def test_a_gate_says_what_it_cannot_stop_when_it_starts():
    robot = GateRobot()
    with node_process(GATE, **{"command.safe_command": "zero"}):
        robot.wait_until_connected()
        owed = robot.gate_values()["command.owed_stop"]
        assert "not for what moved before" in owed
        assert "'command.joints' names no joints" in owed
    with node_process(GATE):
        robot.wait_for(
            lambda: robot.gate_values()["command.owed_stop"].startswith("none"), "the new gate"
        )
    robot.node.destroy_node()


@pytest.mark.law(5)
def test_an_error_of_the_gate_itself_stops_the_robot(table):
    trial = table("an error of the gate's own at the next command", promised=0.1)
    code = (
        f"from failure_monitor.ros.gate import gated_command; from {GATE} import main\n"
        "passes = gated_command.GatedCommand._pass\n"
        "def fail(self, command, data):\n"
        "    if command.linear.x == 2.0: raise RuntimeError('by the test')\n"
        "    passes(self, command, data)\n"
        "gated_command.GatedCommand._pass = fail; main()"
    )
    options = ["-p", f"command.type:={TWIST}", "-p", "command.safe_command:=zero"]
    robot = GateRobot({"command_in": Twist})
    gate = subprocess.Popen([sys.executable, "-c", code, "--ros-args", *options])
    try:
        robot.wait_until_connected()
        robot.wait_until_stopped()
        robot.open_gate()
        robot.send_message(MOVING)
        robot.wait_for(robot.passed, "a command to pass")
        strange = Twist(linear=Vector3(x=2.0))
        trial.stands(robot, lambda: robot.send_message(strange), stands)
        robot.wait_until_said("the gate has failed: RuntimeError: by the test")
        trial.withholds(robot, lambda: robot.send_message(MOVING), stands)
        withdraw(robot)
        robot.spin(0.1)
        robot.open_gate()
    finally:
        gate.terminate()
        gate.wait(10)
        robot.node.destroy_node()


# What shares a gate


def velocities(name: str) -> JointState:
    return JointState(name=[name], velocity=[1.0])


def positions(name: str) -> JointState:
    return JointState(name=[name], position=[9.0])


@pytest.mark.law(1)
@pytest.mark.parametrize(
    ("kind", "safe_command", "command"),
    [
        (JOINTS, "zero", velocities),
        (JOINTS, "decelerate", velocities),
        (JOINTS, "hold", positions),
        (TRAJECTORY, "hold", long_trajectory),
    ],
    ids=["zero", "decelerate", "hold", "trajectories"],
)
def test_two_arms_in_turn_on_one_topic_both_stop(kind, safe_command, command, table):
    trial = table(
        f"two arms in turn on one topic ({safe_command}, {kind.rpartition('/')[2]})", promised=1.2
    )
    told: dict[str, float] = {}

    def speed(message: JointState | JointTrajectory) -> dict[str, float]:
        if isinstance(message, JointTrajectory):
            return dict(zip(message.joint_names, message.points[0].positions, strict=True))
        values = message.velocity or message.position
        return dict(zip(message.name, values, strict=True))

    def both_stand(_: object) -> bool:
        for message in robot.passed():
            told.update(speed(message))
        return set(told) == {"l", "r"} and max(told.values()) < 0.5

    with moving(
        lambda robot: [robot.send_message(command(name)) for name in ("l", "r")],
        inputs={"command_in": type(command("l"))},
        joints=joint_state(),
        command__type=kind,
        command__safe_command=safe_command,
        command__max_deceleration=[1.0],
    ) as (robot, _):
        assert not both_stand(None)
        trial.stands(robot, lambda: withdraw(robot), both_stand)


@pytest.mark.law(1)
def test_a_command_that_is_rejected_on_one_topic_stops_the_others(table):
    trial = table("NaN on the arm's topic, the base's sound", promised=0.1)

    def send(robot: GateRobot, arm: float = 1.0) -> None:
        robot.send_message(Float64MultiArray(data=[arm]), "arm_in")
        robot.send_message(MOVING, "base_in")

    with moving(
        send,
        inputs={"arm_in": Float64MultiArray, "base_in": Twist},
        commands=["arm", "base"],
        arm__safe_command="zero",
        base__type=TWIST,
        base__safe_command="zero",
    ) as (robot, _):
        timer = robot.node.create_timer(0.02, lambda: send(robot, math.nan))
        trial.stands(robot, lambda: None, stands, "base_out")
        robot.node.destroy_timer(timer)
        robot.received["base_out"].clear()

        def moves() -> bool:
            send(robot)
            robot.spin(0.02)
            return any(not stands(command) for command in robot.passed("base_out"))

        robot.wait_for(moves, "the base to move again")


@pytest.mark.law(1)
@pytest.mark.parametrize("kind", ["array", "joint state"])
def test_a_command_of_another_length_is_rejected_and_the_robot_stopped(kind, table):
    """A controller that accepts one length only would go on with the command before."""
    trial = table(f"one value after seven ({kind} without names)", promised=0.1)
    message = Float64MultiArray if kind == "array" else JointState

    def command(values: int) -> Float64MultiArray | JointState:
        if message is JointState:
            return JointState(velocity=[1.0] * values)
        return Float64MultiArray(data=[1.0] * values)

    def rests(told: Float64MultiArray | JointState) -> bool:
        return list(told.velocity if message is JointState else told.data) == [0.0] * 7

    with moving(
        lambda robot: robot.send_message(command(7)),
        inputs={"command_in": message},
        command__type=JOINTS if message is JointState else "std_msgs/msg/Float64MultiArray",
        command__safe_command="zero",
    ) as (robot, _):
        trial.stands(robot, lambda: robot.send_message(command(1)), rests)
        robot.wait_until_said("it has 1 values and the one before had 7")


@pytest.mark.law(1)
def test_a_driver_that_is_started_again_does_not_delay_the_stop(table):
    trial = table("the robot's driver started again, then an alarm", promised=0.2)
    command = Float64MultiArray(data=[1.0])
    with moving(
        lambda robot: robot.send_message(command),
        inputs={"command_in": Float64MultiArray},
        joints=joint_state(),
        command__safe_command="hold",
        command__joints=["l"],
    ) as (robot, _):
        robot.spin(0.5)
        robot.restart_joints()
        withdraw(robot)

        def held(told: Float64MultiArray) -> bool:
            return list(told.data) == [0.3]

        trial.stands(robot, lambda: None, held)


# What passes


def points(count: int) -> bytes:
    """Return a serialised trajectory that takes long to read."""
    return serialize_message(
        JointTrajectory(
            joint_names=[f"j{index}" for index in range(7)],
            points=[
                JointTrajectoryPoint(
                    positions=[0.1] * 7, velocities=[0.1] * 7, time_from_start=Duration(sec=second)
                )
                for second in range(1, count + 1)
            ],
        )
    )


@pytest.mark.law(2)
@pytest.mark.parametrize("ceases", [False, True], ids=["withdrawn", "ceases"])
def test_a_command_that_takes_long_to_read_does_not_outlive_its_permit(ceases, table):
    how = "permits cease" if ceases else "permit withdrawn"
    trial = table(f"{how} while trajectories of 8000 points are read")
    command = points(8000)
    with moving(
        lambda robot: robot.send_message(command),
        inputs={"command_in": JointTrajectory},
        command__type=TRAJECTORY,
    ) as (robot, _):
        for delay in (0.0, 0.02, 0.04):
            robot.open_gate()
            robot.spin(0.3)
            robot.received["command_out"].clear()
            robot.send_message(command)
            time.sleep(delay)
            robot.permits = dict.fromkeys(robot.permits, None if ceases else False)
            if not ceases:
                robot._beat()
            robot.spin(LEASE + 0.1 if ceases else 0.02)
            allowed = len(robot.passed())
            robot.spin(0.5)
            trial.moved += len(robot.passed()) - allowed
        assert trial.moved == 0


@pytest.mark.law(2)
def test_a_command_that_waited_in_a_frozen_gate_is_rejected(table):
    """The lease is longer than the freeze: only the age of the commands gives them away."""
    trial = table("gate frozen for 1 s, lease of 5 s")
    with twist_moves(permit_lease=5.0) as (robot, gate):
        robot.wait_for(robot.is_open, "the gate to open", 10.0)
        # How long a command waited shows beside those that did not wait.
        for _ in range(20):
            robot.send_message(MOVING)
            robot.spin(0.02)
        gate.send(signal.SIGSTOP)
        for _ in range(5):
            robot.send_message(MOVING)
            robot.spin(0.05)
        robot.spin(0.75)
        robot.received["command_out"].clear()
        gate.send(signal.SIGCONT)
        robot.wait_until_said("longer than max_command_age")
        robot.spin(0.3)
        trial.moved = sum(not stands(command) for command in robot.passed())
        assert trial.moved == 0
        assert robot.passed(), "the robot is told to stand"


@pytest.mark.law(3)
@pytest.mark.parametrize(("offset", "reason"), [(2, "are 2 s old"), (-2, "stamped 2 s ahead")])
def test_clocks_that_differ_by_more_than_the_lease_keep_the_gate_closed(offset, reason, table):
    """The same figures as of permits that a network delays by 2 s."""
    trial = table(f"the monitor's clock differs by {-offset} s, or permits are late")
    code = (
        f"import time; now = time.time_ns; time.time_ns = lambda: now() + {offset} * 10**9; "
        f"from {GATE} import main; main()"
    )
    robot = GateRobot()
    gate = subprocess.Popen([sys.executable, "-c", code, "--ros-args"])
    try:
        robot.wait_until_connected()
        robot.permits = dict.fromkeys(robot.permits, True)
        robot.wait_until_said(reason)
        trial.withholds(robot, lambda: robot.send(1.0), lambda command: False)
    finally:
        gate.terminate()
        gate.wait(10)
        robot.node.destroy_node()


# Contradictions


@pytest.mark.law(10)
def test_a_publisher_that_floods_the_permit_opens_nothing(table):
    trial = table("a stray publisher floods the permit, the monitor withholds")
    code = (
        "import rclpy, time; from std_msgs.msg import Bool; rclpy.init(); "
        "node = rclpy.create_node('flood'); "
        f"permits = node.create_publisher(Bool, '{PERMIT}', 10)\n"
        "while True: permits.publish(Bool(data=True)); time.sleep(0.0002)"
    )
    with twist_moves() as (robot, _):
        flood = subprocess.Popen([sys.executable, "-c", code])
        try:
            robot.wait_for(lambda: robot.node.count_publishers(PERMIT) == 2, "the flood")
            robot.spin(0.5)
            trial.promised = 0.1
            trial.stands(robot, lambda: withdraw(robot), stands)
            trial.withholds(robot, lambda: robot.send_message(MOVING), stands)
        finally:
            flood.kill()
            flood.wait()


@pytest.mark.law(10)
def test_of_two_speed_scales_the_slower_counts(table):
    trial = table("two publishers of one speed scale, 0 and 1", promised=0.6)
    with twist_moves(scale=1.0, command__scaled=True) as (robot, _):
        other = robot.node.create_publisher(Float64, SPEED_SCALE, LATCHED)

        def start() -> None:
            robot.node.create_timer(0.5, lambda: other.publish(Float64(data=0.0)))

        trial.stands(robot, start, stands)
        trial.withholds(robot, lambda: robot.send_message(MOVING), stands)


@pytest.mark.law(10)
@pytest.mark.parametrize("kind", ["second source", "frozen"])
def test_joint_states_that_cannot_be_trusted_hold_no_robot(kind, table):
    trial = table(f"joint states of a {kind} joint")
    command = Float64MultiArray(data=[1.0])
    stamped = joint_state()
    stamped.header.stamp.sec = 5
    with moving(
        lambda robot: robot.send_message(command),
        inputs={"command_in": Float64MultiArray},
        joints=joint_state(),
        command__safe_command="hold",
        command__joints=["l"],
    ) as (robot, _):
        if kind == "frozen":
            robot.joints = stamped
            reason = "the robot's driver is frozen"
        else:
            other = robot.node.create_publisher(JointState, "joint_states", 10)
            zeros = JointState(name=["l"], position=[0.0])
            robot.node.create_timer(0.05, lambda: other.publish(zeros))
            reason = "state the position of 'l': stop all but one"
        robot.wait_for(
            lambda: robot.send_message(command) or reason in robot.gate_says(), "the reason"
        )
        trial.withholds(robot, lambda: robot.send_message(command), lambda _: False)
