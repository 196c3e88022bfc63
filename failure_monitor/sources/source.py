# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What every kind of source is asked for, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from failure_monitor.decision import ActionKind, Rollout
from failure_monitor.errors import FailureMonitorError


class SourceError(FailureMonitorError):
    """A source that is not there, is damaged, or holds no rollouts."""


@dataclass(frozen=True)
class Topics:
    """Under which names a bag holds what makes up a rollout.

    Attributes:
        embedding: sensor_msgs/PointCloud2, the observation embeddings.
        action_chunks: sensor_msgs/PointCloud2, the sampled action chunks.
        success: std_msgs/Bool, the outcome; a bag may lack it.
        active: std_msgs/Bool, true from the rollout's begin to its end; a bag may lack it.
    """

    embedding: str = "/policy/embedding"
    action_chunks: str = "/policy/action_chunks"
    success: str = "/rollout/success"
    active: str = "/rollout/active"


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
    """

    rollouts: tuple[Rollout, ...]
    action_names: tuple[str, ...]
    action_kind: ActionKind | None = None
    position_names: tuple[str, ...] | None = None
    executed_actions: int | None = None


class SourceKind(Protocol):
    """One way in which rollouts are kept."""

    def recognises(self, path: Path) -> bool:
        """Whether the file or folder at `path`, which exists, looks like this kind."""

    def read(self, path: Path, topics: Topics) -> SourceContents:
        """All rollouts that it holds.

        Raises:
            FailureMonitorError: it is damaged, or laid out otherwise.
        """
