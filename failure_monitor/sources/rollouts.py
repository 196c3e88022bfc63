# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts from wherever they are kept: bags, archives, FIPER folders, and folders of these."""

from __future__ import annotations

import glob
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from failure_monitor.decision import ActionKind, PolicyFormat, Rollout
from failure_monitor.listed_names import list_names
from failure_monitor.sources.archive import Archive
from failure_monitor.sources.bag_files import refuse_link_out
from failure_monitor.sources.fiper import FiperFolder
from failure_monitor.sources.labels import Labels
from failure_monitor.sources.reading import Found, Report, read_all
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rosbag import BagFile, BagFolder
from failure_monitor.sources.source import (
    BagOptions,
    BlackBox,
    BoundaryKind,
    Reception,
    SourceContents,
    SourceError,
    SourceKind,
    Topics,
)

__all__ = [
    "SourceError",
    "Topics",
    "find_sources",
    "label",
    "read_rollouts",
    "refuse_several_policies",
]

SOURCE_KINDS: Mapping[str, SourceKind] = {
    "rosbag2 folder": BagFolder(),
    ".mcap, .db3 or ROS 1 .bag file": BagFile(),
    "rollout archive (.npz)": Archive(),
    "FIPER rollout folder": FiperFolder(),
}

Stated = TypeVar("Stated")

logger = logging.getLogger(__name__)


def read_rollouts(
    paths: Sequence[Path],
    topics: Topics | None = None,
    *,
    boundaries: BoundaryKind = "auto",
    pause: float | None = None,
    action_kind: ActionKind | None = None,
    position_names: Sequence[str] | None = None,
    measured_names: Sequence[str] = (),
    black_box: BlackBox | None = None,
    executed_actions: int | None = None,
    task: str | None = None,
    jobs: int = 1,
    report: Report = lambda so_far: None,
    tells_delays: bool = True,
) -> RolloutSet:
    """Read every rollout of the sources.

    Args:
        paths: bags, archives, FIPER folders, folders of these, read by name, or patterns of
            their names.
        topics: under which names bags hold what is needed; the defaults of `Topics` if None.
        boundaries: what tells the rollouts in a bag apart, as in `BagOptions`.
        pause: how long, in seconds, a pause is that ends a rollout.
        action_kind: what an action means; if None, what the sources say, else `position`.
        position_names: the actions that span positions; if None, what the sources say, else all.
        measured_names: the joints that these move, in their order; if empty, those of their names.
        black_box: what exported models compute that the policy did not publish; nothing if None.
        executed_actions: how many actions of a chunk are executed before the next decision; if
            None, what the sources say.
        task: what the robot was to do in all of these rollouts; if None, what the sources say.
        jobs: how many processes read at a time.
        report: told, now and then, how far it is.
        tells_delays: whether to call `tell_of_delays`.

    Raises:
        SourceError: a source is missing, damaged or unknown, holds no rollouts, holds a rollout
            twice, or rollouts differ in their format.
        PointCloudError: a bag's message is no embedding or no batch of action chunks.
        InvalidDecisionError: a position name is not among the action names, or more actions are
            executed than a chunk has.
        UsageError: a topic has two meanings.
    """
    options = BagOptions(
        topics=topics or Topics(),
        boundaries=boundaries,
        pause=pause,
        position_names=tuple(position_names or ()),
        measured_names=tuple(measured_names),
        black_box=black_box or BlackBox(),
    )
    contents = read_all(find_sources(paths), options, jobs=jobs, report=report)
    rollouts = _called_apart([rollout for held in contents for rollout in held.rollouts])
    if not rollouts:
        raise SourceError(
            f"no rollouts in {list_names(paths) if paths else 'an empty list of sources'}: name "
            f"{_known_kinds()} that holds some"
        )
    _refuse_repeated(rollouts)
    if task is not None:
        rollouts = tuple(replace(rollout, task=task) for rollout in rollouts)
    receptions = _receptions(contents)
    policy = _policy(contents, action_kind, position_names, executed_actions)
    measured = _agreed("measured positions", [(h.rollouts, h.positions_topic) for h in contents])
    rollout_set = RolloutSet(policy, rollouts, receptions, measured)
    if tells_delays:
        tell_of_delays([rollout_set])
    return rollout_set


def refuse_several_policies(sets: Sequence[RolloutSet]) -> None:
    """Refuse sets of rollouts that are not all of the first one's policy.

    Raises:
        SourceError: one is not.
    """
    first = sets[0]
    for other in sets[1:]:
        if other.policy != first.policy:
            raise SourceError(
                f"{_title(first.rollouts[0])} and {_title(other.rollouts[0])} are not of the same "
                f"policy ({_differences(first.policy, other.policy)}): give rollouts of one policy"
            )


