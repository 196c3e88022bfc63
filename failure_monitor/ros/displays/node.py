# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The displays node: what the monitor publishes, drawn for RViz and other viewers.

A process of its own: drawing can delay no permit, and when the monitor dies, somebody is left to
show that. It influences no verdict.
"""

from __future__ import annotations

import sys

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from failure_monitor.parameters.displays import DisplaysParameters
from failure_monitor.ros.common.parameter_server import ParameterServer
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.common.time_guard import TimeGuard
from failure_monitor.ros.displays.displays import Displays
from failure_monitor.ros.displays.monitor_parameters import (
    reject_unknown_displays_parameters,
    use_parameters_of_monitor,
)

DIAGNOSTICS_PERIOD = 1.0
"""Seconds between two messages on /diagnostics, as diagnostic tools expect."""


class DisplaysNode(Node):
    """Draws what a monitor publishes, while somebody looks."""

    def __init__(self) -> None:
        super().__init__("failure_monitor_displays", start_parameter_services=False)
        use_parameters_of_monitor(self, sys.argv)
        self._displays = Displays(self, load_parameters(self, DisplaysParameters))
        reject_unknown_displays_parameters(self, sys.argv)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        TimeGuard(self)
        self._parameter_server = ParameterServer(self)

    def destroy_node(self) -> None:
        """End the threads with the node."""
        self._parameter_server.close()
        self._displays.stop()
        super().destroy_node()

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().removeprefix("/")
        array = DiagnosticArray(status=[self._displays.diagnose(name=name)])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def main() -> None:
    """Run the node until a signal ends it."""
    run_node(DisplaysNode)


if __name__ == "__main__":
    main()
