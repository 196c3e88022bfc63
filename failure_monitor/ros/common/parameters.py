# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Declares the parameters of a dataclass on a node, and reads and checks them.

What the dataclasses are made of is in failure_monitor/parameters/parameter.py.
"""

from __future__ import annotations

from array import array
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import (
    Settable,
    Specification,
    build,
    check,
    items,
    without_effect,
)
from failure_monitor.ros.common.rclpy_internals import given_parameters
from failure_monitor.ros.common.topic_name import full_topic_name
from failure_monitor.ros.common.unknown_parameters import reject_unknown_parameters

P = TypeVar("P")


def declare_parameters(node: Node, kind: type[P], *, prefix: str = "") -> P:
    """Declare the parameters of a dataclass on a node and return their values, unchecked.

    Raises:
        UsageError: a value has another type or is out of bounds; the message names the node.
    """
    try:
        return build(kind, lambda name, about: _declare(node, name, about), prefix=prefix)
    except (ParameterException, UsageError) as error:
        raise UsageError(f"{node.get_name()}: {error}{_remedy(str(error))}") from error


def _remedy(error: str) -> str:
    """Return what to do about a value that YAML takes for one of another type."""
    if "expecting type 'STRING'" in error:
        return ": write it in quotes of YAML, such as -p \"name:='0483'\""
    if "'INTEGER', expecting type 'DOUBLE'" in error:
        return ": write it with a decimal point"
    return ""


def load_parameters(
    node: Node, kind: type[P], *, prefix: str = "", has_no_others: bool = False
) -> P:
    """Declare the parameters of a dataclass on a node, check and return their values.

    Those that were given and have no effect beside the others, by the property `idle` of the
    dataclass, are logged.

    Args:
        node: the node.
        kind: the dataclass.
        prefix: what the names of the parameters begin with.
        has_no_others: whether these are all that the node has. What else it was given is then
            rejected first: a value that must be given may stand under a mistyped name.

    Raises:
        UsageError: they do not make sense; the message names the node and the parameter.
    """
    parameters = declare_parameters(node, kind, prefix=prefix)
    if has_no_others:
        reject_unknown_parameters(node)
    try:
        check_parameters(node, parameters, prefix=prefix)
    except UsageError as error:
        raise UsageError(f"{node.get_name()}: {error}") from error
    for sentence in without_effect(parameters, getattr(parameters, "idle", {}), prefix=prefix):
        node.get_logger().warning(sentence)
    return parameters


def read_parameters(node: Node, kind: type[P]) -> P:
    """Return the present values of parameters that are declared, unchecked."""
    return build(kind, lambda name, _: from_ros(node.get_parameter(name).value))


def check_parameters(node: Node, parameters: Any, *, prefix: str = "") -> None:
    """Reject values that do not make sense, and topics with impossible names.

    Raises:
        UsageError: names the parameter.
    """
    check(parameters, prefix=prefix)
    for name, about, value in items(parameters, prefix=prefix):
        if about.is_topic:
            for topic in (value,) if isinstance(value, str) else value:
                full_topic_name(node, name, topic, is_optional=about.is_optional)


def reject_unknown_under(node: Node, prefix: str, known: str) -> None:
    """Reject parameters that are given under a prefix and that are not declared.

    Args:
        node: the node, with its parameters declared.
        prefix: what their names begin with.
        known: which there are, as text.

    Raises:
        UsageError: names the first of them.
    """
    for name in given_parameters(node):
        if name.startswith(prefix) and not node.has_parameter(name):
            raise UsageError(f"{node.get_name()}: there is no parameter '{name}': {known}")


def from_ros(value: Any) -> Any:
    """Return the value of a parameter as a dataclass holds it: lists as tuples."""
    return tuple(value) if isinstance(value, list | array) else value


def _declare(node: Node, name: str, about: Specification) -> Any:
    default = list(about.default) if isinstance(about.default, tuple) else about.default
    value = node.declare_parameter(name, default, _descriptor(about)).value
    if value is None:
        empty = "; for an empty list write ['']" if isinstance(default, list) else ""
        raise UsageError(f"the parameter '{name}' is given without a value{empty}")
    return from_ros(value)


def _descriptor(about: Specification) -> ParameterDescriptor:
    """Return what `ros2 param describe` prints."""
    descriptor = ParameterDescriptor(
        description=about.text,
        read_only=about.settable is Settable.AT_START,
        additional_constraints=_constraints(about),
    )
    if about.bounds is not None:
        low, high = about.bounds
        if isinstance(about.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        else:
            whole = IntegerRange(from_value=int(low), to_value=int(high), step=1)
            descriptor.integer_range = [whole]
    return descriptor


def _constraints(about: Specification) -> str:
    if about.settable is Settable.AT_START:
        return ""
    return f"can be set {about.settable.value}"
