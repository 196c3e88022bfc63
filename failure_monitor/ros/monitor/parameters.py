# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the monitor node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from rclpy._rclpy_pybind11 import RCLError
from rclpy.node import Node
from rclpy.parameter import Parameter

from failure_monitor.errors import UsageError
from failure_monitor.ros.common.parameters import declare
from failure_monitor.ros.tap import ACTION_CHUNKS_TOPIC, EMBEDDING_TOPIC

AS_CALIBRATED = -1
"""For a parameter: what the bundle says."""

BOUNDARIES = ("service", "topic", "pause", "none")
"""What may tell when a rollout begins and ends."""

ROLLOUT_TOPIC_TYPES = ("std_msgs/msg/Bool", "std_msgs/msg/String")

SETTABLE = (
    "enable",
    "max_decision_age",
    "max_joint_state_age",
    "max_external_age",
    "max_stamp_lead",
    "max_stamp_age",
)
"""What takes effect at once when it is set while the node runs."""


@dataclass(frozen=True)
class MonitorParameters:
    """What the node is told to do."""

    bundle: str
    task: str
    enable: bool
    embedding_topic: str
    action_chunks_topic: str
    joint_states_topic: str
    encoder: str
    sampler: str
    image_topics: list[str]
    images_reliable: bool
    matching_tolerance: float
    observation_rate: float
    noise_seed: int
    execution_providers: list[str]
    inference_threads: int
    rollout_boundaries: str
    rollout_topic: str
    rollout_topic_type: str
    rollout_pause: float
    max_decision_age: float
    max_joint_state_age: float
    max_external_age: float
    max_stamp_lead: float
    max_stamp_age: float
    heartbeat_period: float
    hardware_id: str
    autostart: bool

    @property
    def topic_names_task(self) -> bool:
        """Whether a topic says which task a rollout is of."""
        return self.rollout_boundaries == "topic" and self.rollout_topic_type.endswith("String")

    def check(self, node: Node) -> None:
        """Refuse values that do not go together, or are none of a parameter's.

        Args:
            node: whose parameters they are.

        Raises:
            UsageError: says which, and what would do.
        """
        for name in _NAMES:
            if name.endswith("_topic"):
                _check_topic(node, name, getattr(self, name))
        for topic in filter(None, self.image_topics):
            _check_topic(node, "image_topics", topic)
        _check_choice("rollout_boundaries", self.rollout_boundaries, BOUNDARIES)
        _check_choice("rollout_topic_type", self.rollout_topic_type, ROLLOUT_TOPIC_TYPES)
        if self.rollout_boundaries == "pause" and self.rollout_pause > self.max_decision_age:
            raise UsageError(
                f"rollout_pause is {self.rollout_pause:g} s, longer than max_decision_age, "
                f"{self.max_decision_age:g} s: every end of a rollout would latch a halt; make "
                "the pause shorter, or the age larger"
            )

    def changed(
        self, node: Node, parameters: Sequence[Parameter], *, is_configured: bool
    ) -> MonitorParameters:
        """These with some set anew, if that may be done now.

        Raises:
            UsageError: says what may not be set, and when it may.
        """
        own = {p.name: p.value for p in parameters if p.name in _NAMES}
        for name in own:
            if is_configured and name not in SETTABLE:
                raise UsageError(
                    f"'{name}' takes effect when the node is configured, which it is already: "
                    "deactivate it and clean it up first, or set it at the start"
                )
        new = replace(self, **own)
        new.check(node)
        return new


_NAMES = {field.name for field in fields(MonitorParameters)}


