# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One topic of commands: which commands pass, and how the robot is stopped when none may."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
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
"""A queue short enough that no command is old, long enough that a hiccup loses none."""

MAX_STOP_DURATION = 60.0
"""Seconds. A command that would take longer to stop has no speed of a robot: it is an error."""

MIN_FAULT_DURATION = 1.0
"""Seconds for which a fault is shown at least."""


@dataclass
class Tally:
    """Numbers of commands since the start.

    Attributes:
        passed: commands that were let through.
        dropped: commands that came while the gate was closed.
        rejected: commands with a fault of their own, whether or not the gate was open.
    """

    passed: int = 0
    dropped: int = 0
    rejected: int = 0


class GatedCommand:
    """One topic of commands. They pass as they came, byte for byte, unless they must be slowed."""

    def __init__(
        self,
        node: Node,
        gate: GateParameters,
        command: CommandParameters,
        *,
        joints: MeasuredJoints | None,
        permitted_scale: Callable[[CommandParameters], float | None],
        changed: Callable[[], object],
    ) -> None:
        """Create the publisher and the subscription.

        Args:
            node: the gate.
            gate: parameters of the gate.
            command: parameters of this topic.
            joints: measured joints, for safe commands that need them.
            permitted_scale: returns the speed scale at which a command may pass now; None if it
                may not pass.
            changed: called when `fault` changes.

        Raises:
            UsageError: a quality of service is overridden by one that does not exist.
        """
        self.parameters = command
        self.tally = Tally()
        self.fault = ""
        """Fault of a command or safe command; empty once commands pass again."""
        self._node = node
        self._gate = gate
        self._kind = COMMAND_TYPES[command.type]
        self._joints = joints
        self._permitted_scale = permitted_scale
        self._changed = changed
        self._fault_time = 0.0
        self._last: Any = None
        self._stop: stop.Stop | None = None
        self._stopping_since = 0.0
        self._safe_command_timer = node.create_timer(
            1.0 / gate.safe_command_rate,
            self._send_safe_command,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._safe_command_timer.cancel()
        try:
            self._publisher = self._make_publisher()
            self._subscribe()
        except RuntimeError as error:
            # rclpy raises this for a quality of service that does not exist.
            raise UsageError(
                f"{node.get_name()}: the topics of '{command.name}': {error}"
            ) from error

    def _make_publisher(self) -> Publisher:
        return self._node.create_publisher(
            self._kind.message,
            self.parameters.output,
            COMMAND_QOS,
            event_callbacks=publisher_events(self._on_incompatible_subscription),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _subscribe(self) -> None:
        self._node.create_subscription(
            self._kind.message,
            self.parameters.input,
            self._on_command,
            COMMAND_QOS,
            event_callbacks=subscription_events(self._on_incompatible_publisher),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            raw=True,
        )

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
        scale = self._permitted_scale(self.parameters)
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
            self.tally.rejected += 1
            # Otherwise it would follow the last command until a valid one comes.
            self.stop_robot()
            verb = "would reject" if self._gate.inform_only else "rejected"
            self._report(f"{verb} a command on '{self.parameters.input}': {error}")
            return
        self.tally.passed += 1
        self._clear_fault()
        self._last = command
        if not self._gate.inform_only:
            self._publisher.publish(data if scale == 1.0 else command)
            self._end_stop()

    def _checked(self, data: bytes) -> Any:
        try:
            command = deserialize_message(data, self._kind.message)
        except Exception as error:
            # The middleware's error has no public name, and no error may end the gate.
            raise CommandError(f"it cannot be read: {error}") from error
        check_numbers(self._kind, command)
        return command

    def _make_stop(self, last: Any) -> stop.Stop | None:
        """Return the safe commands after a command; None if the safe command is nothing.

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
        if made.settled > MAX_STOP_DURATION:
            raise CommandError(
                f"it would take {made.settled:.0f} s to stop, more than "
                f"{MAX_STOP_DURATION:.0f} s, from such a speed"
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
        self._fault_time = time.monotonic()
        if fault != self.fault:
            self.fault = fault
            self._node.get_logger().error(fault)
            self._changed()

    def _clear_fault(self) -> None:
        if self.fault and time.monotonic() - self._fault_time > MIN_FAULT_DURATION:
            self.fault = ""
            self._changed()

    def _on_incompatible_publisher(self, policy: str) -> None:
        self._report(
            f"a publisher on '{self.parameters.input}' offers less {policy} than the gate asks "
            "for: none of its commands will come. Make it reliable, or set the gate's parameter "
            f"'qos_overrides.{self._topic(self.parameters.input)}.subscription.reliability' to "
            "best_effort"
        )

    def _on_incompatible_subscription(self, policy: str) -> None:
        self._report(
            f"a subscription to '{self.parameters.output}' asks for more {policy} than the gate "
            "offers: no command will reach it. Make it volatile"
        )

    def _topic(self, name: str) -> str:
        topic: str = self._node.resolve_topic_name(name)
        return topic
