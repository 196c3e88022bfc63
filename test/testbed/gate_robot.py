# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A test's robot: what a gate stands between, played by one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray

from testbed.ros_graph import LATCHED, Observer

OPEN = "/failure_monitor_gate/open"
STATE = "/failure_monitor_gate/state"
PERMIT = "failure_monitor/permit"
SPEED_SCALE = "failure_monitor/speed_scale"
PERIOD = 0.02
"""Seconds between two permits."""


class GateRobot(Observer):
    """Sends commands, permits, speed scales and joint states, and keeps what passes.

    Attributes:
        permits: what is published on every permit topic in each period; None for nothing.
        scale: the same for the speed scale.
        joints: the same for the joint states.
    """

    def __init__(
        self,
        inputs: Mapping[str, type] = MappingProxyType({"command_in": Float64MultiArray}),
        *,
        permits: Sequence[str] = (PERMIT,),
        qos: Any = 10,
    ) -> None:
        super().__init__(action_names=["dx"])
        self.permits: dict[str, bool | None] = dict.fromkeys(permits)
        self.scale: float | None = None
        self.joints: JointState | None = None
        self.senders = {
            name: self.node.create_publisher(kind, name, qos) for name, kind in inputs.items()
        }
        self._permit_publishers = {
            topic: self.node.create_publisher(Bool, topic, 1) for topic in permits
        }
        self._scales = self.node.create_publisher(Float64, SPEED_SCALE, LATCHED)
        self._joints = self.node.create_publisher(JointState, "joint_states", 10)
        for name, kind in inputs.items():
            self.listen(name.replace("_in", "_out"), kind)
        self.listen(OPEN, Bool, LATCHED)
        self.listen(STATE, DiagnosticStatus, LATCHED)
        self.listen("/diagnostics", DiagnosticArray)
        self.node.create_timer(PERIOD, self._beat)

    def send(self, *values: float) -> None:
        self.send_message(Float64MultiArray(data=list(values)))

    def send_message(self, message: Any, topic: str = "command_in") -> None:
        self.senders[topic].publish(message)

    def passed(self, topic: str = "command_out") -> list[Any]:
        return self.received[topic]

    def is_open(self) -> bool:
        return bool(self.received[OPEN]) and self.received[OPEN][-1].data

    def gate_says(self) -> str:
        states = self.received[STATE]
        return states[-1].message if states else ""

    def gate_values(self) -> dict[str, str]:
        return {value.key: value.value for value in self.received[STATE][-1].values}

    def gate_level(self) -> bytes:
        return self.received[STATE][-1].level

    def wait_until_connected(self) -> None:
        """Wait until everything reaches the gate, and what passes comes back."""
        self.wait_for(
            lambda: (
                all(sender.get_subscription_count() for sender in self.senders.values())
                and all(
                    sender.get_subscription_count() for sender in self._permit_publishers.values()
                )
                and all(self.node.count_publishers(topic) for topic in self._outputs())
                and self.received[OPEN]
                and self.received[STATE]
            ),
            "the gate",
        )

    def restart_joints(self) -> None:
        """Publish the joint states from now on by another publisher, as a new process would."""
        self.node.destroy_publisher(self._joints)
        self._joints = self.node.create_publisher(JointState, "joint_states", 10)

    def wait_until_stopped(self) -> None:
        """Wait for the end of the stop that a gate owes at its start; forget what was sent."""
        self.wait_for(
            lambda: (
                self.received[STATE]
                and self.gate_values()[f"{self._commands()[0]}.stopping"] == "false"
            ),
            "the robot to stand",
        )
        for topic in self._outputs():
            self.received[topic].clear()

    def open_gate(self) -> None:
        for topic in self.permits:
            self.permits[topic] = True
        self.wait_for(self.is_open, "the gate to open")

    def close_gate(self) -> None:
        for topic in self.permits:
            self.permits[topic] = False
        self.wait_for(lambda: not self.is_open(), "the gate to close")

    def wait_until_said(self, words: str) -> None:
        self.wait_for(lambda: words in self.gate_says(), f"the gate to give the reason '{words}'")

    def _commands(self) -> list[str]:
        return [name.removesuffix("_in") for name in self.senders]

    def _outputs(self) -> list[str]:
        return [name.replace("_in", "_out") for name in self.senders]

    def _beat(self) -> None:
        for topic, permitted in self.permits.items():
            if permitted is not None:
                self._publish(self._permit_publishers[topic], Bool(data=permitted))
        if self.scale is not None:
            self._publish(self._scales, Float64(data=self.scale))
        if self.joints is not None:
            self._publish(self._joints, self.joints)

    @staticmethod
    def _publish(publisher: Publisher, message: Any) -> None:
        publisher.publish(message)
