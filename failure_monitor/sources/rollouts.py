# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts from wherever they are kept: bags, archives, FIPER folders, and folders of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from failure_monitor.decision import ActionKind, PolicyFormat, Rollout
from failure_monitor.sources.archive import Archive
from failure_monitor.sources.fiper import FiperFolder
from failure_monitor.sources.rosbag import BagFolder
from failure_monitor.sources.source import SourceContents, SourceError, SourceKind, Topics

__all__ = ["RolloutSet", "SourceError", "Topics", "read_rollouts"]

SOURCE_KINDS: Mapping[str, SourceKind] = {
    "rosbag2 folder": BagFolder(),
    "rollout archive (.npz)": Archive(),
    "FIPER rollout folder": FiperFolder(),
}

Stated = TypeVar("Stated")


@dataclass(frozen=True, eq=False)
class RolloutSet:
    """Rollouts of one policy.

    Attributes:
        policy: the format that all of them share.
        rollouts: at least one, in the order of their sources.
    """

    policy: PolicyFormat
    rollouts: tuple[Rollout, ...]


def read_rollouts(
    paths: Sequence[Path],
    topics: Topics | None = None,
    *,
    action_kind: ActionKind | None = None,
    position_names: Sequence[str] | None = None,
    executed_actions: int | None = None,
    task: str | None = None,
) -> RolloutSet:
    """Read every rollout of the sources.

    Args:
        paths: rosbag2 folders, archives, FIPER folders, or folders of these, read by name.
        topics: under which names bags hold what is needed; the defaults of `Topics` if None.
        action_kind: what an action means; if None, what the sources say, else `position`.
        position_names: the actions that span positions; if None, what the sources say, else all.
        executed_actions: how many actions of a chunk are executed before the next decision; if
            None, what the sources say.
        task: what the robot was to do in all of these rollouts; if None, what the sources say.

    Raises:
        SourceError: a source is missing, damaged or unknown, holds no rollouts, holds a rollout
            twice, or rollouts differ in their format.
        PointCloudError: a bag's message is no embedding or no batch of action chunks.
        InvalidDecisionError: a position name is not among the action names, or more actions are
            executed than a chunk has.
    """
    topics = topics or Topics()
    contents = [
        kind.read(source, topics) for path in paths for source, kind in _sources_at(Path(path))
    ]
    rollouts = tuple(rollout for held in contents for rollout in held.rollouts)
    if not rollouts:
        raise SourceError(
            f"no rollouts in {_listed(paths) or 'an empty list of sources'}: name "
            f"{_known_kinds()} that holds some"
        )
    _refuse_repeated(rollouts)
    shared = _shared_format(contents)
    if action_kind is None:
        action_kind = _agreed("action kind", [(h.rollouts, h.action_kind) for h in contents])
    if position_names is None:
        position_names = _agreed(
            "position names", [(h.rollouts, h.position_names) for h in contents]
        )
    if executed_actions is None:
        executed_actions = _agreed(
            "number of executed actions", [(h.rollouts, h.executed_actions) for h in contents]
        )
    policy = replace(
        shared,
        action_kind=action_kind or "position",
        position_names=tuple(position_names or ()),
        executed_actions=executed_actions,
    )
    if task is not None:
        rollouts = tuple(replace(rollout, task=task) for rollout in rollouts)
    return RolloutSet(policy, rollouts)


def _sources_at(path: Path) -> Iterator[tuple[Path, SourceKind]]:
    if not path.exists():
        raise SourceError(f"{path} does not exist: name {_known_kinds()}")
    kind = _kind_of(path)
    if kind is not None:
        yield path, kind
        return
    inner = sorted(path.iterdir()) if path.is_dir() else []
    sources = [(child, kind) for child in inner if (kind := _kind_of(child)) is not None]
    if not sources:
        raise SourceError(f"{path} is no known source of rollouts: name {_known_kinds()}")
    yield from sources


def _kind_of(path: Path) -> SourceKind | None:
    return next((kind for kind in SOURCE_KINDS.values() if kind.recognises(path)), None)


def _known_kinds() -> str:
    return f"a {', a '.join(SOURCE_KINDS)}, or a folder of these"


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _refuse_repeated(rollouts: Sequence[Rollout]) -> None:
    seen: dict[str, Rollout] = {}
    for rollout in rollouts:
        earlier = seen.setdefault(rollout.sha256, rollout)
        if earlier is not rollout:
            raise SourceError(
                f"{_title(earlier)} and {_title(rollout)} are the same rollout (equal SHA-256): "
                "leave one of them out, for no rollout may count twice"
            )


def _shared_format(contents: Sequence[SourceContents]) -> PolicyFormat:
    formats = [
        (rollout, _format(rollout, held.action_names))
        for held in contents
        for rollout in held.rollouts
    ]
    first, shared = formats[0]
    for other, its_format in formats[1:]:
        if its_format != shared:
            differences = "; ".join(
                f"{name.replace('_', ' ')} {vars(shared)[name]} against {vars(its_format)[name]}"
                for name in vars(shared)
                if vars(shared)[name] != vars(its_format)[name]
            )
            raise SourceError(
                f"{_title(first)} and {_title(other)} are not of the same policy ({differences}): "
                "read the rollouts of one policy at a time"
            )
    return shared


def _format(rollout: Rollout, action_names: tuple[str, ...]) -> PolicyFormat:
    return PolicyFormat(
        embedding_size=rollout.embeddings.shape[1],
        samples=rollout.chunks.shape[1],
        horizon=rollout.chunks.shape[2],
        action_names=action_names,
    )


def _agreed(
    what: str, statements: Sequence[tuple[tuple[Rollout, ...], Stated | None]]
) -> Stated | None:
    stated = [(held[0], value) for held, value in statements if held and value is not None]
    for other, value in stated[1:]:
        if value != stated[0][1]:
            raise SourceError(
                f"{_title(stated[0][0])} and {_title(other)} differ in their {what} "
                f"({stated[0][1]} against {value}): read the rollouts of one policy at a time"
            )
    return stated[0][1] if stated else None


def _title(rollout: Rollout) -> str:
    return f"{rollout.name} ({rollout.source})"
