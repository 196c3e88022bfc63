# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the incident recorder."""

from __future__ import annotations

from dataclasses import dataclass, fields

from rclpy.node import Node

from failure_monitor.errors import UsageError
from failure_monitor.ros.common.parameters import declare

TOPICS = [
    "policy/embedding",
    "policy/action_chunks",
    "policy/command",
    "command",
    "command_in",
    "command_out",
    "joint_states",
    "rollout/active",
    "rollout/success",
    "rollout/task",
    "rollout/group",
    "failure_monitor/permit",
    "failure_monitor/speed_scale",
    "failure_monitor/trusted_horizon",
    "failure_monitor/normalised_scores/*",
    "failure_monitor_gate/open",
    "/tf",
    "/tf_static",
]
"""Without a camera: raw images take more memory than all else."""


@dataclass(frozen=True)
class IncidentParameters:
    """What the recorder is told to do."""

    output: str
    topics: list[str]
    alarm_topics: list[str]
    boundary_topic: str
    still_topic: str
    seconds_before: float
    seconds_after: float
    record_stale: bool
    memory_megabytes: float
    disk_megabytes: float
    least_free_megabytes: float
    hardware_id: str


def declare_parameters(node: Node) -> None:
    """Declare every parameter of the node, with its description and range; all are read-only."""
    declare(node, "output", "", "the folder that receives the bags", read_only=True)
    declare(node, "topics", TOPICS, 'what is recorded, * for any; nothing: [""]', read_only=True)
    declare(
        node,
        "alarm_topics",
        ["failure_monitor/alarm"],
        "the alarms of all monitors; a new one begins an incident",
        read_only=True,
    )
    declare(
        node,
        "boundary_topic",
        "rollout/active",
        "std_msgs/Bool, true while a rollout runs: a bag holds nothing of the one before; or empty",
        read_only=True,
    )
    declare(
        node,
        "still_topic",
        "failure_monitor/overlay/compressed",
        "an Image or CompressedImage, of which the bag's folder gets one; or empty",
        read_only=True,
    )
    declare(
        node,
        "seconds_before",
        30.0,
        "seconds before an alarm that are recorded",
        bounds=(0.0, 3600.0),
        read_only=True,
    )
    declare(
        node,
        "seconds_after",
        10.0,
        "seconds after an alarm that are recorded",
        bounds=(0.0, 3600.0),
        read_only=True,
    )
    declare(
        node,
        "record_stale",
        False,
        "whether STALE begins one as well",
        read_only=True,
    )
    declare(
        node,
        "memory_megabytes",
        256.0,
        "memory for the seconds before; as much again while an incident is written",
        bounds=(0.1, 65536.0),
        read_only=True,
    )
    declare(
        node,
        "disk_megabytes",
        4000.0,
        "what all incidents may take on disk; the oldest is removed for a new one",
        bounds=(10.0, 1e9),
        read_only=True,
    )
    declare(
        node,
        "least_free_megabytes",
        1000.0,
        "what stays free of the disk, whoever uses the rest",
        bounds=(0.0, 1e9),
        read_only=True,
    )
    declare(node, "hardware_id", "", "the robot or policy, in /diagnostics", read_only=True)


def read_parameters(node: Node) -> IncidentParameters:
    """The values of all parameters.

    Raises:
        UsageError: there is no folder to write to, or no alarm to listen to.
    """
    parameters = IncidentParameters(
        **{field.name: node.get_parameter(field.name).value for field in fields(IncidentParameters)}
    )
    if not parameters.output:
        raise UsageError(f"{node.get_name()}: the parameter 'output' is empty: name a folder")
    if not any(parameters.alarm_topics):
        raise UsageError(
            f"{node.get_name()}: the parameter 'alarm_topics' is empty: name the alarm of a monitor"
        )
    return parameters