def tell_of_delays(sets: Sequence[RolloutSet]) -> None:
    """Say how bag time and header stamps, by which decisions are ordered, lie to each other."""
    delays = {
        rollout.name: each.receptions[rollout.sha256].delays
        for each in sets
        for rollout in each.rollouts
        if rollout.sha256 in each.receptions
    }
    if not delays:
        return
    spreads = {name: float(np.ptp(of_rollout)) for name, of_rollout in delays.items()}
    worst = max(spreads, key=lambda name: spreads[name])
    logger.info(
        "decisions are ordered by header stamp; bag time is %.3f s behind it (median), and varies "
        "by at most %.3f s within a rollout (%s)",
        np.median(np.concatenate([*delays.values()])),
        spreads[worst],
        worst,
    )


def label(sets: Sequence[RolloutSet], labels: Labels | None) -> tuple[RolloutSet, ...]:
    """Sets of rollouts with what their labels say of them.

    Args:
        sets: to which the labels may belong; those of the first then need an outcome.
        labels: outcomes and more, which override what the sources say; None for none.

    Raises:
        SourceError: a label is of no rollout or of several, a rollout has several labels, or one
            of the first set has no outcome from anywhere.
    """
    if labels is None:
        return tuple(sets)
    labelled = iter(labels.apply([rollout for each in sets for rollout in each.rollouts]))
    result = tuple(
        replace(each, rollouts=tuple(islice(labelled, len(each.rollouts)))) for each in sets
    )
    labels.refuse_unlabelled(result[0].rollouts)
    return result


def find_sources(paths: Sequence[Path]) -> list[Found]:
    """The sources at some paths, in folders there, and of names that fit a pattern.

    Raises:
        SourceError: there is none, or none that is known, or it is a link out of its folder.
    """
    return [
        Found(source, kind, _size(source))
        for path in paths
        for named in _matching(Path(path))
        for source, kind in _sources_at(named)
    ]


def _matching(path: Path) -> list[Path]:
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    # A pattern such as `day*/*` also fits notes and configuration files.
    known = [path for path in found if path.is_dir() or _kind_of(path) is not None]
    if not known:
        raise SourceError(f"no source fits the pattern {path}: name {_known_kinds()}")
    return known


def _sources_at(path: Path) -> Iterator[tuple[Path, SourceKind]]:
    if not path.exists():
        raise SourceError(f"{path} does not exist: name {_known_kinds()}")
    try:
        kind = _kind_of(path)
        if kind is not None:
            yield path, kind
            return
        inner = sorted(path.iterdir()) if path.is_dir() else []
        sources = [(child, kind) for child in inner if (kind := _kind_of(child)) is not None]
    except PermissionError as error:
        raise SourceError(
            f"{error.filename} cannot be read: {error.strerror}: let this user read it"
        ) from None
    if not sources:
        raise SourceError(f"{path} is no known source of rollouts: name {_known_kinds()}")
    for child, _ in sources:
        refuse_link_out(child, path)
    yield from sources


def _kind_of(path: Path) -> SourceKind | None:
    return next((kind for kind in SOURCE_KINDS.values() if kind.recognises(path)), None)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _known_kinds() -> str:
    return f"a {', a '.join(SOURCE_KINDS)}, or a folder of these"


def _called_apart(rollouts: Sequence[Rollout]) -> tuple[Rollout, ...]:
    """Rollouts of the same name get as much of their path before it as tells them apart."""
    names = [rollout.name for rollout in rollouts]
    parents = [Path(rollout.source).resolve().parent.parts for rollout in rollouts]
    for depth in range(1, max((len(parts) for parts in parents), default=0)):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        names = [
            f"{parts[-depth]}/{name}" if counts[name] > 1 and depth < len(parts) else name
            for name, parts in zip(names, parents, strict=True)
        ]
    return tuple(replace(rollout, name=name) for rollout, name in zip(rollouts, names, strict=True))


def _refuse_repeated(rollouts: Sequence[Rollout]) -> None:
    seen: dict[str, Rollout] = {}
    for rollout in rollouts:
        earlier = seen.setdefault(rollout.sha256, rollout)
        if earlier is not rollout:
            raise SourceError(
                f"{_title(earlier)} and {_title(rollout)} are the same rollout (equal SHA-256): "
                "leave one of them out, for no rollout may count twice"
            )


def _receptions(contents: Sequence[SourceContents]) -> dict[str, Reception]:
    return {
        rollout.sha256: reception
        for held in contents
        if held.receptions
        for rollout, reception in zip(held.rollouts, held.receptions, strict=True)
    }


def _policy(
    contents: Sequence[SourceContents],
    action_kind: ActionKind | None,
    position_names: Sequence[str] | None,
    executed_actions: int | None,
) -> PolicyFormat:
    """The format that all share, with what the user or else the sources state."""
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
    return replace(
        shared,
        action_kind=action_kind or "position",
        position_names=tuple(position_names or ()),
        executed_actions=executed_actions,
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
            raise SourceError(
                f"{_title(first)} and {_title(other)} are not of the same policy "
                f"({_differences(shared, its_format)}): read the rollouts of one policy at a time"
            )
    return shared


def _differences(one: PolicyFormat, other: PolicyFormat) -> str:
    return "; ".join(
        f"{name.replace('_', ' ')} {vars(one)[name]} against {vars(other)[name]}"
        for name in vars(one)
        if vars(one)[name] != vars(other)[name]
    )


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
