# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the monitor node."""

from __future__ import annotations

from dataclasses import dataclass, fields

from rclpy.node import Node

from failure_monitor.ros.parameters import declare
from failure_monitor.ros.tap import ACTION_CHUNKS_TOPIC, EMBEDDING_TOPIC


@dataclass(frozen=True)
class MonitorParameters:
    """What the node is told to do; read when it is configured."""

    bundle: str
    task: str
    embedding_topic: str
    action_chunks_topic: str
    joint_states_topic: str
    max_decision_age: float
    max_joint_state_age: float
    heartbeat_period: float
    hardware_id: str
    autostart: bool


def declare_parameters(node: Node) -> None:
    """Declare every parameter of the node, with its description and range."""
    declare(node, "bundle", "", "the folder that `failure-monitor calibrate` wrote")
    declare(node, "task", "", "the task that is run, for a bundle of several; read on configuring")
    declare(node, "embedding_topic", EMBEDDING_TOPIC, "the policy's observation embeddings")
    declare(node, "action_chunks_topic", ACTION_CHUNKS_TOPIC, "the policy's sampled action chunks")
    declare(node, "joint_states_topic", "joint_states", "the robot's joint states")
    declare(
        node,
        "max_decision_age",
        1.0,
        "seconds after which the last verdict no longer permits anything",
        bounds=(0.01, 60.0),
    )
    declare(
        node,
        "max_joint_state_age",
        0.5,
        "seconds after which joint states count as lost; 0 for a robot without joints",
        bounds=(0.0, 60.0),
    )
    declare(
        node,
        "heartbeat_period",
        0.05,
        "seconds between two messages on ~/permit and ~/alarm",
        bounds=(0.005, 1.0),
        read_only=True,
    )
    declare(node, "hardware_id", "", "the robot or policy, as diagnostics name it")
    declare(
        node,
        "autostart",
        True,
        "configure and activate without being told to by a lifecycle manager",
        read_only=True,
    )


def read_parameters(node: Node) -> MonitorParameters:
    """The values of all parameters."""
    return MonitorParameters(
        **{field.name: node.get_parameter(field.name).value for field in fields(MonitorParameters)}
    )
