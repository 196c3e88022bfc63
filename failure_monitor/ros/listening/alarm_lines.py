# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What monitors say, as lines of JSON on standard output: for programs that shall not load ROS.

{"kind": "graph", "monitors": [name, ...]}
{"kind": "alarm", "monitor": name, "state": word, "reason": words, "values": {key: value}}
{"kind": "status", "monitor": name, "name": name, "level": 0..3, "message": words,
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
from failure_monitor.ros.common.run import run_node

ALARM_SUFFIX = "/alarm"
COMPANIONS = ("failure_monitor_gate", "incident_recorder")
"""The nodes beside a monitor whose diagnostics belong to it."""

DISCOVERY_PERIOD = 0.5
"""How often, in seconds, monitors are looked for."""

ALARM_QOS = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class AlarmLines(Node):
    """Listens to monitors, those that are named or all that there are."""

    def __init__(self, monitors: list[str]) -> None:
        """Look for monitors from now on.

        Args:
            monitors: names of nodes, relative ones of this node's namespace; empty for all.
        """
        super().__init__("failure_monitor_watch")
        self._wanted = [self.resolve_topic_name(name) for name in monitors]
        self._subscriptions_of: dict[str, Subscription] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DISCOVERY_PERIOD, self._look, clock=steady)

    def _look(self) -> None:
        there = {
            name.removesuffix(ALARM_SUFFIX)
            for name, types in self.get_topic_names_and_types()
            if name.endswith(ALARM_SUFFIX) and ALARM_TYPE in types and self.count_publishers(name)
        }
        for monitor in self._wanted or sorted(there):
            if monitor not in self._subscriptions_of:
                self._subscribe(monitor)
        _say(kind="graph", monitors=sorted(there))

    def _subscribe(self, monitor: str) -> None:
        def hear(alarm: DiagnosticStatus) -> None:
            reading = read_alarm(alarm)
            _say(
                kind="alarm",
                monitor=monitor,
                state=reading.state.value,
                reason=reading.reason,
                values=reading.values,
            )

        self._subscriptions_of[monitor] = self.create_subscription(
            DiagnosticStatus, f"{monitor}{ALARM_SUFFIX}", hear, ALARM_QOS
        )

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            for monitor in self._subscriptions_of:
                if _belongs(status.name, monitor):
                    _say(
                        kind="status",
                        monitor=monitor,
                        name=status.name,
                        level=status.level[0],
                        message=status.message,
                        values=read_key_values(status.values),
                    )


def _belongs(status: str, monitor: str) -> bool:
    """Whether a status is a monitor's, other than its alarm, or of a node beside it."""
    node, _, what = status.partition(":")
    own = monitor.removeprefix("/")
    if node == own:
        return what.strip() != "alarm"
    namespace, slash, _ = own.rpartition("/")
    return node in {f"{namespace}{slash}{name}" for name in COMPANIONS}


def _say(**what: Any) -> None:
    # One write a line, at once: who reads does so live.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the node."""
    monitors = remove_ros_args(sys.argv)[1:]
    try:
        run_node(lambda: AlarmLines(monitors))
    except BrokenPipeError:
        # Who reads has gone; nothing shall complain that nothing can be flushed.
        sys.stdout = None  # type: ignore[assignment]


if __name__ == "__main__":
    main()
