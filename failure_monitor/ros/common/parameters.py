# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters declared in one line each, with a description and, where there is one, a range."""

from __future__ import annotations

from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from failure_monitor.errors import UsageError

Value = TypeVar("Value", bool, int, float, str, list[str], list[float])


def declare(
    node: Node,
    name: str,
    default: Value,
    description: str,
    *,
    bounds: tuple[float, float] | None = None,
    read_only: bool = False,
) -> Value:
    """Declare a parameter and return its value.

    Args:
        node: the node that owns it.
        name: the parameter's name.
        default: its value where none is given; also fixes its type.
        description: what `ros2 param describe` prints.
        bounds: the smallest and largest value, for floats.
        read_only: whether only a launch file may set it.

    Raises:
        UsageError: the node is given a value of another type or out of bounds.
    """
    descriptor = ParameterDescriptor(description=description, read_only=read_only)
    if bounds is not None:
        low, high = bounds
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    try:
        parameter: Value | None = node.declare_parameter(name, default, descriptor).value
    except ParameterException as error:
        raise UsageError(f"{node.get_name()}: {error}") from error
    if parameter is None:
        raise UsageError(f"{node.get_name()}: the parameter '{name}' is given without a value")
    return parameter


def refuse_undeclared(node: Node, prefix: str, hint: str) -> None:
    """Refuse parameters that are given and that nobody declared: a mistyped one would do nothing.

    Args:
        node: the node that owns them, once it has declared all that begin with `prefix`.
        prefix: what the names begin with.
        hint: what there is, in words.

    Raises:
        UsageError: names the first of them.
    """
    for name in getattr(node, "_parameter_overrides", {}):
        if name.startswith(prefix) and not node.has_parameter(name):
            raise UsageError(f"{node.get_name()}: there is no parameter '{name}': {hint}")
