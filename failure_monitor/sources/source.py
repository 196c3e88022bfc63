# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What every kind of source is asked for, and what it gives."""

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

BoundaryKind = Literal["auto", "bag", "markers", "outcomes", "pauses"]
BOUNDARY_KINDS: tuple[BoundaryKind, ...] = get_args(BoundaryKind)

Advance = Callable[[float], None]
"""Told, now and then, which share of a source has been read, 0 to 1."""


class SourceError(FailureMonitorError):
    """A source that is not there, is damaged, or holds no rollouts."""


@dataclass(frozen=True)
class Topics:
    """Under which names a bag holds what makes up a rollout.

    Attributes:
        embedding: sensor_msgs/PointCloud2, the observation embeddings.
        action_chunks: sensor_msgs/PointCloud2, the sampled action chunks.
        success: std_msgs/Bool, the outcome; a bag may lack it.
        active: std_msgs/Bool, true from a rollout's begin to its end; a bag may lack it.
        group: std_msgs/String, what evaluation groups by; a bag may lack it.
        task: std_msgs/String, what the robot was to do; a bag may lack it.
        positions: sensor_msgs/JointState, or geometry_msgs/PoseStamped or PointStamped: where
            the robot was measured to be; empty: not read.
        external: std_msgs/Float64 or Float32, what others think of the decisions, by the names of
            their scores.
    """

    embedding: str = "/policy/embedding"
    action_chunks: str = "/policy/action_chunks"
    success: str = "/rollout/success"
    active: str = "/rollout/active"
    group: str = "/rollout/group"
    task: str = "/rollout/task"
    positions: str = ""
    external: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BlackBox:
    """What the policy did not publish, and its exported models compute from what was recorded.

    Attributes:
        encoder: the observation encoder; None where embeddings were recorded.
        sampler: the policy sampler; None where action chunks were recorded.
        cameras: sensor_msgs/Image or CompressedImage, the topic of each camera of the encoder.
        joints: sensor_msgs/JointState, for an encoder that takes joints.
        samples: B, how many action chunks are sampled per decision.
        seed: of the noise.
        rate: decisions a second at most; None for one at every frame of the first camera.
        tolerance: how far stamps of one observation may lie apart, in seconds.
    """

    encoder: Path | None = None
    sampler: Path | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)
    joints: str = "/joint_states"
    samples: int = 64
    seed: int = 0
    rate: float | None = None
    tolerance: float = 0.05


@dataclass(frozen=True)
class BagOptions:
    """How bags are read.

    Attributes:
        topics: which topic means what.
        boundaries: what tells the rollouts in a bag apart. `bag`: nothing, a bag is a rollout;
            `markers`: the topic `active`; `outcomes`: every outcome ends a rollout; `pauses`: a
            time without decisions; `auto`: markers where there are some, else the bag.
        pause: how long, in seconds, a pause is that ends a rollout; for `pauses`.
        position_names: the actions that span positions; empty: all.
        measured_names: the joints that these move, in their order; empty: those of their names.
        black_box: what its exported models compute; nothing where the policy published both
            halves of its decisions.
    """

    topics: Topics = field(default_factory=Topics)
    boundaries: BoundaryKind = "auto"
    pause: float | None = None
    position_names: tuple[str, ...] = ()
    measured_names: tuple[str, ...] = ()
    black_box: BlackBox = field(default_factory=BlackBox)


@dataclass(frozen=True, eq=False)
class Reception:
    """How the messages of a bag's rollout were received.

    Attributes:
        delays: float64 (T,), seconds from a decision's header stamp to the bag time at which it
            was complete.
        unpaired: how many messages of the bag had no partner of the same stamp.
        repeated: how many had a stamp that their topic had already used.
        left_out: how many decisions of the bag belong to no rollout.
    """

    delays: NDArray[np.float64]
    unpaired: int
    repeated: int
    left_out: int


@dataclass(frozen=True, eq=False)
class SourceContents:
    """What one source holds.

    Attributes:
        rollouts: in the source's order.
        action_names: the names of the D action dimensions, in order.
        action_kind: what an action means; None where the source does not say.
        position_names: the actions that span positions; None where the source does not say.
        executed_actions: how many actions of a chunk are executed before the next decision;
            None where the source does not say.
        receptions: of every rollout; empty where the source is no bag.
        positions_topic: what measured the rollouts' positions; None where the source does not say.
    """

    rollouts: tuple[Rollout, ...]
    action_names: tuple[str, ...]
    action_kind: ActionKind | None = None
    position_names: tuple[str, ...] | None = None
    executed_actions: int | None = None
    receptions: tuple[Reception, ...] = ()
    positions_topic: PositionsTopic | None = None


class SourceKind(Protocol):
    """One way in which rollouts are kept."""

    def recognises(self, path: Path) -> bool:
        """Whether the file or folder at `path`, which exists, looks like this kind."""

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """All rollouts that it holds.

        Raises:
            FailureMonitorError: it is damaged, or laid out otherwise.
        """
