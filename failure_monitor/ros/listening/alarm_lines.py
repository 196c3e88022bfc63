# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes what monitors report as lines of JSON to standard output, for programs without ROS.

On standard input it takes an operator's labels: {"monitor": name, "label": text} is published as
that text on the monitor's `~/label`.

{"kind": "graph", "monitors": [name, ...]}
{"kind": "alarm", "monitor": name, "state": name, "reason": text, "values": {key: value}}
{"kind": "status", "monitor": name, "name": name, "level": 0..3, "message": text,
 "values": {key: value}}
{"kind": "outcome", "monitor": name, "level": 0..3, "message": text, "values": {key: value}}
"""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.utilities import remove_ros_args
from std_msgs.msg import String

from failure_monitor.ros.common.alarm_message import ALARM_TYPE, read_alarm
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.common.qos import DECISION_QOS
from failure_monitor.ros.common.run import spin_node

ALARM_SUFFIX, OUTCOME_SUFFIX, LABEL_SUFFIX = "/alarm", "/outcome", "/label"
COMPANIONS = ("failure_monitor_gate", "failure_monitor_displays", "incident_recorder")
"""Nodes beside a monitor whose diagnostics belong to it."""

DISCOVERY_PERIOD = 0.5
"""Seconds between two searches for monitors."""

ALARM_QOS = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class AlarmLines(Node):
    """Subscribes to the monitors that are named, or to all."""

    def __init__(self, monitors: list[str]) -> None:
        """Start to search for monitors.

        Args:
            monitors: names of nodes, relative to this node's namespace; empty for all.
        """
        super().__init__("failure_monitor_watch")
        self._wanted = [self.resolve_topic_name(name) for name in monitors]
        self._subscriptions_of: dict[str, Subscription] = {}
        self._publishers_of: dict[str, Publisher] = {}
        self._labels: deque[tuple[str, str]] = deque()
        self._label_given = self.create_guard_condition(self._publish_labels)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DISCOVERY_PERIOD, self._find_monitors, clock=steady)
        threading.Thread(target=self._read_labels, daemon=True).start()

    def _find_monitors(self) -> None:
        present = {
            name.removesuffix(ALARM_SUFFIX)
            for name, types in self.get_topic_names_and_types()
            if name.endswith(ALARM_SUFFIX) and ALARM_TYPE in types and self.count_publishers(name)
        }
        for monitor in self._wanted or sorted(present):
            if monitor not in self._subscriptions_of:
                self._subscribe(monitor)
        _write_line(kind="graph", monitors=sorted(present))

    def _subscribe(self, monitor: str) -> None:
        def on_alarm(alarm: DiagnosticStatus) -> None:
            reading = read_alarm(alarm)
            _write_line(
                kind="alarm",
                monitor=monitor,
                state=reading.state.value,
                reason=reading.reason,
                values=reading.values,
            )

        self._subscriptions_of[monitor] = self.create_subscription(
            DiagnosticStatus, f"{monitor}{ALARM_SUFFIX}", on_alarm, ALARM_QOS
        )

        def on_outcome(outcome: DiagnosticStatus) -> None:
            _write_line(
                kind="outcome",
                monitor=monitor,
                level=outcome.level[0],
                message=outcome.message,
                values=read_key_values(outcome.values),
            )

        self.create_subscription(
            DiagnosticStatus, f"{monitor}{OUTCOME_SUFFIX}", on_outcome, ALARM_QOS
        )
        # From the start: a label that is given before the two know each other would be lost.
        self._publishers_of[monitor] = self.create_publisher(
            String, f"{monitor}{LABEL_SUFFIX}", DECISION_QOS
        )

    def _read_labels(self) -> None:
        """Read standard input, on a thread: it may say nothing for ever."""
        for line in sys.stdin:
            said = json.loads(line)
            self._labels.append((said["monitor"], said["label"]))
            self._label_given.trigger()

    def _publish_labels(self) -> None:
        while self._labels:
            monitor, label = self._labels.popleft()
            if monitor in self._publishers_of:
                self._publishers_of[monitor].publish(String(data=label))

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            for monitor in self._subscriptions_of:
                if _belongs_to(status.name, monitor):
                    _write_line(
                        kind="status",
                        monitor=monitor,
                        name=status.name,
                        level=status.level[0],
                        message=status.message,
                        values=read_key_values(status.values),
                    )


def _belongs_to(status: str, monitor: str) -> bool:
    """Return whether a status is the monitor's, but not its alarm, or that of a node beside it."""
    node, _, what = status.partition(":")
    own = monitor.removeprefix("/")
    if node == own:
        return what.strip() != "alarm"
    namespace, slash, _ = own.rpartition("/")
    return node in {f"{namespace}{slash}{name}" for name in COMPANIONS}


def _write_line(**what: Any) -> None:
    # One write a line, flushed at once: it is read live.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the node."""
    monitors = remove_ros_args(sys.argv)[1:]
    try:
        spin_node(lambda: AlarmLines(monitors))
    except BrokenPipeError:
        # The reader is gone; Python must not report at exit that it cannot flush.
        sys.stdout = None  # type: ignore[assignment]


if __name__ == "__main__":
    main()
