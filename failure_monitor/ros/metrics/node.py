# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics node: listens to monitors, and gives their figures to Prometheus.

It is a process of its own, so that whoever asks it, and however, nothing of a monitor changes.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool

from failure_monitor.atomic_file import write_atomically
from failure_monitor.parameters.metrics import MetricsParameters
from failure_monitor.ros.common.alarm_message import read_alarm
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.qos import DISPLAY_QOS, LATCHED_SUBSCRIPTION_QOS
from failure_monitor.ros.common.queue_worker import QueueWorker
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.metrics.exposition import CONTENT_TYPE, exposition
from failure_monitor.ros.metrics.loopback_server import LoopbackServer
from failure_monitor.ros.metrics.monitor_metrics import FAMILIES, MonitorMetrics

PERIOD = 0.25
"""Seconds between two makings of the text."""

MAX_AGE = 3.0
"""Seconds for which a text is given: when this node hangs, nothing is known."""

NICENESS = 5
"""By how much this process gives way, so that a flood of requests delays nobody."""

LOG_PERIOD = 60.0
"""Seconds between two errors of the file that are logged."""


class MetricsNode(Node):
    """Counts what monitors publish."""

    def __init__(self) -> None:
        super().__init__("failure_monitor_metrics")
        self._settings = settings = load_parameters(self, MetricsParameters, has_no_others=True)
        self._monitors: dict[str, MonitorMetrics] = {}
        self._text: tuple[float, bytes] | None = None
        self._server: LoopbackServer | None = None
        self._file: QueueWorker[bytes] | None = None
        self._has_written = False
        self._written = self._logged = -LOG_PERIOD
        if settings.metrics_port:
            self._server = LoopbackServer(
                settings.metrics_port, self._fresh_text, content_type=CONTENT_TYPE
            )
        if settings.metrics_file:
            self._file = QueueWorker("metrics file", self._write, on_error=self._on_error)
        for monitor in settings.monitors:
            self._listen(monitor)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self.create_timer(PERIOD, self._update, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _listen(self, monitor: str) -> None:
        name = self.resolve_topic_name(monitor)
        metrics = self._monitors[name.removeprefix("/")] = MonitorMetrics(name)
        self.create_subscription(
            Bool,
            f"{monitor}/permit",
            lambda permit: metrics.update_permit(permit.data, time.monotonic()),
            DISPLAY_QOS,
        )
        self.create_subscription(
            DiagnosticStatus,
            f"{monitor}/outcome",
            lambda outcome: metrics.update_outcome(read_key_values(outcome.values)),
            LATCHED_SUBSCRIPTION_QOS,
        )

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            monitor, _, what = status.name.partition(": ")
            if monitor not in self._monitors:
                continue
            metrics = self._monitors[monitor]
            if what == "alarm":
                metrics.update_alarm(read_alarm(status), status.hardware_id, time.monotonic())
            elif what == "scoring":
                metrics.update_scoring(read_key_values(status.values))
            elif what == "promise":
                is_known = status.level != DiagnosticStatus.STALE
                metrics.update_promise(read_key_values(status.values), is_known=is_known)

    def _update(self) -> None:
        now = time.monotonic()
        samples = (
            sample
            for metrics in self._monitors.values()
            for sample in metrics.samples(now, self._settings.max_silence)
        )
        text = exposition(FAMILIES, samples).encode()
        self._text = (now, text)
        if self._file is not None and now - self._written >= self._settings.file_period:
            self._written = now
            self._file.submit(text)

    def _fresh_text(self) -> bytes | None:
        """Return the text; called by the server's thread."""
        if self._text is None:
            return None
        made, text = self._text
        return text if time.monotonic() - made <= MAX_AGE else None

    def _write(self, text: bytes) -> None:
        """Write the file; called by its thread, which a disk may hold for ever."""
        write_atomically(Path(self._settings.metrics_file), text)
        self._has_written = True

    def _on_error(self, error: Exception) -> None:
        if time.monotonic() - self._logged >= LOG_PERIOD:
            self._logged = time.monotonic()
            self.get_logger().error(f"the metrics are not in their file: {error}")

    def destroy_node(self) -> None:
        """End the threads, and remove the file: what it says would be taken for the present."""
        if self._server is not None:
            self._server.close()
        if self._file is not None:
            self._file.stop()
            if self._has_written:
                with suppress(OSError):
                    Path(self._settings.metrics_file).unlink()
        super().destroy_node()


def main() -> None:
    """Run the node; it gives way to whatever else needs the processor."""
    os.nice(NICENESS)
    run_node(MetricsNode)


if __name__ == "__main__":
    main()