def declare_parameters(node: Node) -> None:
    """Declare every parameter of the node, with its description and range.

    Raises:
        UsageError: the node is given a value of another type or out of bounds.
    """
    declare(node, "bundle", "", "the folder that `failure-monitor calibrate` wrote")
    declare(node, "task", "", "the task that is run, for a bundle of several")
    declare(node, "enable", True, "whether to permit anything; also by ~/enable")
    declare(node, "embedding_topic", EMBEDDING_TOPIC, "the policy's observation embeddings")
    declare(node, "action_chunks_topic", ACTION_CHUNKS_TOPIC, "the policy's sampled action chunks")
    declare(node, "joint_states_topic", "joint_states", "the robot's joint states")
    declare(
        node,
        "encoder",
        "",
        "the observation encoder as an ONNX file, run in the place of embedding_topic; empty: the "
        "bundle's, if it holds one",
    )
    declare(
        node,
        "sampler",
        "",
        "the policy sampler as an ONNX file, run in the place of action_chunks_topic; empty: the "
        "bundle's, if it holds one",
    )
    declare(
        node,
        "image_topics",
        [""],
        "the topics of the encoder's cameras, in its order; [''] for those that the bundle was "
        "calibrated on, or else of the cameras' names; a name that ends with /compressed is of "
        "CompressedImage",
    )
    declare(
        node,
        "images_reliable",
        False,
        "whether to ask for images reliably; their publishers must then offer it",
    )
    declare(
        node,
        "matching_tolerance",
        float(AS_CALIBRATED),
        "seconds by which frames and joint states of one observation may lie apart; -1 for what "
        "the bundle was calibrated with, or 0.05 if it does not say",
        bounds=(float(AS_CALIBRATED), 1.0),
    )
    declare(
        node,
        "observation_rate",
        float(AS_CALIBRATED),
        "observations per second that the encoder embeds; 0 for every frame of the first camera; "
        "-1 for what the bundle was calibrated with, or 0 if it does not say",
        bounds=(float(AS_CALIBRATED), 1000.0),
    )
    declare(
        node,
        "noise_seed",
        AS_CALIBRATED,
        "of the sampler's noise; -1 for what the bundle was calibrated with, or 0 if it does not "
        "say",
    )
    declare(
        node,
        "execution_providers",
        ["cpu"],
        "what ONNX Runtime runs encoder and sampler on, the preferred one first: cpu, cuda, "
        "tensorrt, openvino, as installed; without cpu they run on one of the others or not at all",
    )
    declare(node, "inference_threads", 1, "threads that compute one operator of a model")
    declare(
        node,
        "rollout_boundaries",
        "service",
        "what tells when rollouts begin and end: 'service' ~/start_rollout and ~/end_rollout, "
        "'topic' rollout_topic, 'pause' rollout_pause, or 'none': one begins on activation",
    )
    declare(
        node,
        "rollout_topic",
        "rollout/active",
        "says whether a rollout runs, for rollout_boundaries 'topic'",
    )
    declare(
        node,
        "rollout_topic_type",
        ROLLOUT_TOPIC_TYPES[0],
        "std_msgs/msg/Bool: true while a rollout runs; std_msgs/msg/String: its task, empty while "
        "none runs",
    )
    declare(
        node,
        "rollout_pause",
        1.0,
        "seconds without a decision that end a rollout, for rollout_boundaries 'pause'",
        bounds=(0.05, 60.0),
    )
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
        "max_external_age",
        1.0,
        "seconds after which the value of an external score is too old for a decision",
        bounds=(0.01, 60.0),
    )
    declare(
        node,
        "max_stamp_lead",
        0.5,
        "seconds by which a decision's stamp may be ahead of this machine's clock",
        bounds=(0.0, 60.0),
    )
    declare(
        node,
        "max_stamp_age",
        0.0,
        "seconds by which a decision's stamp may be behind this machine's clock; 0 for any",
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
    return MonitorParameters(**{name: node.get_parameter(name).value for name in _NAMES})


def _check_topic(node: Node, name: str, value: str) -> None:
    try:
        node.resolve_topic_name(value)
    except RCLError as error:
        reason = str(error).split(", at /", 1)[0]
        raise UsageError(f"the parameter '{name}' is '{value}', no topic ({reason})") from None


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"the parameter '{name}' is '{value}', not one of {', '.join(choices)}")
