# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts in real time with monitor and gate between the policy and the arm."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from examples.lerobot.environment import ACTION_NAMES, CONTROL_PERIOD, PickPlace
from examples.lerobot.plan import Plan
from examples.lerobot.recording import PATIENCE, SETTLING, ros_node, stamping, tapped
from examples.lerobot.rollout import Outcome, RobotPolicy
from failure_monitor.demo.monitor_client import MonitorClient
from failure_monitor.demo.node_processes import NodeProcesses
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.ros.common.alarm_message import read_alarm
from failure_monitor.ros.common.qos import LATCHED_QOS
from failure_monitor.ros.lerobot_tap import LeRobotTap

NODES = ("failure_monitor", "failure_monitor_gate")

THROUGH_GATE = 0.05
"""Seconds that a command may take through the gate. After a decision that took long, the arm
catches up."""

AFTER_ALARM = 1.0
"""Seconds for which the policy goes on commanding after an alarm, to show that nothing passes."""


@dataclass(frozen=True)
class GatedRollout:
    """One rollout behind the gate.

    Attributes:
        outcome: how it ended; a stopped one is no success.
        perturbed_at: when the perturbation began, in seconds; None if it had not begun.
        alarm_at: when the monitor raised its alarm, in seconds; None if it did not.
        reason: what it gave as reason.
        passed_after_alarm: the commands that came through the gate later than that.
    """

    outcome: Outcome
    perturbed_at: float | None
    alarm_at: float | None
    reason: str
    passed_after_alarm: int


def run_gated(
    policy: RobotPolicy, bundle: Path, plans: Iterable[Plan], log: Path
) -> Iterator[GatedRollout]:
    """Run rollouts behind the gate."""
    with (
        log.open("w") as output,
        TemporaryDirectory() as marks,
        ros_node("example") as node,
        NodeProcesses({}, output) as nodes,
        tapped(node, policy) as tap,
    ):
        _start(nodes, marks)
        arm = _GatedArm(node)
        nodes.wait_while(lambda: _missing(node), PATIENCE)
        monitor = MonitorClient(node)
        monitor.load(bundle)
        time.sleep(SETTLING)
        environment = PickPlace()
        for plan in plans:
            monitor.start_rollout()
            rollout = _run(policy, environment, plan, arm, tap)
            monitor.end_rollout(rollout.outcome.success)
            yield rollout


def _run(
    policy: RobotPolicy, environment: PickPlace, plan: Plan, arm: _GatedArm, tap: LeRobotTap
) -> GatedRollout:
    """Run one rollout in real time until it ends, or a while after its alarm."""
    observation = environment.reset(plan.seed, plan.kind)
    policy.start_rollout(plan)
    arm.start()
    # The arm's clock, as in the recorded rollouts: it stands while the arm waits for the gate.
    observed = stamping(tap, arm.now())
    alarm_at: float | None = None
    while not environment.is_over:
        observed(environment.time)
        executed = arm.ask_gate(policy.action(observation))
        if alarm_at is None and arm.alarm:
            alarm_at = environment.time
        if alarm_at is not None and environment.time > alarm_at + AFTER_ALARM:
            break
        observation = environment.step(executed)
    perturbation = environment.perturbation
    is_perturbed = plan.is_perturbed and perturbation.has_begun
    return GatedRollout(
        Outcome(plan, environment.success, environment.time),
        perturbation.onset if is_perturbed else None,
        alarm_at,
        arm.alarm,
        arm.passed_after_alarm,
    )


def _start(nodes: NodeProcesses, marks: str) -> None:
    command = {"command.type": "std_msgs/msg/Float64MultiArray", "command.safe_command": "nothing"}
    topics = {"command_in": "policy/command", "command_out": "command"}
    nodes.start("ros.gate.node", command, topics)
    monitor = {
        "autostart": False,
        "rollout_boundaries": "service",
        "halt_mark_folder": marks,
        # The simulation publishes no joints.
        "max_joint_state_age": 0.0,
    }
    nodes.start("ros.monitor.node", monitor)


def _missing(node: Node) -> list[str]:
    return [f"no node {name}" for name in NODES if name not in node.get_node_names()]


class _GatedArm:
    """Sends commands to the gate, and executes what comes through."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._commands = node.create_publisher(Float64MultiArray, "policy/command", 10)
        node.create_subscription(Float64MultiArray, "command", self._on_command, 10)
        node.create_subscription(
            DiagnosticStatus, "failure_monitor/alarm", self._on_alarm, LATCHED_QOS
        )
        self.start()

    def start(self) -> None:
        """Forget the last rollout."""
        self.alarm = ""
        self.passed_after_alarm = 0
        self._passed: NDArray[np.float64] | None = None
        self._due: float | None = None
        self._effort = 0.0

    def now(self) -> int:
        """Return the time in nanoseconds."""
        return int(self._node.get_clock().now().nanoseconds)

    def ask_gate(self, action: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what the arm executes next (4,): the command, or standing still."""
        if self._due is None:
            self._wait_for_gate(action)
            self._due = time.monotonic()
        self._due += CONTROL_PERIOD
        self._send(action, self._due)
        if self._passed is None:
            # The fingers hold what they hold.
            return np.array([0.0] * (len(ACTION_NAMES) - 1) + [self._effort])
        self._effort = self._passed[-1]
        return self._passed

    def _wait_for_gate(self, action: NDArray[np.float32]) -> None:
        """Repeat the first command until it passes: the gate opens with the first decision."""
        given_up = time.monotonic() + PATIENCE
        while self._passed is None and time.monotonic() < given_up and not self.alarm:
            self._send(action, time.monotonic() + CONTROL_PERIOD)

    def _send(self, action: NDArray[np.float32], until: float) -> None:
        """Send a command and receive it; wait until a time, or longer if the time is short."""
        self._passed = None
        self._commands.publish(Float64MultiArray(data=action.tolist()))
        given_up = max(until, time.monotonic() + THROUGH_GATE)
        while (left := (given_up if self._passed is None else until) - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left)

    def _on_command(self, message: Float64MultiArray) -> None:
        self._passed = np.array(message.data)
        self.passed_after_alarm += bool(self.alarm)

    def _on_alarm(self, message: DiagnosticStatus) -> None:
        reading = read_alarm(message)
        if reading.state is AlarmState.ALARM and not self.alarm:
            self.alarm = reading.reason
