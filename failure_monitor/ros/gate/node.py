# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The gate node: passes commands only while the monitor's permit is fresh.

It depends on nothing but the permit and imports nothing heavy. If the monitor dies, hangs, loses
its inputs or its machine, no permit comes, and the gate closes.
"""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool

from failure_monitor.parameters.gate import CommandParameters, GateParameters
from failure_monitor.parameters.parameter import without_effect
from failure_monitor.ros.common.incompatible_qos import no_publisher_events
from failure_monitor.ros.common.intervention_input import InterventionInput
from failure_monitor.ros.common.parameter_server import ParameterServer
from failure_monitor.ros.common.qos import LATCHED_QOS
from failure_monitor.ros.common.qos_overrides import check_overrides
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.common.time_guard import TimeGuard
from failure_monitor.ros.gate.gated_command import GatedCommand
from failure_monitor.ros.gate.inputs import PermitInput, SpeedScaleInput
from failure_monitor.ros.gate.measured_joints import MeasuredJoints
from failure_monitor.ros.gate.parameters import load_gate_parameters
from failure_monitor.ros.gate.status import GateStatus, status_message

DIAGNOSTICS_PERIOD = 1.0
"""Seconds, as diagnostic tools expect."""

REPETITION_PERIOD = 0.2
"""Seconds after which a new state is published again, for `DIAGNOSTICS_PERIOD`: where its message
was lost, the middleware would send it again only after seconds."""

MAX_END = 3.0
"""Seconds for which an ending gate repeats the command to stand, and for which it tries to send
one that nothing receives or that cannot be made."""

END_MARGIN = 2.5
"""Seconds before `stop_timeout` at which a ramp is cut short by the command to stand: whoever
kills the gate would otherwise leave the robot in motion."""


class GateNode(Node):
    """Passes commands while every permit lasts, and stops the robot otherwise."""

    def __init__(self) -> None:
        super().__init__("failure_monitor_gate", start_parameter_services=False)
        self._settings = load_gate_parameters(self)
        self._idle_parameters: list[str] = []
        self._published: GateStatus | None = None
        self._published_open: bool | None = None
        self._changed_at = time.monotonic()
        self._ending_since: float | None = None
        self._failure = ""
        self._open_publisher = self._make_publisher(Bool, "~/open", LATCHED_QOS)
        self._state_publisher = self._make_publisher(DiagnosticStatus, "~/state", LATCHED_QOS)
        self._diagnostics_publisher = self._make_publisher(DiagnosticArray, "/diagnostics", 10)
        self._commands: list[GatedCommand] = []
        self._joints: MeasuredJoints | None = None
        self._intervened_at: float | None = None
        self._intervention = InterventionInput(
            self,
            self._settings.intervention,
            on_intervention=self._on_intervention,
            changed=self._update,
        )
        # The permit first: of two messages that wait, the executor takes that of the older
        # subscription, and a withdrawn permit must be known before the next command.
        self._permits = [
            PermitInput(self, topic, self._settings.permit_lease, changed=self._update)
            for topic in self._settings.permit_topics
        ]
        self._speed_scales = self._make_speed_scales(self._settings)
        self._commands = self._make_commands(self._settings)
        check_overrides(self, {topic for command in self._commands for topic in command.topics})
        self._idle_parameters = without_effect(self._settings, self._settings.idle)
        self._update()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD, self._tick, clock=steady)
        self.create_timer(REPETITION_PERIOD, self._repeat_new_state, clock=steady)
        TimeGuard(self)
        self._parameter_server = ParameterServer(self)

    def destroy_node(self) -> None:
        """End the parameter services with the node."""
        self._parameter_server.close()
        super().destroy_node()

    def end(self) -> bool:
        """Close for good; return whether the robot is still being stopped."""
        now = time.monotonic()
        if self._ending_since is None:
            self._ending_since = now
            self._log_what_is_left_to_a_human()
        self._update()
        if now - self._ending_since > self._settings.stop_timeout - END_MARGIN:
            for command in self._commands:
                command.stand_at_once()
        unpaid = [command for command in self._commands if command.is_stopping]
        repeat = min(self._settings.safe_command_duration, MAX_END)
        stopping = [command for command in unpaid if command.standing_time() < repeat]
        if any(command.can_stop for command in stopping):
            return True
        if stopping and now - self._ending_since < MAX_END:
            return True
        for command in stopping:
            self._log_unpaid(command)
        return False

    def fail(self, error: Exception) -> None:
        """Close, after an error of the gate's own, until the permit is granted anew."""
        self._failure = f"the gate has failed: {type(error).__name__}: {error}"
        self._update()

    def _log_what_is_left_to_a_human(self) -> None:
        for command in self._commands:
            if command.leaves_debt_to_human:
                self.get_logger().warning(
                    f"ends while a human intervenes: what moves by '{command.parameters.output}' "
                    "is theirs to stop"
                )

    def _log_unpaid(self, command: GatedCommand) -> None:
        output = command.parameters.output
        why = (
            command.fault or f"the robot was not told to stand on '{output}': {command.owed_stop}"
        )
        self.get_logger().error(f"ends although {why}")

    def _make_publisher(self, message: type, topic: str, qos: QoSProfile | int) -> Publisher:
        return self.create_publisher(message, topic, qos, event_callbacks=no_publisher_events())

    def _make_speed_scales(self, settings: GateParameters) -> list[SpeedScaleInput]:
        if not any(command.scaled for command in settings.command_groups):
            return []
        return [
            SpeedScaleInput(self, topic, settings.speed_scale_lease, changed=self._update)
            for topic in settings.speed_scale_topics
        ]

    def _make_commands(self, settings: GateParameters) -> list[GatedCommand]:
        if any(command.measures_joints for command in settings.command_groups):
            self._measured_joints()
        return [
            GatedCommand(
                self,
                settings,
                command,
                joints=self._measured_joints,
                intervenes=self._is_human_intervening,
                permitted_scale=self._permitted_scale,
                update=self._update,
                changed=self._publish_state,
            )
            for command in settings.command_groups
        ]

    def _measured_joints(self) -> MeasuredJoints:
        """Return the measured joints, which are subscribed to only where they are needed."""
        if self._joints is None:
            topic, age = self._settings.joint_states_topic, self._settings.max_joint_state_age
            self._joints = MeasuredJoints(self, topic, age)
        return self._joints

    def _is_human_intervening(self) -> bool:
        return self._intervention.holds(time.monotonic())

    def _on_intervention(self) -> None:
        self._intervened_at = time.monotonic()
        for command in self._commands:
            command.on_intervention()

    def _why_in_human_hands(self, now: float) -> str:
        """Return that a human intervenes or has not handed back; empty if neither.

        It is handed back by a reset of the monitor, which had withheld its permit until then.
        """
        since = self._intervened_at
        if since is not None and all(p.lease.was_withheld_since(since) for p in self._permits):
            self._intervened_at = None
        if reason := self._intervention.reason(now):
            return reason
        if self._intervened_at is None:
            return ""
        return (
            "a human has intervened: commands pass once the monitor withheld its permit for that "
            "and grants it anew; does its parameter 'intervention_topic' name the same topic?"
        )

    def _status(self) -> GateStatus:
        now = time.monotonic()
        closed = self._why_closed(now)
        scale = min((scale.lease.scale(now) for scale in self._speed_scales), default=1.0)
        granted = "the monitor permits" if len(self._permits) == 1 else "all monitors permit"
        return GateStatus(
            is_open=not closed,
            reason="; ".join(closed) or granted,
            scale=0.0 if closed else scale,
            is_silent=any(permit.is_silent(now) for permit in self._permits),
            inform_only=self._settings.inform_only,
        )

    def _why_closed(self, now: float) -> list[str]:
        closed = [] if self._ending_since is None else ["the gate is ending"]
        closed += [permit.reason(now) for permit in self._permits if not permit.is_open(now)]
        closed += [fault for scale in self._speed_scales if (fault := scale.lease.fault(now))]
        if closed:
            # A new permit counts for all commands: a policy may wait for an open gate to send one.
            self._failure = ""
            for command in self._commands:
                command.rejection = ""
        closed += filter(None, [self._why_in_human_hands(now), self._intervention.unheard(now)])
        # What is rejected on one topic stops all others.
        closed += filter(None, [self._failure, *(command.rejection for command in self._commands)])
        closed += [
            f"the robot is still being stopped on '{command.parameters.output}'"
            for command in self._commands
            if command.is_moving
        ]
        return closed

    def _permitted_scale(self, command: CommandParameters) -> float | None:
        """Return the speed scale at which a command may pass now; None if it may not pass."""
        self._intervention.receive_pending()
        for leased in (*self._permits, *self._speed_scales):
            leased.receive_pending()
        status = self._update()
        if not status.is_open:
            return None
        return status.scale if command.scaled else 1.0

    def _update(self) -> GateStatus:
        """Open or close if it is time to, and publish a change."""
        status = self._status()
        before, self._published = self._published, status
        if before is not None and status.text == before.text:
            return status
        if not status.is_open:
            for command in self._commands:
                command.stop_robot()
        if self._published.text != status.text:
            # The stop has changed it again, and a call of its own has published that.
            return self._published
        if status.passes != self._published_open:
            self._published_open = status.passes
            self._open_publisher.publish(Bool(data=status.passes))
        self._changed_at = time.monotonic()
        self.get_logger().info(status.text)
        self._publish_state()
        return status

    def _tick(self) -> None:
        self._update()
        self._publish_state()

    def _repeat_new_state(self) -> None:
        if time.monotonic() - self._changed_at < DIAGNOSTICS_PERIOD:
            self._state_publisher.publish(self._state())

    def _publish_state(self) -> None:
        """Publish the state on its own topic and in the diagnostics."""
        if self._published is None:
            return
        message = self._state()
        self._state_publisher.publish(message)
        array = DiagnosticArray(status=[message])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(array)

    def _state(self) -> DiagnosticStatus:
        assert self._published is not None, "the state is made when the node starts"
        faults = [self._failure, *(command.fault for command in self._commands)]
        faults += [permit.fault(time.monotonic()) for permit in self._permits]
        faults += self._intervention.problems(time.monotonic())
        return status_message(
            self._published,
            [fault for fault in faults if fault],
            self._values(time.monotonic()),
            # The full name distinguishes several gates, such as those of two arms.
            name=self.get_fully_qualified_name().removeprefix("/"),
            hardware_id=self._settings.hardware_id,
        )

    def _values(self, now: float) -> dict[str, object]:
        values: dict[str, object] = {
            permit.topic: permit.explanation(now) for permit in self._permits
        }
        for command in self._commands:
            name, tally = command.parameters.name, command.tally
            values |= {
                f"{name}.passed": tally.passed,
                f"{name}.dropped": tally.dropped,
                f"{name}.refused": tally.rejected,
                f"{name}.stopping": command.is_stopping,
                f"{name}.owed_stop": command.owed_stop,
                f"{name}.longest_stop": f"{command.longest_stop:.3f}",
            }
        if self._idle_parameters:
            values["without_effect"] = "; ".join(self._idle_parameters)
        return values


def _stop_robot(gate: Node) -> bool:
    assert isinstance(gate, GateNode)
    return gate.end()


def _close(gate: Node, error: Exception) -> None:
    assert isinstance(gate, GateNode)
    gate.fail(error)


def main() -> None:
    """Run the node; when a signal ends it, it stops the robot first."""
    run_node(GateNode, last_act=_stop_robot, on_error=_close)


if __name__ == "__main__":
    main()
