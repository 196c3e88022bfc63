# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One topic of commands: which commands pass, and how the robot is stopped when none may."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message, serialize_message

from failure_monitor.errors import UsageError
from failure_monitor.monitoring.handover import Handover
from failure_monitor.monitoring.stop_debt import CommandError, Moved, Stop, StopDebts
from failure_monitor.monitoring.waiting_time import WaitingTime
from failure_monitor.parameters.gate import CommandParameters, GateParameters
from failure_monitor.ros.commands import COMMAND_TYPES, stop
from failure_monitor.ros.commands.command_type import ALL_AXES, check_numbers
from failure_monitor.ros.common.incompatible_qos import publisher_events, subscription_events
from failure_monitor.ros.common.message_info import MessageInfo, source_stamp, with_info
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
        joints: Callable[[], MeasuredJoints],
        intervenes: Callable[[], bool],
        permitted_scale: Callable[[CommandParameters], float | None],
        update: Callable[[], object],
        changed: Callable[[], object],
    ) -> None:
        """Create the publisher and the subscription.

        Args:
            node: the gate.
            gate: parameters of the gate.
            command: parameters of this topic.
            joints: returns the measured joints; called only where they are needed.
            intervenes: returns whether a human intervenes at this moment.
            permitted_scale: returns the speed scale at which a command may pass now; None if it
                may not pass.
            update: called when `rejection` or `is_moving` changes, which may open or close the
                gate.
            changed: called when `fault` changes.

        Raises:
            UsageError: a quality of service is overridden by one that does not exist.
        """
        self.parameters = command
        self.tally = Tally()
        self.longest_stop = 0.0
        """Seconds that the longest ramp would have taken, for all commands so far."""
        self.rejection = ""
        """Why the last command was rejected; empty once a valid one has come."""
        self._node = node
        self._gate = gate
        self._kind = COMMAND_TYPES[command.type]
        self._joints = joints
        self._intervenes = intervenes
        self._handover = Handover(command.handover_tolerance)
        self._is_in_human_hands = self._was_in_human_hands = False
        self._permitted_scale = permitted_scale
        self._update = update
        self._changed = changed
        self._waiting_time = WaitingTime()
        self._fault = ""
        self._fault_time = 0.0
        self._debt_problem = ""
        self._has_time = True
        self._debts: StopDebts[Any] = StopDebts(self._make_owed_stop, gate.safe_command_duration)
        self._safe_command_timer = node.create_timer(
            1.0 / gate.safe_command_rate,
            self._send_safe_commands,
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
        self.stops_unknown = self._owe_unknown_stop()
        """Whether it can stop what an earlier gate may have set in motion."""

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
            with_info(self._on_command),
            COMMAND_QOS,
            event_callbacks=subscription_events(self._on_incompatible_publisher),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            raw=True,
        )

    @property
    def topics(self) -> tuple[str, str]:
        """The full names of its topics, as they are called after remappings."""
        return self._topic(self.parameters.input), self._topic(self.parameters.output)

    # Stopping

    def stop_robot(self) -> None:
        """Stop all that a command has moved since it was last told to stand.

        Where it yields to a human, nothing is sent: the stop is still owed, and paid when they
        let go. A ramp that goes on when they let go ends there.
        """
        if self._yields:
            self._debts.suspend()
            self._report_debt()
            return
        if self._is_in_human_hands and not self._intervenes():
            self._is_in_human_hands, self._was_in_human_hands = False, True
            # However short it was: what goes on was made for a motion that they have changed.
            self._debts.remake_stops()
        self._debts.close(time.monotonic())
        if self._debts.is_due:
            self._send_safe_commands()

    def on_intervention(self) -> None:
        """Note that a human intervenes: where the robot is by then, its commands do not know."""
        self._is_in_human_hands = True
        self._handover.begin()
        if self._handover.is_awaited and self.parameters.commands_positions:
            # From now on: a subscription takes a moment until it receives something.
            self._joints()

    @property
    def _yields(self) -> bool:
        return self.parameters.at_intervention == "yield" and self._intervenes()

    @property
    def leaves_debt_to_human(self) -> bool:
        """Whether a stop is owed to what a human drives at this moment."""
        return self._yields and bool(self._debts.moved)

    def stand_at_once(self) -> None:
        """End a ramp of velocities now: there is no time left for it.

        A trajectory that comes to rest needs no gate any more.
        """
        if self._has_time and not self.parameters.measures_joints:
            self._has_time = False
            self._debts.remake_stops()
            self._send_safe_commands()

    @property
    def is_stopping(self) -> bool:
        """Whether safe commands are sent, or owed."""
        return self._debts.is_due

    @property
    def is_moving(self) -> bool:
        """Whether something that has to stop was not told to stand yet: then no command passes."""
        return self._debts.is_moving

    def standing_time(self) -> float:
        """Return the seconds since all that has to stop was told to stand; 0 if it was not."""
        return self._debts.standing_time(time.monotonic())

    @property
    def can_stop(self) -> bool:
        """Whether safe commands that are due are being sent, and something receives them."""
        return self._debts.is_payable and self._publisher.get_subscription_count() > 0

    @property
    def owed_stop(self) -> str:
        """What the gate owes to the robot when it closes, for its state."""
        if self._gate.inform_only:
            return "none, as the gate only informs"
        if self.parameters.safe_command == "nothing":
            return "none: safe_command is nothing, so the robot must stop when commands cease"
        if self.leaves_debt_to_human:
            return f"{self.parameters.safe_command}, once the human who intervenes lets go"
        if not self.stops_unknown:
            return (
                f"{self.parameters.safe_command}; not for what moved before the gate was started, "
                f"as '{self.parameters.name}.joints' names no joints"
            )
        if self._debts.assumed_problem:
            return (
                f"{self.parameters.safe_command}; for what moved before the gate was started, it "
                f"{self._debts.assumed_problem}"
            )
        return self.parameters.safe_command

    @property
    def fault(self) -> str:
        """What must be mended; empty if nothing must."""
        return self._debt_problem or self._fault

    def _owe_unknown_stop(self) -> bool:
        """Owe a stop to what an earlier gate, which was killed, may have set in motion."""
        if self._gate.inform_only or self.parameters.safe_command == "nothing":
            return True
        command = self._kind.unknown(self.parameters.joint_names)
        if command is None:
            return False
        self._debts.add(command, self._kind.axes(command), is_assumed=True)
        return True

    def _send_safe_commands(self) -> None:
        was_moving = self.is_moving
        try:
            self._debts.pay(time.monotonic(), self._publish_safe_command)
        finally:
            if not self._debts.is_due:
                self._safe_command_timer.cancel()
            elif self._safe_command_timer.is_canceled():
                self._safe_command_timer.reset()
        if was_moving and not self.is_moving:
            self._update()
        self._report_debt()

    def _publish_safe_command(self, command: Any) -> bool:
        stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(self._kind.stamped(command, stamp))
        return self._publisher.get_subscription_count() > 0

    def _report_debt(self) -> None:
        """Log and show why the robot cannot be stopped, or that it can be again."""
        problem = self._debts.problem
        if problem:
            problem = f"'{self.parameters.output}' {problem}; it is tried again and again"
        if problem == self._debt_problem:
            return
        self._debt_problem = problem
        if problem:
            self._node.get_logger().error(problem)
        self._changed()

    def _make_owed_stop(self, moved: Moved[Any], due: float, now: float) -> Stop[Any]:
        """Return the safe commands that are owed.

        After a human, a ramp from the last command would ask for a speed that they have ended.
        """
        if self._was_in_human_hands and not self.parameters.measures_joints:
            last = self._kind.only(moved.command, moved.axes)
            return stop.zero(self._kind, last, now)
        return self._make_stop(moved, due, now)

    def _make_stop(self, moved: Moved[Any], due: float, now: float) -> Stop[Any]:
        """Return the safe commands for what was moved.

        Raises:
            CommandError: they cannot be made.
        """
        last = self._kind.only(moved.command, moved.axes)
        wanted, limits = self.parameters.safe_command, self.parameters.max_deceleration
        if wanted == "zero" or not self._has_time:
            made = stop.zero(self._kind, last, now)
        elif not self.parameters.measures_joints:
            made = stop.decelerate(self._kind, last, limits, due)
        else:
            motion = self._joints().motion(self._kind.joints(last, self.parameters.joint_names))
            period = 1.0 / self._gate.safe_command_rate
            if wanted == "hold":
                made = stop.hold(self._kind, last, motion, now, period)
            else:
                made = stop.decelerate_measured(self._kind, last, motion, limits[0], now, period)
        if made.settled - now > MAX_STOP_DURATION:
            raise CommandError(
                f"it would take {made.settled - now:.0f} s to stop, more than "
                f"{MAX_STOP_DURATION:.0f} s, from such a speed"
            )
        check_numbers(self._kind, made.command(now))
        self.longest_stop = max(self.longest_stop, made.settled - now)
        return made

    # Passing

    def _on_command(self, data: bytes, info: MessageInfo) -> None:
        read_at = time.monotonic()
        waited = self._waiting_time.update(source_stamp(info), read_at)
        if self._gate.inform_only:
            self._publisher.publish(data)
        try:
            command = self._checked(data)
            self._check_wait(waited)
            self._check_stop(command)
            if self.rejection and not self._intervenes():
                # First: the gate would open for a moment for what is rejected again.
                self._check_handover(command)
            # It clears a rejection of the one before, which keeps the gate closed.
            self.rejection = ""
            ready = self._permitted(command, data)
            if ready is None:
                self.tally.dropped += 1
                return
            self._check_wait(waited + time.monotonic() - read_at)
            self._check_handover(ready[0])
        except CommandError as error:
            self._reject(error)
            return
        self.tally.passed += 1
        self._handover.meet(self._compared(ready[0]))
        self._clear_fault()
        self._pass(*ready)

    def _permitted(self, command: Any, data: bytes) -> tuple[Any, bytes] | None:
        """Return the command that may pass now and its bytes; None if it may not pass.

        What takes time is done before the permit is looked at for the last time.

        Raises:
            CommandError: it cannot be slowed, or what it moves could not be stopped.
        """
        scale = self._permitted_scale(self.parameters)
        while scale is not None:
            if scale < 1.0:
                slowed = self._kind.scaled(command, scale)
                ready = slowed, serialize_message(slowed)
                self._check_stop(slowed)
            else:
                ready = command, data
            used, scale = scale, self._permitted_scale(self.parameters)
            if scale is not None and scale >= used:
                return ready
        return None

    def _check_stop(self, command: Any) -> None:
        """Reject a command that could not be stopped: it sets or keeps no robot in motion."""
        if self.parameters.safe_command == "nothing":
            return
        axes, now = self._kind.axes(command), time.monotonic()
        self._debts.check(axes)
        self._check_form(command, axes)
        self._make_stop(Moved(command, axes), now, now)

    def _check_form(self, command: Any, axes: frozenset[str]) -> None:
        """Reject a command of which it is unknown whether it replaces the one before."""
        length = self._kind.length(command)
        for moved in self._debts.moved:
            before = self._kind.length(moved.command)
            if (axes == ALL_AXES) != (moved.axes == ALL_AXES):
                raise CommandError(
                    "of it and the one before, which the robot may still follow, only one names "
                    "joints: let all commands of a topic name their joints, or none"
                )
            if length != before and length and before:
                raise CommandError(
                    f"it has {length} values and the one before had {before}, which the robot may "
                    "still follow: commands of a topic must have one length"
                )

    def _check_handover(self, command: Any) -> None:
        """Reject the first command after an intervention if it lies far from the robot."""
        self._handover.check(
            self._compared(command),
            lambda names: self._joints().motion(names).positions,
            time.monotonic(),
        )

    def _compared(self, command: Any) -> Mapping[str, float]:
        """Return its positions by joint, if they are to be compared after an intervention."""
        if not self._handover.is_awaited or not self.parameters.commands_positions:
            return {}
        return self._kind.positions(command, self.parameters.joint_names)

    def _check_wait(self, seconds: float) -> None:
        limit = self._gate.max_command_age
        if seconds > limit:
            raise CommandError(
                f"it waited for {seconds:.3g} s, longer than max_command_age, {limit:g} s: this "
                "machine is overloaded, the gate was stopped, or a clock was set back"
            )

    def _pass(self, command: Any, data: bytes) -> None:
        if self._gate.inform_only:
            return
        self._was_in_human_hands = False
        if self.parameters.safe_command != "nothing":
            self._debts.add(command, self._kind.axes(command))
        self._publisher.publish(data)

    def _reject(self, error: CommandError) -> None:
        self.tally.rejected += 1
        verb = "would reject" if self._gate.inform_only else "rejected"
        reason = f"{verb} a command on '{self.parameters.input}': {error}"
        is_new, self._fault, self._fault_time = reason != self._fault, reason, time.monotonic()
        # It closes the gate: else the robot would follow the last command until a valid one comes.
        self.rejection = reason
        self._update()
        if is_new:
            self._node.get_logger().error(reason)
            self._changed()

    def _checked(self, data: bytes) -> Any:
        try:
            command = deserialize_message(data, self._kind.message)
        except Exception as error:
            # The middleware's error has no public name, and no error may end the gate.
            raise CommandError(f"it cannot be read: {error}") from error
        check_numbers(self._kind, command)
        return command

    def _report(self, fault: str) -> None:
        """Log and show a fault, once as long as it stays the same."""
        self._fault_time = time.monotonic()
        if fault != self._fault:
            self._fault = fault
            self._node.get_logger().error(fault)
            self._changed()

    def _clear_fault(self) -> None:
        if self._fault and time.monotonic() - self._fault_time > MIN_FAULT_DURATION:
            self._fault = ""
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
