# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from failure_monitor.decision import ACTION_KINDS, ActionKind
from failure_monitor.errors import UsageError

Sources = Annotated[
    list[Path],
    typer.Argument(
        help="rosbag2 folders, rollout archives (.npz), FIPER rollout folders, or folders of these"
    ),
]
EmbeddingTopic = Annotated[str, typer.Option(help="the topic of the policy's embeddings in bags")]
ChunksTopic = Annotated[str, typer.Option(help="the topic of its sampled action chunks in bags")]
StatedActionKind = Annotated[
    str, typer.Option(help=f"what an action means: {', '.join(ACTION_KINDS)}; for bags")
]
StatedPositionNames = Annotated[
    str, typer.Option(help="comma-separated actions that span positions; for bags; default: all")
]
StatedExecutedActions = Annotated[
    int | None,
    typer.Option(min=1, help="actions of a chunk executed before the next decision; for bags"),
]
StatedTask = Annotated[
    str, typer.Option(help="the task of all of these rollouts; default: what archives say")
]
SuccessTopic = Annotated[str, typer.Option(help="the topic of a rollout's outcome (Bool) in bags")]


def names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def stated_action_kind(text: str) -> ActionKind | None:
    """What the user says that an action means; None where nothing was said.

    Raises:
        UsageError: there is no such kind.
    """
    for known in ACTION_KINDS:
        if text == known:
            return known
    if text:
        raise UsageError(f"there is no action kind '{text}': choose {', '.join(ACTION_KINDS)}")
    return None
