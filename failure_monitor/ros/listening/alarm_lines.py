# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes what monitors report as lines of JSON to standard output, for programs without ROS.

{"kind": "graph", "monitors": [name, ...]}
{"kind": "alarm", "monitor": name, "state": name, "reason": text, "values": {key: value}}
{"kind": "status", "monitor": name, "name": name, "level": 0..3, "message": text,
 "values": {key: value}}
"""

from __future__ import annotations

import json
import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.utilities import remove_ros_args

from failure_monitor.ros.common.alarm_message import ALARM_TYPE, read_alarm
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.common.run import spin_node

ALARM_SUFFIX = "/alarm"
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
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DISCOVERY_PERIOD, self._find_monitors, clock=steady)

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
