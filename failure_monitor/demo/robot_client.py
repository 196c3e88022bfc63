# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A client that has the simulated robot run rollouts."""

import time
from collections.abc import Callable, Mapping

import rclpy
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from failure_monitor.demo.remote_node import RemoteNode
from failure_monitor.errors import FailureMonitorError
from failure_monitor.ros.common.qos import LATCHED_QOS


class RobotClient:
    """Sets the robot's parameters, starts a rollout and waits for its outcome."""

    def __init__(self, node: Node, robot: str = "robot") -> None:
        self._node = node
        self._robot = RemoteNode(node, robot)
        self._start = self._robot.client(Trigger, "start")
        self._running: bool | None = None
        self._outcome: bool | None = None
        node.create_subscription(Bool, "rollout/active", self._on_active, LATCHED_QOS)
        node.create_subscription(Bool, "rollout/success", self._on_success, LATCHED_QOS)

    def wait_for_robot(self, timeout: float) -> None:
        """Return once the robot offers its services."""
        self._robot.wait_for(self._start, timeout)
        # The latched states of an earlier rollout must not pass for those of the next.
        self.spin_until(lambda: self._running is not None, timeout)

    def roll_out(self, parameters: Mapping[str, object], timeout: float) -> bool:
        """Run one rollout with these parameters of the robot; return whether it succeeded."""
        self.begin(parameters, timeout)
        self.spin_until(lambda: self.outcome is not None, timeout)
        return bool(self.outcome)

    def begin(self, parameters: Mapping[str, object], timeout: float) -> None:
        """Start a rollout with these parameters of the robot."""
        self._robot.set_parameters(parameters, timeout)
        self._outcome, self._running = None, True
        self._robot.trigger(self._start, timeout)

    @property
    def outcome(self) -> bool | None:
        """Whether the last rollout succeeded; None while it runs."""
        return None if self._running else self._outcome

    def spin_until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Spin the node until a condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise FailureMonitorError(
                    f"the rollout has not ended after {timeout:.0f} s: the simulation is stuck "
                    "or far too slow; see the output of the robot's node"
                )
            rclpy.spin_once(self._node, timeout_sec=0.1)

    def _on_active(self, message: Bool) -> None:
        self._running = message.data

    def _on_success(self, message: Bool) -> None:
        self._outcome = message.data
