# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The incident recorder: it records the seconds before and after an alarm in a bag.

It keeps the last seconds in memory and writes nothing until there is an alarm. It is a process of
its own, so that neither its work nor the disk delays the monitor.
"""

from __future__ import annotations

import time
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import Trigger

from failure_monitor.errors import UsageError
from failure_monitor.incidents.folder import IncidentFolder
from failure_monitor.incidents.memory import IncidentMemory, RecordedMessage
from failure_monitor.incidents.trigger import INTERVENTION, Incident, NewAlarms
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.rollout_reports import RolloutReports, RolloutStart
from failure_monitor.parameters.incident_recorder import IncidentParameters
from failure_monitor.ros.common.alarm_message import ALARM_TYPE, has_known_level, read_alarm
from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.common.time_guard import TimeGuard
from failure_monitor.ros.common.topic_name import full_topic_name
from failure_monitor.ros.recording.incident_writer import IncidentWriter, WriterState
from failure_monitor.ros.recording.raw_messages import (
    UnreadableMessageError,
    read_boundary,
    read_raw,
)
from failure_monitor.ros.recording.raw_topics import RawTopics

DISCOVERY_PERIOD = 0.5
"""Seconds between two searches for new topics."""

DIAGNOSTICS_PERIOD = 1.0
"""Seconds between two diagnostics messages, as diagnostic tools expect."""

END_PERIOD = 0.1
"""Seconds between two checks whether an incident has ended."""

DISK_TIMEOUT = 10.0
"""Seconds without progress of the writing thread after which the disk counts as hanging."""

SHUTDOWN_SECONDS = 8.0
"""Seconds within which a bag must be complete when the node ends."""

DIAGNOSTICS_TOPIC = "/diagnostics"


class IncidentRecorderNode(Node):
    """Keeps the last seconds of topics in memory, and records them when there is an alarm."""

    def __init__(self) -> None:
        super().__init__("incident_recorder")
        settings = self._settings = load_parameters(self, IncidentParameters, has_no_others=True)
        budget = round(1e6 * settings.memory_megabytes)
        self._memory = IncidentMemory(settings.seconds_before, budget)
        stale = [AlarmState.STALE] if settings.record_stale else []
        self._new_alarms = NewAlarms([AlarmState.ALARM, *stale])
        self._folder = IncidentFolder(
            Path(settings.output).expanduser(),
            budget=round(1e6 * settings.disk_megabytes),
            min_free=round(1e6 * settings.least_free_megabytes),
        )
        still_topic = full_topic_name(self, "still_topic", settings.still_topic, is_optional=True)
        self._ends_at: float | None = None
        self._gives_up_at: float | None = None
        self._number = 0
        self._reports = RolloutReports()
        self._has_report = False
        self._rollout_began = False
        self._problems: dict[str, str] = {}
        self._alarm_topics = {
            full_topic_name(self, "alarm_topics", topic)
            for topic in settings.alarm_topics
            if topic
        }
        self._boundary_topic = full_topic_name(
            self, "boundary_topic", settings.boundary_topic, is_optional=True
        )
        self._topics = RawTopics(
            self,
            [
                *settings.topics,
                *settings.alarm_topics,
                settings.format_topic,
                settings.boundary_topic,
                settings.still_topic,
                DIAGNOSTICS_TOPIC,
            ],
            self._on_message,
            period=DISCOVERY_PERIOD,
            on_latched=self._memory.latch,
            on_problem=self._on_problem,
        )
        # Twice the memory: what was kept, and as much that is received while it is written.
        self._writer = IncidentWriter(
            self._folder,
            budget=2 * budget,
            still_topic=still_topic,
            offered=self._topics.offered,
        )
        self._logged = self._writer.state
        self._diagnostics = self.create_publisher(DiagnosticArray, DIAGNOSTICS_TOPIC, 10)
        self.create_service(Trigger, "~/record", self._on_record)
        # Steady: an incident must end even if a simulated clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(END_PERIOD, self._end_if_over, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        TimeGuard(self)

    def end(self) -> bool:
        """Complete the open bag and record nothing more; return whether that needs more time."""
        now = time.monotonic()
        if self._gives_up_at is None:
            self._gives_up_at = now + SHUTDOWN_SECONDS
            self._writer.stop(0.0)
        self._log_progress(self._writer.state)
        return self._writer.is_running and now < self._gives_up_at

    # Inputs

    def _on_message(self, topic: str, message_type: str, data: bytes) -> None:
        if self._gives_up_at is not None:
            return
        now = self.get_clock().now().nanoseconds
        message = RecordedMessage(topic, message_type, time.monotonic(), now, data)
        try:
            if topic == self._boundary_topic:
                self._on_boundary(topic, message_type, data)
            alarm = None
            if topic in self._alarm_topics and message_type == ALARM_TYPE:
                alarm = read_raw(topic, message_type, data, DiagnosticStatus)
        except UnreadableMessageError as error:
            self._on_problem(topic, str(error))
            return
        self._keep(message)
        if alarm is not None:
            self._on_alarm(topic, alarm, now)

    def _keep(self, message: RecordedMessage) -> None:
        self._memory.add(message)
        if self._ends_at is not None:
            self._writer.add(message)

    def _on_boundary(self, topic: str, message_type: str, data: bytes) -> None:
        try:
            report = read_boundary(topic, message_type, data)
        except UsageError as error:
            self._on_problem(topic, str(error))
            return
        is_first, self._has_report = not self._has_report, True
        # If the first report is that a rollout runs, its start is unknown.
        if isinstance(self._reports.update(report, None), RolloutStart) and not is_first:
            self._end("the next rollout began")
            self._memory.forget()
            self._rollout_began = True

    def _on_alarm(self, topic: str, alarm: DiagnosticStatus, now: int) -> None:
        reading = read_alarm(alarm)
        if not has_known_level(alarm):
            self._on_problem(topic, f"'{topic}' has the unknown level {alarm.level!r}")
            return
        by_human = self._new_alarms.update_intervention(topic, reading.values)
        if self._new_alarms.update(topic, reading.state) or by_human:
            cause = INTERVENTION if by_human else reading.state.value
            self._begin(Incident(cause, reading.reason, topic, now, reading.values))

    def _on_record(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._gives_up_at is not None:
            response.message = "the recorder is ending"
            return response
        service = self.resolve_service_name("~/record")
        now = self.get_clock().now().nanoseconds
        self._begin(Incident("REQUEST", "somebody asked for it", service, now))
        response.success = not self._writer.state.disk
        seconds = self._settings.seconds_after
        response.message = self._writer.state.disk or f"recording for {seconds:g} s more"
        return response

    def _on_problem(self, topic: str, problem: str) -> None:
        if self._problems.get(topic) != problem:
            self._problems[topic] = problem
            self.get_logger().warning(problem)

    # Incidents

    def _begin(self, incident: Incident) -> None:
        """Start a recording, or extend the one that is running."""
        self._log_progress(self._writer.state)
        now = time.monotonic()
        if self._ends_at is None:
            self._memory.expire(now)
            self._number = self._writer.begin(
                incident,
                self._memory.snapshot(),
                now,
                whole_rollout=self._memory.is_whole if self._rollout_began else None,
            )
            self.get_logger().warning(f"incident: {incident.cause}: {incident.reason}")
        self._ends_at = now + self._settings.seconds_after

    def _end_if_over(self) -> None:
        if self._ends_at is not None and time.monotonic() >= self._ends_at:
            self._end("the time after the alarm was over")
        self._memory.expire(time.monotonic())
        self._log_progress(self._writer.state)

    def _end(self, why: str) -> None:
        if self._ends_at is not None:
            self._writer.end(why)
            self._ends_at = None

    def _log_progress(self, state: WriterState) -> None:
        """Log each new result of the writer once."""
        before, self._logged = self._logged, state
        if state.given_up == self._number:
            # The bag was given up: the next incident starts another one.
            self._ends_at = None
        if state.written > before.written:
            self.get_logger().info(f"wrote {state.last}")
        if state.lost > before.lost:
            self.get_logger().error(f"an incident was lost or incomplete: {state.loss}")
        if (state.written, state.lost, state.disk) != (before.written, before.lost, before.disk):
            self._publish_diagnostics()

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        array = DiagnosticArray(status=[self._message()])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _message(self) -> DiagnosticStatus:
        state, now = self._writer.state, time.monotonic()
        problems = self._all_problems(state, now)
        doing = "recording an incident" if self._ends_at is not None else "nothing to record"
        values = {
            "recording": "false" if self._ends_at is None else "true",
            "incidents_written": str(state.written),
            "incidents_lost": str(state.lost),
            "last_incident": state.last,
            "last_incident_seconds": f"{state.seconds:.3f}",
            "dropped_messages": str(state.dropped + self._memory.too_large),
            "held_bytes": str(self._memory.held_bytes + state.pending_bytes),
            "held_seconds": f"{self._memory.held_seconds(now):.1f}",
            "disk_bytes": str(state.used),
            "free_bytes": str(state.free),
            "topics": str(len(self._topics.subscribed)),
            "absent_topics": ", ".join(self._topics.absent),
            **{topic: state.value for topic, state in self._new_alarms.states.items()},
        }
        return DiagnosticStatus(
            level=DiagnosticStatus.WARN if problems else DiagnosticStatus.OK,
            name=f"{self.get_fully_qualified_name()[1:]}: incidents",
            message="; ".join(problems) or doing,
            hardware_id=self._settings.hardware_id,
            values=key_values(values),
        )

    def _all_problems(self, state: WriterState, now: float) -> list[str]:
        problems = [state.disk] if state.disk else []
        if now - state.answered > DISK_TIMEOUT:
            problems.append(f"the disk of '{self._folder.path}' hangs: nothing can be written")
        if state.lost:
            problems.append(
                f"{state.lost} incidents were lost or incomplete, the last: {state.loss}"
            )
        if state.dropped or self._memory.too_large:
            dropped = state.dropped + self._memory.too_large
            problems.append(
                f"{dropped} messages were dropped for lack of memory: raise 'memory_megabytes'"
            )
        if self._memory.is_short:
            problems.append(
                f"the memory holds {self._memory.held_seconds(now):.1f} s of the "
                f"{self._settings.seconds_before:g} s before: raise 'memory_megabytes', or record "
                "less"
            )
        silent = sorted(self._alarm_topics - self._topics.subscribed)
        if silent:
            problems.append(f"'{silent[0]}' has no publisher: is the monitor running?")
        return problems + list(self._problems.values())

    def destroy_node(self) -> None:
        """Complete the open bag, then end."""
        self._writer.stop(SHUTDOWN_SECONDS)
        super().destroy_node()


def _complete_bag(recorder: Node) -> bool:
    assert isinstance(recorder, IncidentRecorderNode)
    return recorder.end()


def main() -> None:
    """Run the node; when a signal ends it, it completes the open bag first."""
    run_node(IncidentRecorderNode, last_act=_complete_bag)


if __name__ == "__main__":
    main()
