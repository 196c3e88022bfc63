# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Declares the parameters of the gate, and checks them with the names that ROS resolves."""

from __future__ import annotations

from collections import Counter

from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.parameters.gate import GateParameters
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.topic_name import full_topic_name
from failure_monitor.ros.common.unknown_parameters import reject_unknown_parameters


def load_gate_parameters(node: Node) -> GateParameters:
    """Declare every parameter of the gate, check and return them.

    Raises:
        UsageError: they do not make sense; the message names the parameter.
    """
    parameters = load_parameters(node, GateParameters)
    if any(command.needs_joint_states for command in parameters.command_groups):
        full_topic_name(node, "joint_states_topic", parameters.joint_states_topic)
    _check_outputs(node, parameters)
    reject_unknown_parameters(node)
    return parameters


def _check_outputs(node: Node, parameters: GateParameters) -> None:
    """Reject an output that is also another command's output or any command's input."""
    inputs, outputs = set(), []
    for command in parameters.command_groups:
        inputs.add(full_topic_name(node, f"{command.name}.input", command.input))
        outputs.append(full_topic_name(node, f"{command.name}.output", command.output))
    for topic, count in Counter([*inputs, *outputs]).items():
        if count > 1:
            raise UsageError(
                f"{node.get_name()}: commands come in or go out more than once on '{topic}': "
                "every command needs an output of its own, which is no input"
            )
