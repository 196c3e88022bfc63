# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters that files give to the monitor, for the displays node.

The displays were once a part of the monitor's node, so that files name its parameters `markers.*`
and `overlay.*` below the monitor's name. What a file gives to the displays node itself counts
more.
"""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from rclpy.parameter import Parameter

from failure_monitor.parameters.displays import (
    MARKERS,
    OVERLAY,
    DisplaysParameters,
    MarkerParameters,
    OverlayParameters,
)
from failure_monitor.parameters.parameter import names_of
from failure_monitor.ros.common.given_parameters import Given, given_by
from failure_monitor.ros.common.rclpy_internals import add_given_parameters, given_parameters
from failure_monitor.ros.common.unknown_parameters import reject_unknown_parameters

OWN = {
    *names_of(DisplaysParameters),
    *(f"{MARKERS}{name}" for name in names_of(MarkerParameters)),
    *(f"{OVERLAY}{name}" for name in names_of(OverlayParameters)),
}
"""Names of the displays node's parameters."""


def use_parameters_of_monitor(node: Node, arguments: Sequence[str]) -> None:
    """Use what parameter files give to the monitor and this node has, too.

    Args:
        node: the displays node, before its parameters are declared.
        arguments: of the process.
    """
    found = {
        name: Parameter(name, value=value)
        for given in _given_to_monitor(node, arguments)
        for name, value in zip(given.names, given.values, strict=True)
        if name in OWN
    }
    add_given_parameters(node, found.values())


def reject_unknown_displays_parameters(node: Node, arguments: Sequence[str]) -> None:
    """Reject parameters that the displays node does not have; the monitor checks its own.

    Raises:
        UsageError: names the first of them.
    """
    of_monitor = [
        name
        for given in _given_to_monitor(node, arguments)
        for name in given.names
        if not name.startswith((MARKERS, OVERLAY))
    ]
    reject_unknown_parameters(
        node, also_known=of_monitor, also_read=_monitor(node), arguments=arguments
    )


def _given_to_monitor(node: Node, arguments: Sequence[str]) -> list[Given]:
    monitor = _monitor(node)
    return [given for given in given_by(arguments) if given.file and given.is_for(monitor)]


def _monitor(node: Node) -> str:
    """Return the full name of the monitor whose displays a node draws."""
    given = given_parameters(node).get("monitor")
    name = DisplaysParameters.monitor if given is None else str(given.value)
    return str(node.resolve_topic_name(name))
