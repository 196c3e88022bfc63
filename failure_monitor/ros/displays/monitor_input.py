# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the displays receive of the monitor: its alarm, its bundle and its task."""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from failure_monitor.display.state_text import StateText, silence_text, state_text
from failure_monitor.monitoring.alarm_values import AlarmReading
from failure_monitor.ros.common.alarm_message import read_alarm
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.common.qos import DISPLAY_QOS


class MonitorInput:
    """The last message of a monitor, for as long as it counts.

    A display is only as true as the last message, so its age is measured by this machine's
    monotonic clock, whatever the middleware knows of the publisher.
    """

    def __init__(self, node: Node, monitor: str, max_silence: float) -> None:
        """Subscribe.

        Args:
            node: the node that subscribes.
            monitor: the monitor's name.
            max_silence: seconds after which the last message no longer counts.
        """
        self._monitor = monitor
        self._name = node.resolve_topic_name(monitor).removeprefix("/")
        self._max_silence = max_silence
        self._reading: AlarmReading | None = None
        self._received: float | None = None
        self.bundle = ""
        """The folder of the bundle that the monitor has loaded; empty while it is unknown."""
        self.task = ""
        """The task that the monitor watches; empty while it is unknown."""
        node.create_subscription(DiagnosticStatus, f"{monitor}/alarm", self._on_alarm, DISPLAY_QOS)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def reading(self) -> AlarmReading | None:
        """Return the monitor's last message; None if it is too old, or there was none."""
        silence = self._silence()
        return None if silence is None or silence > self._max_silence else self._reading

    def text(self) -> StateText:
        """Return the monitor's state, or that it is silent."""
        reading = self.reading()
        if reading is None:
            return silence_text(self._monitor, self._silence())
        return state_text(reading)

    def problem(self) -> str:
        """Return that the monitor is silent; empty if it is not."""
        return self.text().paragraphs[0] if self.reading() is None else ""

    def _silence(self) -> float | None:
        return None if self._received is None else time.monotonic() - self._received

    def _on_alarm(self, alarm: DiagnosticStatus) -> None:
        self._reading, self._received = read_alarm(alarm), time.monotonic()

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            if status.name == f"{self._name}: scoring":
                values = read_key_values(status.values)
                self.bundle = values.get("bundle", self.bundle)
                self.task = values.get("task", self.task)
