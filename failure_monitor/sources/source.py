# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of every kind of source: the options it is read with, and what it contains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import ActionKind, Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.parameters.topics import TOKENS_TOPIC
from failure_monitor.policy_description import PolicyDescription

BoundaryKind = Literal["auto", "bag", "markers", "outcomes", "pauses"]
BOUNDARY_KINDS: tuple[BoundaryKind, ...] = get_args(BoundaryKind)

Advance = Callable[[float], None]
"""Called now and then with the share of a source that has been read, 0 to 1."""


class SourceError(FailureMonitorError):
    """A source that does not exist, is damaged, or holds no rollouts."""


@dataclass(frozen=True)
class Topics:
    """The topics of a bag that are read.

    Attributes:
        embedding: The observation embeddings, sensor_msgs/PointCloud2; a bag may lack them. Empty
            to read bags without them.
        action_chunks: The sampled action chunks, sensor_msgs/PointCloud2.
        format: What the policy states about itself, std_msgs/String; a bag may lack it. Empty to
            read neither bags' nor archives' statement.
        success: The outcome as it was claimed at the end, std_msgs/Bool; a bag may lack it.
        label: The operator's word on the rollout that ended last, std_msgs/Bool; a bag may lack
            it.
        intervention: Whether a human intervenes, std_msgs/Bool, or sensor_msgs/Joy,
            geometry_msgs/Twist or TwistStamped of their device; a bag may lack it.
        active: True from the start of a rollout to its end, std_msgs/Bool, or the task's name and
            then an empty text, std_msgs/String; a bag may lack it.
        group: The group for evaluation, std_msgs/String; a bag may lack it.
        task: The robot's task, std_msgs/String; a bag may lack it.
        positions: The robot's measured positions, sensor_msgs/JointState,
            geometry_msgs/PoseStamped or PointStamped; empty if none are read.
        more_joints: Further topics of joint states beside that of the robot, such as a gripper's.
        commands: The commands as sent to the robot, of a type in `SENT_TYPES`; empty if none are
            read. Of a LeRobotDataset the column of actions.
        external: The external scores, std_msgs/Float64 or Float32, by their names.
        tokens: The tokens of the policy's network, sensor_msgs/PointCloud2; a bag may lack it.
            Empty to read neither bags' nor archives' tokens, which take memory.
        judge: The numbers of an outside judge, std_msgs/Float64 or Float32; a bag may lack it.
            Empty if none are read.
    """

    embedding: str = "/policy/embedding"
    action_chunks: str = "/policy/action_chunks"
    format: str = "/policy/format"
    success: str = "/rollout/success"
    label: str = "/rollout/label"
    intervention: str = "/intervention"
    active: str = "/rollout/active"
    group: str = "/rollout/group"
    task: str = "/rollout/task"
    positions: str = ""
    more_joints: tuple[str, ...] = ()
    commands: str = ""
    external: Mapping[str, str] = field(default_factory=dict)
    tokens: str = ""
    judge: str = ""


TOKENS = f"/{TOKENS_TOPIC}"
"""The usual topic of tokens."""

SAMPLES = 64
NOISE_SEED = 0
MATCHING_TOLERANCE = 0.05
"""Defaults of how exported models are run; the tolerance in seconds."""


@dataclass(frozen=True)
class BlackBox:
    """The exported models that compute what a policy did not publish, and their inputs.

    What is None was not stated: it is the bundle's where there is one, else the default.

    Attributes:
        encoder: The file of the observation encoder; None if embeddings were recorded.
        sampler: The file of the policy sampler; None if action chunks were recorded.
        cameras: The topic of each camera of the encoder, sensor_msgs/Image or CompressedImage.
        joints: The topic of the robot's joint states, sensor_msgs/JointState, of which an encoder
            takes some; empty if none are read.
        samples: The number B of action chunks that are sampled per decision.
        seed: The seed of the noise.
        rate: The maximum of decisions per second; None for one at every frame of the first camera.
        tolerance: The largest difference between stamps of one observation, in seconds.
    """

    encoder: Path | None = None
    sampler: Path | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)
    joints: str = "/joint_states"
    samples: int | None = None
    seed: int | None = None
    rate: float | None = None
    tolerance: float | None = None

    @property
    def sample_count(self) -> int:
        """The number of action chunks that are sampled per decision."""
        return SAMPLES if self.samples is None else self.samples

    @property
    def noise_seed(self) -> int:
        """The seed of the noise."""
        return NOISE_SEED if self.seed is None else self.seed

    @property
    def matching_tolerance(self) -> float:
        """The largest difference between stamps of one observation, in seconds."""
        return MATCHING_TOLERANCE if self.tolerance is None else self.tolerance


