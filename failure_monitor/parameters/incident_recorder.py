# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the incident recorder. None can be set while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from failure_monitor.errors import UsageError
from failure_monitor.parameters.parameter import UNLIMITED, parameter
from failure_monitor.parameters.topics import (
    ACTION_CHUNKS_TOPIC,
    EMBEDDING_TOPIC,
    INTERVENTION_TOPIC,
    JOINT_STATES_TOPIC,
    LABEL_TOPIC,
    OUTCOME_TOPIC,
    PERMIT_TOPIC,
    POLICY_FORMAT_TOPIC,
    ROLLOUT_TOPIC,
    SPEED_SCALE_TOPIC,
    TOKENS_TOPIC,
    external_topic,
)

TOPICS = (
    EMBEDDING_TOPIC,
    ACTION_CHUNKS_TOPIC,
    TOKENS_TOPIC,
    external_topic("*"),
    "policy/command",
    "command",
    "command_in",
    "command_out",
    JOINT_STATES_TOPIC,
    f"*/{JOINT_STATES_TOPIC}",
    ROLLOUT_TOPIC,
    "rollout/success",
    LABEL_TOPIC,
    OUTCOME_TOPIC,
    INTERVENTION_TOPIC,
    "rollout/task",
    "rollout/group",
    PERMIT_TOPIC,
    SPEED_SCALE_TOPIC,
    "failure_monitor/trusted_horizon",
    "failure_monitor/normalised_scores/*",
    "failure_monitor_gate/open",
    "/tf",
    "/tf_static",
)
"""What is recorded by default: no camera, as raw images take more memory than all else."""


@dataclass(frozen=True)
class IncidentParameters:
    """All parameters of the incident recorder."""

    output: str = parameter(
        "",
        "Folder that receives the bags; it is created if it does not exist. There is no default: "
        "it must be given. monitor.launch.xml sets it.",
    )
    topics: tuple[str, ...] = parameter(
        TOPICS,
        "Topics to record, of any type, besides the topics below and /diagnostics; * stands for "
        'any characters, [""] for no topic. Name your cameras here; prefer compressed images, as '
        "raw images of 640x480 at 30 Hz fill 256 MB in 10 s.",
    )
    alarm_topics: tuple[str, ...] = parameter(
        ("failure_monitor/alarm",),
        "Topics of the alarms of all monitors. Any of them that turns to ALARM starts an "
        "incident, and so does a human who takes over from the policy.",
        is_topic=True,
        is_optional=True,
    )
    format_topic: str = parameter(
        POLICY_FORMAT_TOPIC,
        "Topic on which the policy states which one it is and what its actions mean. It is "
        "recorded in any case. Empty for none.",
        is_topic=True,
        is_optional=True,
    )
    boundary_topic: str = parameter(
        ROLLOUT_TOPIC,
        "Topic that states whether a rollout runs: std_msgs/Bool, true while one does, or "
        "std_msgs/String, the name of its task, empty while none does. A bag holds nothing of the "
        "rollout before. Empty for none.",
        is_topic=True,
        is_optional=True,
    )
    still_topic: str = parameter(
        "failure_monitor/overlay/compressed",
        "Topic of Image or CompressedImage. The first image after the alarm is stored beside the "
        "bag as still.png or still.jpg. Empty for none.",
        is_topic=True,
        is_optional=True,
    )
    seconds_before: float = parameter(
        30.0, "Seconds before the alarm that are recorded.", bounds=(0.0, 3600.0)
    )
    seconds_after: float = parameter(
        10.0,
        "Seconds after the alarm that are recorded, counted again from every further alarm.",
        bounds=(0.0, 3600.0),
    )
    record_stale: bool = parameter(
        False,
        "Whether STALE starts an incident, as ALARM does: the monitor lost sight of the policy.",
    )
    memory_megabytes: float = parameter(
        256.0,
        "Megabytes of memory for the seconds before the alarm. What does not fit is dropped, the "
        "oldest first. While an incident is written, up to twice as much more is used.",
        bounds=(0.1, 65536.0),
    )
    disk_megabytes: float = parameter(
        4000.0,
        "Megabytes that all incidents may take on disk. The oldest is removed for a new one; a "
        "labelled one is never removed.",
        bounds=(10.0, UNLIMITED),
    )
    least_free_megabytes: float = parameter(
        1000.0,
        "Megabytes of the disk that are left free, whatever uses the rest.",
        bounds=(0.0, UNLIMITED),
    )
    hardware_id: str = parameter("", "Name of the robot or policy in /diagnostics.")

    def check(self) -> None:
        """Reject a recorder without a folder or without an alarm to wait for.

        Raises:
            UsageError: names the parameter.
        """
        if not self.output:
            raise UsageError("the parameter 'output' is empty: name a folder")
        if not any(self.alarm_topics):
            raise UsageError(
                "the parameter 'alarm_topics' is empty: name the alarm topic of a monitor"
            )
