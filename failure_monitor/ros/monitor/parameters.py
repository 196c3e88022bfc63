# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of the monitor's parameters while it runs, and those that it no longer has."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from rclpy.parameter import Parameter

from failure_monitor.parameters.displays import (
    MARKERS,
    OVERLAY,
    MarkerParameters,
    OverlayParameters,
)
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.parameters.parameter import names_of
from failure_monitor.ros.common.parameters import check_parameters, from_ros
from failure_monitor.ros.common.rclpy_internals import given_parameters

DISPLAYED = (
    *(f"{MARKERS}{name}" for name in names_of(MarkerParameters)),
    *(f"{OVERLAY}{name}" for name in names_of(OverlayParameters)),
)
"""Parameters of what is displayed, which may be given to the monitor: the displays node reads them
there."""


def report_displayed_parameters(node: Node) -> None:
    """Log which of the given parameters have an effect only through the displays node."""
    displayed = [name for name in given_parameters(node) if name in DISPLAYED]
    if displayed:
        node.get_logger().info(
            f"{', '.join(displayed)}: the displays node reads these; monitor.launch.xml starts it "
            "with rviz:=true or displays:=true"
        )


def changed_parameters(
    node: Node, settings: MonitorParameters, changes: Sequence[Parameter], *, is_configured: bool
) -> MonitorParameters:
    """Return the settings with changes, if they make sense and may be made now.

    Raises:
        UsageError: a parameter cannot be set now, or not to this value.
    """
    values = {change.name: from_ros(change.value) for change in changes}
    changed = settings.changed(values, is_configured=is_configured)
    check_parameters(node, changed)
    return changed