@dataclass(frozen=True)
class DatasetOptions:
    """How LeRobotDatasets are read.

    Attributes:
        policy: The checkpoint of the policy that is replayed over their frames; None if they hold
            its decisions.
        success_column: The column of the outcome, which is a success if the column is true, or 1
            and more, in any frame of an episode; empty for `next.success` or `success` where it is
            there.
        accepts_teleoperated: Whether episodes are read whose actions are not the policy's.
    """

    policy: Path | None = None
    success_column: str = ""
    accepts_teleoperated: bool = False


@dataclass(frozen=True)
class BagOptions:
    """How sources are read: bags, but for `dataset`.

    Attributes:
        topics: The topics that are read.
        boundaries: How a bag is divided into rollouts. `bag`: not at all; `markers`: by the topic
            `active`; `outcomes`: every outcome ends a rollout; `pauses`: by times without
            decisions; `auto`: by markers if there are any, else not at all.
        pause: The seconds without decisions that end a rollout, for `pauses`.
        position_names: The actions that span positions; empty for all.
        measured_names: The joints that these move, in their order; empty if they have the same
            names.
        black_box: The exported models; none if the policy published embeddings and action chunks.
        dataset: How LeRobotDatasets are read.
        task: The task of all rollouts; empty leaves it to the bag.
    """

    topics: Topics = field(default_factory=Topics)
    boundaries: BoundaryKind = "auto"
    pause: float | None = None
    position_names: tuple[str, ...] = ()
    measured_names: tuple[str, ...] = ()
    black_box: BlackBox = field(default_factory=BlackBox)
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    task: str = ""


@dataclass(frozen=True, eq=False)
class Reception:
    """How the messages of a bag's rollout were received.

    Attributes:
        delays: The seconds from each decision's header stamp to the bag time at which it was
            complete, float64 (T,).
        unpaired: The number of messages in the bag without a partner of the same stamp.
        repeated: The number of messages whose stamp their topic had already used.
        left_out: The number of decisions in the bag that belong to no rollout.
    """

    delays: NDArray[np.float64]
    unpaired: int
    repeated: int
    left_out: int


@dataclass(frozen=True, eq=False)
class SourceContents:
    """The rollouts of one source, and what it states about them.

    Attributes:
        rollouts: The rollouts in the order of the source.
        action_names: The names of the D action dimensions, in order.
        action_kind: The kind of the actions; None if unknown.
        position_names: The actions that span positions; None if unknown.
        executed_actions: The number of actions of a chunk that are executed before the next
            decision; None if unknown.
        control_period: The seconds from one executed action to the next; None if unknown.
        stated_policy: What the policy stated about itself; None if nothing.
        receptions: The reception of every rollout; empty if the source is no bag.
        positions_topic: The topic with the measured positions; None if unknown.
        joint_topics: The topics of joint states, that of the robot first; none if unknown.
        message_types: The types of the topics of external scores, cameras and commands.
        commands_topic: The topic of the commands as sent; empty if unknown.
        was_told_task: Whether an encoder embedded the observations for the task that is stated.
    """

    rollouts: tuple[Rollout, ...]
    action_names: tuple[str, ...]
    action_kind: ActionKind | None = None
    position_names: tuple[str, ...] | None = None
    executed_actions: int | None = None
    control_period: float | None = None
    stated_policy: PolicyDescription | None = None
    receptions: tuple[Reception, ...] = ()
    positions_topic: PositionsTopic | None = None
    joint_topics: tuple[str, ...] = ()
    message_types: Mapping[str, str] = field(default_factory=dict)
    commands_topic: str = ""
    was_told_task: bool = False


class SourceKind(Protocol):
    """One format in which rollouts are stored."""

    def recognises(self, path: Path) -> bool:
        """Return whether the existing file or folder at `path` is of this kind."""

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Return all its rollouts.

        Raises:
            FailureMonitorError: It is damaged or of another format.
        """
