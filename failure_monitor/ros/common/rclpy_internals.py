# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The only place that uses names which rclpy does not publish, each with its reason.

A version of rclpy without such a name must have no worse effect than the one described beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from rclpy.node import Node
from rclpy.parameter import Parameter


def given_parameters(node: Node) -> Mapping[str, Parameter]:
    """Return the parameters that a node was started with, declared or not, by name.

    rclpy publishes only those that are declared, and a mistyped one must be rejected. Without the
    attribute the result is empty, and mistyped names have no effect.
    """
    given: Mapping[str, Parameter] = getattr(node, "_parameter_overrides", {})
    return given
