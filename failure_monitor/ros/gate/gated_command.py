# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One topic of commands: what passes, and how the robot is stopped when nothing may."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message

from failure_monitor.errors import UsageError
from failure_monitor.parameters.gate import CommandParameters, GateParameters
from failure_monitor.ros.commands import COMMAND_TYPES, stop
from failure_monitor.ros.commands.command_type import CommandError, check_numbers
from failure_monitor.ros.common.incompatible_qos import publisher_events, subscription_events
from failure_monitor.ros.gate.measured_joints import MeasuredJoints

COMMAND_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""Few enough that none is old, many enough that none is lost to a hiccup."""

LONGEST_STOP = 60.0
"""Seconds: what would take longer to stop is no speed of a robot, but an error."""

SHOWN = 1.0
"""Seconds for which a fault is shown at least."""


@dataclass
class Tally:
    """How many commands met which fate since the start.

    Attributes:
        passed: let through.
        dropped: while the gate was closed.
        refused: for a fault of their own, whether or not the gate was open.
    """

    passed: int = 0
    dropped: int = 0
    refused: int = 0


class GatedCommand:
    """Passes commands on as they came, byte for byte, unless they must be slowed."""

    def __init__(
        self,
        node: Node,
        gate: GateParameters,
        command: CommandParameters,
        *,
        joints: MeasuredJoints | None,
        speed: Callable[[CommandParameters], float | None],
        changed: Callable[[], object],
    ) -> None:
        """Begin to listen.

        Args:
            node: the gate.
            gate: its parameters.
            command: those of this topic.
            joints: for safe commands that need them.
            speed: at which scale a command may pass now; None if it may not.
            changed: to be called when `fault` changes.
        """
        self.parameters = command
        self.tally = Tally()
        self.fault = ""
        """What was wrong with a command or safe command; empty once commands pass again."""
        self._node = node
        self._gate = gate
        self._kind = COMMAND_TYPES[command.type]
        self._joints = joints
        self._speed = speed
        self._changed = changed
        self._faulty_at = 0.0
        self._last: Any = None
        self._stop: stop.Stop | None = None
        self._stopping_since = 0.0
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._safe_command_timer = node.create_timer(
            1.0 / gate.safe_command_rate, self._send_safe_command, clock=steady
        )
        self._safe_command_timer.cancel()
        try:
            self._publisher = node.create_publisher(
                self._kind.message,
                command.output,
                COMMAND_QOS,
                event_callbacks=publisher_events(self._on_unheard),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            node.create_subscription(
                self._kind.message,
                command.input,
                self._on_command,
                COMMAND_QOS,
                event_callbacks=subscription_events(self._on_unreachable),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                raw=True,
            )
        except RuntimeError as error:
            # What rclpy raises for a quality of service that does not exist.
            raise UsageError(
                f"{node.get_name()}: the topics of '{command.name}': {error}"
            ) from error

    def stop_robot(self) -> None:
        """Send safe commands, if a command has passed since they were last sent."""
        last, self._last = self._last, None
        if last is None or self._gate.inform_only:
            return
        self._end_stop()
        try:
            self._stop = self._make_stop(last)
        except CommandError as error:
            self._report(
                f"the robot could not be stopped: no safe command could be sent on "
                f"'{self.parameters.output}': {error}"
            )
        if self._stop is not None:
            self._stopping_since = time.monotonic()
            self._send_safe_command()
            self._safe_command_timer.reset()

    @property
    def is_stopping(self) -> bool:
        """Whether safe commands are being sent."""
        return self._stop is not None

    def _on_command(self, data: bytes) -> None:
        if self._gate.inform_only:
            self._publisher.publish(data)
        scale = self._speed(self.parameters)
        try:
            command = self._checked(data)
            if scale is None:
                self.tally.dropped += 1
                return
            if scale < 1.0:
                command = self._kind.scaled(command, scale)
            # A robot that could not be stopped is not set in motion, nor kept in it.
            self._make_stop(command)
        except CommandError as error:
            self.tally.refused += 1
            # Else it would keep to the last command while none that is sound follows.
            self.stop_robot()
            would = "would refuse" if self._gate.inform_only else "refused"
            self._report(f"{would} a command on '{self.parameters.input}': {error}")
            return
        self.tally.passed += 1
        self._clear()
        self._last = command
        if not self._gate.inform_only:
            self._publisher.publish(data if scale == 1.0 else command)
            self._end_stop()

    def _checked(self, data: bytes) -> Any:
        try:
            command = deserialize_message(data, self._kind.message)
        except Exception as error:
            # The middleware's error has no public name, and there is none that may end the gate.
            raise CommandError(f"it cannot be read: {error}") from error
        check_numbers(self._kind, command)
        return command

    def _make_stop(self, last: Any) -> stop.Stop | None:
        """The safe commands after this one; None if there shall be none.

        Raises:
            CommandError: they cannot be made.
        """
        wanted, limits = self.parameters.safe_command, self.parameters.max_deceleration
        if wanted == "nothing":
            return None
        if wanted == "zero":
            made = stop.zero(self._kind, last)
        elif self._joints is None or not self.parameters.measures_joints:
            made = stop.decelerate(self._kind, last, limits)
        else:
            motion = self._joints.motion(self._kind.joints(last, self.parameters.joint_names))
            period = 1.0 / self._gate.safe_command_rate
            if wanted == "hold":
                made = stop.hold(self._kind, last, motion, period)
            else:
                made = stop.decelerate_measured(self._kind, last, motion, limits[0], period)
        if made.settled > LONGEST_STOP:
            raise CommandError(
                f"it would take {made.settled:.0f} s to stop, more than {LONGEST_STOP:.0f} s, from "
                "such a speed"
            )
        check_numbers(self._kind, made.command(0.0))
        return made

    def _send_safe_command(self) -> None:
        since = time.monotonic() - self._stopping_since
        if self._stop is None or since > self._stop.settled + self._gate.safe_command_duration:
            self._end_stop()
            return
        stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self._kind.stamped(self._stop.command(since), stamp))

    def _end_stop(self) -> None:
        if self._stop is not None:
            self._stop = None
            self._safe_command_timer.cancel()

    def _report(self, fault: str) -> None:
        """Log and show a fault, once as long as it stays the same."""
        self._faulty_at = time.monotonic()
        if fault != self.fault:
            self.fault = fault
            self._node.get_logger().error(fault)
            self._changed()

    def _clear(self) -> None:
        if self.fault and time.monotonic() - self._faulty_at > SHOWN:
            self.fault = ""
            self._changed()

    def _on_unreachable(self, policy: str) -> None:
        self._report(
            f"a publisher on '{self.parameters.input}' offers less {policy} than the gate asks "
            "for: none of its commands will come. Make it reliable, or set the gate's parameter "
            f"'qos_overrides.{self._topic(self.parameters.input)}.subscription.reliability' to "
            "best_effort"
        )

    def _on_unheard(self, policy: str) -> None:
        self._report(
            f"a subscription to '{self.parameters.output}' asks for more {policy} than the gate "
            "offers: no command will reach it. Make it volatile"
        )

    def _topic(self, name: str) -> str:
        topic: str = self._node.resolve_topic_name(name)
        return topic
