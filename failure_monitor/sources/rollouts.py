# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads rollouts from bags, archives, stores, datasets, FIPER folders, and folders of these."""

from __future__ import annotations

import glob
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from failure_monitor.decision import ActionKind, PolicyFormat, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.executors.executor import Executor
from failure_monitor.executors.present_work import on_worker
from failure_monitor.executors.process_executor import ProcessExecutor
from failure_monitor.listed_names import list_names
from failure_monitor.policy_description import (
    PERIOD_TOLERANCE,
    PolicyDescription,
    describe_format,
)
from failure_monitor.sources.addresses import (
    exists,
    file_sizes,
    is_address,
    is_file,
    located,
    matching,
    outline,
    resolved,
    shown,
)
from failure_monitor.sources.archive import Archive
from failure_monitor.sources.bag_files import reject_link_out
from failure_monitor.sources.copied_source import CopiedSource
from failure_monitor.sources.fiper import FiperFolder
from failure_monitor.sources.labels import Labels
from failure_monitor.sources.lerobot_dataset import LeRobotDataset
from failure_monitor.sources.numberless import without_numbers
from failure_monitor.sources.reading import Found, Report, read_all
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollout_store import RolloutStore
from failure_monitor.sources.rosbag import BagFile, BagFolder
from failure_monitor.sources.source import (
    BagOptions,
    BlackBox,
    BoundaryKind,
    DatasetOptions,
    Reception,
    SourceContents,
    SourceError,
    SourceKind,
    Topics,
)

__all__ = [
    "SourceError",
    "Topics",
    "completed_by_one_another",
    "find_sources",
    "kind_of",
    "label",
    "read_rollouts",
    "reject_different_policies",
]

SOURCE_KINDS: Mapping[str, SourceKind] = {
    "rosbag2 folder": BagFolder(),
    ".mcap, .db3 or ROS 1 .bag file": BagFile(),
    "store of rollouts": RolloutStore(),
    "rollout archive (.npz)": Archive(),
    "FIPER rollout folder": FiperFolder(),
    "LeRobotDataset": LeRobotDataset(),
}

Stated = TypeVar("Stated")
Take = Callable[[RolloutSet], None]

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
    dataset: DatasetOptions | None = None,
    executed_actions: int | None = None,
    control_period: float | None = None,
    like: PolicyFormat | None = None,
    described: PolicyDescription | None = None,
    task: str | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    skips_unreadable: bool = False,
    report: Report = lambda so_far: None,
    logs_delays: bool = True,
    take: Take | None = None,
) -> RolloutSet:
    """Read every rollout of the sources.

    Args:
        paths: Bags, archives, FIPER folders, LeRobotDatasets, folders of these, or patterns of
            their names.
        topics: The topics of bags; the defaults of `Topics` if None.
        boundaries: How a bag is divided into rollouts, as in `BagOptions`.
        pause: The seconds without decisions that end a rollout.
        action_kind: The kind of the actions; that of the sources if None, else `position`. What
            the policy itself stated must not be contradicted, by this nor the next two.
        position_names: The actions that span positions; those of the sources if None, else all.
        measured_names: The joints that these move, in their order; empty if they have the same
            names.
        black_box: The exported models that compute what the policy did not publish.
        dataset: How LeRobotDatasets are read.
        executed_actions: The number of actions of a chunk that are executed before the next
            decision; that of the sources if None.
        control_period: The seconds from one executed action to the next; that of the sources if
            None.
        like: The policy of which the rollouts are, where it is known: it completes what the
            sources leave open, and must not be contradicted by them.
        described: What that policy stated about itself, which they must not contradict either.
        task: The task of all these rollouts; that of the sources if None.
        jobs: The number of processes that read at a time.
        executor: What reads the sources; None for these processes.
        skips_unreadable: Whether sources that cannot be read are left out, with a warning.
        report: Called now and then with the progress.
        logs_delays: True to call `log_delays`.
        take: Receives the rollouts of each source as soon as it and those before it are read, in
            their order, once they are known to go with those before. What is returned then has no
            numbers, so that memory does not grow by the rollouts; names that occur twice are told
            apart there alone. None if all are returned.

    Raises:
        SourceError: A source is missing, damaged or unknown, holds no rollouts, holds a rollout
            twice, or rollouts differ in their format.
        PointCloudError: A message of a bag holds no embedding or no action chunks.
        InvalidDecisionError: A position name is not among the action names, or more actions are
            executed than a chunk has.
        UsageError: A topic has two meanings, or what the policy stated is contradicted.
    """
    options = BagOptions(
        topics=topics or Topics(),
        boundaries=boundaries,
        pause=pause,
        position_names=tuple(position_names or ()),
        measured_names=tuple(measured_names),
        black_box=black_box or BlackBox(),
        dataset=dataset or DatasetOptions(),
        task=task or "",
    )
    given = PolicyDescription(
        action_kind=action_kind,
        position_names=tuple(position_names or ()),
        executed_actions=executed_actions,
        control_period=control_period,
    )
    known = _Known(given, like, described, task)
    contents = read_all(
        find_sources(paths),
        options,
        executor=executor or ProcessExecutor(jobs),
        report=report,
        skips_unreadable=skips_unreadable,
        kept=None if take is None else _OneByOne(known, take).kept,
    )
    rollouts = _with_unique_names([rollout for held in contents for rollout in held.rollouts])
    if not rollouts:
        named = list_names(map(shown, paths)) if paths else "an empty list of sources"
        raise SourceError(f"no rollouts in {named}: name {_known_kinds()} that holds some")
    _reject_repeated(rollouts, {})
    rollout_set = _together(known, contents, rollouts)
    _warn_of_unstated(contents, rollout_set.stated_policy or described)
    if logs_delays:
        log_delays([rollout_set])
    return rollout_set


@dataclass(frozen=True)
class _Known:
    """What is known of the rollouts beside what their sources state, as in `read_rollouts`."""

    given: PolicyDescription
    like: PolicyFormat | None
    described: PolicyDescription | None
    task: str | None


@dataclass(frozen=True, eq=False)
class _OneByOne:
    """Hands over the rollouts of each source, once they are checked against those before."""

    known: _Known
    take: Take
    stating: list[SourceContents] = field(default_factory=list)
    """Of the sources before, the first of those that state the same, each with one rollout."""
    seen: dict[str, Rollout] = field(default_factory=dict)

    def kept(self, contents: SourceContents) -> SourceContents:
        """Hand over the rollouts of a source; return it without their numbers."""
        if not contents.rollouts:
            return contents
        rest = without_numbers(contents)
        _reject_repeated(rest.rollouts, self.seen)
        own = replace(contents, receptions=())
        self.take(_together(self.known, [*self.stating, own], contents.rollouts))
        if not any(_state_the_same(rest, other) for other in self.stating):
            self.stating.append(replace(rest, rollouts=rest.rollouts[:1], receptions=()))
        return rest


def _state_the_same(one: SourceContents, other: SourceContents) -> bool:
    """Return whether two sources state the same of their rollouts, and these have equal shapes."""
    return all(
        getattr(one, each.name) == getattr(other, each.name)
        for each in fields(SourceContents)
        if each.name not in ("rollouts", "receptions")
    ) and _format(one.rollouts[0], ()) == _format(other.rollouts[0], ())


def _together(
    known: _Known, contents: Sequence[SourceContents], rollouts: tuple[Rollout, ...]
) -> RolloutSet:
    """Return rollouts of sources that are of one policy.

    Raises:
        SourceError: They are not, or are of another than what is known.
        UsageError: What the policy stated is contradicted.
    """
    given, like, task = known.given, known.like, known.task
    if task is not None:
        rollouts = tuple(replace(rollout, task=task) for rollout in rollouts)
    receptions = _receptions(contents)
    shared = _shared_format(contents)
    stated = _stated_policy(contents, like, known.described)
    _reject_contradiction(given, contents)
    policy = _policy(shared, contents, stated, given, like)
    measured = _agreed("measured positions", [(h.rollouts, h.positions_topic) for h in contents])
    types = {
        topic: _agreed(
            f"type of {topic}", [(h.rollouts, h.message_types.get(topic)) for h in contents]
        )
        for topic in sorted({topic for held in contents for topic in held.message_types})
    }
    kinds = [
        given.action_kind,
        like,
        *(value for _, value in _statements(contents, "action_kind")),
    ]
    return RolloutSet(
        policy,
        rollouts,
        receptions,
        measured,
        next((held.joint_topics for held in contents if held.joint_topics), ()),
        {topic: kind for topic, kind in types.items() if kind is not None},
        next((held.commands_topic for held in contents if held.commands_topic), ""),
        action_kind_is_known=any(kind is not None for kind in kinds),
        stated_policy=stated,
        was_told_task=any(held.was_told_task for held in contents),
    )


def reject_different_policies(sets: Sequence[RolloutSet]) -> None:
    """Reject sets of rollouts that are not all of the same policy.

    Raises:
        SourceError: One is of another policy than the first.
    """
    first = sets[0]
    for other in sets[1:]:
        if other.policy != first.policy:
            raise SourceError(
                f"{_title(first.rollouts[0])} and {_title(other.rollouts[0])} are not of the same "
                f"policy ({_differences(first.policy, other.policy)}): give rollouts of one policy"
            )


def reject_contradiction(known: RolloutSet, new: RolloutSet) -> None:
    """Reject rollouts that could not be read together with those that are known.

    What either leaves open contradicts nothing.

    Raises:
        SourceError: They are of another policy, by their sizes or by what is stated of it.
    """
    one, other = known.policy, new.policy
    apart = [
        name
        for name in ("embedding_size", "samples", "horizon", "action_names")
        if getattr(one, name) != getattr(other, name)
    ]
    if known.action_kind_is_known and new.action_kind_is_known:
        apart += ["action_kind"] * (one.action_kind != other.action_kind)
    for name in ("position_names", "executed_actions", "control_period"):
        stated = getattr(one, name), getattr(other, name)
        apart += [name] * bool(all(stated) and _differ(*stated))
    texts = [f"{n.replace('_', ' ')} {vars(one)[n]} against {vars(other)[n]}" for n in apart]
    if known.stated_policy is not None and new.stated_policy is not None:
        texts += filter(None, [known.stated_policy.differences_text(new.stated_policy)])
    if texts:
        raise SourceError(
            f"{_title(known.rollouts[0])} and {_title(new.rollouts[0])} are not of the same "
            f"policy ({'; '.join(texts)}): keep the rollouts of each policy by themselves"
        )


def completed_by_one_another(sets: Sequence[RolloutSet]) -> list[RolloutSet]:
    """Return sets that were read one by one, with what a policy stated in another of them.

    As where they are read together: what a source leaves open is that of the others.
    """
    stated = next((each.stated_policy for each in sets if each.stated_policy is not None), None)
    if stated is None:
        return list(sets)
    return [each if each.stated_policy is not None else _completed(each, stated) for each in sets]


def _completed(rollout_set: RolloutSet, stated: PolicyDescription) -> RolloutSet:
    own = rollout_set.policy
    if stated.why_not_of(own.action_names, own.horizon):
        return rollout_set
    is_known = rollout_set.action_kind_is_known
    policy = replace(
        own,
        action_kind=own.action_kind if is_known else (stated.action_kind or own.action_kind),
        position_names=own.position_names or stated.position_names,
        executed_actions=own.executed_actions or stated.executed_actions,
        control_period=own.control_period or stated.control_period,
        guided_actions=own.guided_actions or stated.guided_actions or 0,
        waits=own.waits or stated.waits,
    )
    return replace(rollout_set, policy=policy)


def log_delays(sets: Sequence[RolloutSet]) -> None:
    """Log how far bag time is behind header stamps, by which decisions are ordered."""
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
    """Return sets of rollouts with their labels applied.

    Args:
        sets: The sets to label. With labels, every rollout of the first needs an outcome.
        labels: Labels, which override the sources; None for none.

    Raises:
        SourceError: A label fits several rollouts, or none while a rollout has no label; a rollout
            has several labels, one of the first set has no outcome, or a label names another task
            than its encoder was told.
    """
    if labels is None:
        return tuple(sets)
    labelled = iter(labels.apply([rollout for each in sets for rollout in each.rollouts]))
    result = tuple(
        replace(each, rollouts=tuple(islice(labelled, len(each.rollouts)))) for each in sets
    )
    labels.reject_unlabelled(result[0].rollouts)
    for before, after in zip(sets, result, strict=True):
        _reject_another_task(before, after)
    return result


def _reject_another_task(before: RolloutSet, after: RolloutSet) -> None:
    """Reject labels that name another task than the one that the encoder was told."""
    if not before.was_told_task:
        return
    for told, labelled in zip(before.rollouts, after.rollouts, strict=True):
        if told.task and told.task != labelled.task:
            raise SourceError(
                f"{_title(told)} is labelled as of the task '{labelled.task}', and was embedded "
                f"for '{told.task}', which its bag states: correct the label, or name the task "
                "with --task"
            )


def find_sources(paths: Sequence[Path]) -> list[Found]:
    """Return the sources at some paths, in folders there, and those that match a pattern.

    Raises:
        SourceError: There is none, it is of no known kind, or it is a link out of its folder.
    """
    return [
        found
        for path in paths
        for named in _matching(located(Path(path)))
        for found in (_found_at_address(named) if is_address(named) else _found_at(named))
    ]


def _matching(path: Path) -> list[Path]:
    if not glob.has_magic(str(path)) or exists(path):
        return [path]
    found = matching(path)
    # A pattern such as `day*/*` also matches notes and configuration files.
    known = [path for path in found if is_address(path) or path.is_dir() or kind_of(path)]
    if not known:
        raise SourceError(f"no source matches the pattern {shown(path)}: name {_known_kinds()}")
    return known


def _found_at(path: Path) -> list[Found]:
    if not path.exists():
        raise SourceError(f"{path} does not exist{on_worker()}: name {_known_kinds()}")
    try:
        sources = _sources_at(path)
    except PermissionError as error:
        raise SourceError(
            f"{error.filename} cannot be read: {error.strerror}: let this user read it"
        ) from None
    if not sources:
        if path.is_dir() and all(child.name.startswith(".") for child in path.iterdir()):
            raise SourceError(
                f"{path} holds no files: record rollouts into it; a bag appears there when its "
                "rollout ends"
            )
        raise SourceError(f"{path} is no known source of rollouts: name {_known_kinds()}")
    for source, _ in sources:
        if source != path:
            reject_link_out(source, path)
    return [found for source, kind in sources for found in _found(source, kind)]


def _found(source: Path, kind: SourceKind) -> list[Found]:
    if isinstance(kind, RolloutStore):
        return kind.found(source)
    return [Found(source, kind, sum(file_sizes(source).values()))]


def _found_at_address(path: Path) -> list[Found]:
    """Return the sources at an address, told apart by the names of their files."""
    if not exists(path):
        raise SourceError(
            f"{shown(path)} does not exist{on_worker()}: check the bucket and the name, upper and "
            f"lower case too, of {_known_kinds()}"
        )
    store = RolloutStore()
    if store.recognises(path):
        return store.found(path)
    with outline(path) as (folder, sizes):
        if not is_file(path):
            sources = [(path / at.relative_to(folder), kind) for at, kind in _sources_at(folder)]
        elif (kind := kind_of(folder)) is not None:
            sources = [(path, kind)]
        else:
            sources = []
    if not sources:
        raise SourceError(f"{shown(path)} is no known source of rollouts: name {_known_kinds()}")
    found = []
    for source, kind in sources:
        if isinstance(kind, RolloutStore):
            found += kind.found(source)
            continue
        size = sum(size for file, size in sizes.items() if file.is_relative_to(source))
        is_read_there = isinstance(kind, Archive)
        found.append(Found(source, kind if is_read_there else CopiedSource(kind), size))
    return found


def _sources_at(path: Path) -> list[tuple[Path, SourceKind]]:
    """Return the source at a path, or those in a folder there."""
    if (kind := kind_of(path)) is not None:
        return [(path, kind)]
    inner = sorted(path.iterdir()) if path.is_dir() else []
    return [(child, kind) for child in inner if (kind := kind_of(child)) is not None]


def kind_of(path: Path) -> SourceKind | None:
    """Return the kind of the source at a path of this machine; None if there is none."""
    return next((kind for kind in SOURCE_KINDS.values() if kind.recognises(path)), None)


def _known_kinds() -> str:
    return f"a {', a '.join(SOURCE_KINDS)}, or a folder of these"


def _with_unique_names(rollouts: Sequence[Rollout]) -> tuple[Rollout, ...]:
    """Prefix names that occur twice with as much of the path as makes them unique."""
    names = [rollout.name for rollout in rollouts]
    parents = [resolved(Path(rollout.source)).parent.parts for rollout in rollouts]
    for depth in range(1, max((len(parts) for parts in parents), default=0)):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        names = [
            f"{parts[-depth]}/{name}" if counts[name] > 1 and depth < len(parts) else name
            for name, parts in zip(names, parents, strict=True)
        ]
    return tuple(
        replace(rollout, name=name) for rollout, name in zip(rollouts, names, strict=True)
    )


def _reject_repeated(rollouts: Sequence[Rollout], seen: dict[str, Rollout]) -> None:
    """Reject rollouts that occur twice, here or among those seen before, and add them to these."""
    for rollout in rollouts:
        earlier = seen.setdefault(rollout.sha256, rollout)
        if earlier is not rollout:
            raise SourceError(
                f"{_title(earlier)} and {_title(rollout)} are the same rollout (equal SHA-256): "
                "leave one of them out, since no rollout may count twice"
            )


def _receptions(contents: Sequence[SourceContents]) -> dict[str, Reception]:
    return {
        rollout.sha256: reception
        for held in contents
        if held.receptions
        for rollout, reception in zip(held.rollouts, held.receptions, strict=True)
    }


def _policy(
    shared: PolicyFormat,
    contents: Sequence[SourceContents],
    stated: PolicyDescription | None,
    given: PolicyDescription,
    like: PolicyFormat | None,
) -> PolicyFormat:
    """Return the format that all rollouts share, completed by the user or else the sources."""
    known = describe_format(like) if like is not None else PolicyDescription()

    def completed(name: str, what: str) -> Any:
        of_user = getattr(given, name)
        if of_user not in ((), None):
            return of_user
        return _agreed(what, _statements(contents, name), getattr(known, name) or None)

    return replace(
        shared,
        action_kind=completed("action_kind", "action kind") or "position",
        position_names=completed("position_names", "position names") or (),
        executed_actions=completed("executed_actions", "number of executed actions"),
        control_period=completed("control_period", "control period"),
        guided_actions=known.completed_by(stated or PolicyDescription()).guided_actions or 0,
        waits=like.waits if like is not None else stated is not None and stated.waits,
    )


def _statements(
    contents: Sequence[SourceContents], name: str
) -> list[tuple[tuple[Rollout, ...], Any]]:
    """Return what each source states of its actions, and its policy: None where it does not."""
    stated = [(h.rollouts, getattr(h.stated_policy, name, None) or None) for h in contents]
    return [*((h.rollouts, getattr(h, name)) for h in contents), *stated]


def _stated_policy(
    contents: Sequence[SourceContents],
    like: PolicyFormat | None,
    described: PolicyDescription | None,
) -> PolicyDescription | None:
    """Return what the policy stated about itself in all sources together; None if nothing.

    Raises:
        SourceError: It stated something else in another source, or than what is known of it.
    """
    known, first = None, None
    for held in contents:
        if held.stated_policy is None or not held.rollouts:
            continue
        if known is None or first is None:
            known, first = held.stated_policy, held.rollouts[0]
        horizon = held.rollouts[0].chunks.shape[2]
        if why_not := held.stated_policy.why_not_of(held.action_names, horizon):
            raise SourceError(
                f"{_title(held.rollouts[0])} has a policy of which {why_not}: let its tap state "
                "what it executes, or read the rollouts without what it stated "
                "(--format-topic '')"
            )
        difference = known.differences_text(held.stated_policy)
        if difference:
            raise SourceError(
                f"{_title(first)} and {_title(held.rollouts[0])} are not of the same policy, by "
                f"what it stated ({difference}): read the rollouts of one policy at a time"
            )
        known = known.completed_by(held.stated_policy)
    if known is None or first is None:
        return None
    for other in (described, None if like is None else describe_format(like)):
        if other is not None and (difference := known.differences_text(other)):
            raise SourceError(
                f"{_title(first)} is of another policy, by what it stated, than the bundle, or "
                f"the rollouts that are calibrated on ({difference}): give rollouts of the same "
                "policy, or calibrate on these"
            )
    return known


def _reject_contradiction(given: PolicyDescription, contents: Sequence[SourceContents]) -> None:
    """Reject what the user gives of the actions, where the policy itself stated something else."""
    for held in contents:
        if not held.rollouts:
            continue
        stated = held.stated_policy or PolicyDescription()
        for name, own, others in given.differences(stated):
            option = f"--{name.replace('_', '-')}"
            own, others = (
                ",".join(value) if isinstance(value, tuple) else value for value in (own, others)
            )
            raise UsageError(
                f"'{option} {own}' contradicts the policy of {_title(held.rollouts[0])}, which "
                f"stated {others}: leave the option out, or, if the policy is wrong, read its "
                "rollouts without what it stated (--format-topic '')"
            )


def _warn_of_unstated(contents: Sequence[SourceContents], known: PolicyDescription | None) -> None:
    """Log which rollouts may be of another policy, since theirs did not state which it is."""
    silent = [r.name for held in contents if held.stated_policy is None for r in held.rollouts]
    if silent and known is not None:
        logger.warning(
            "the policy of %d rollouts stated nothing about itself (%s): that it is the one of "
            "the others, or of the bundle, is taken for granted",
            len(silent),
            list_names(silent),
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
    what: str,
    statements: Sequence[tuple[tuple[Rollout, ...], Stated | None]],
    wanted: Stated | None = None,
) -> Stated | None:
    """Return what all sources that state it agree on, or else what is wanted."""
    stated = [(held[0], value) for held, value in statements if held and value is not None]
    for other, value in stated[1:]:
        if _differ(value, stated[0][1]):
            raise SourceError(
                f"{_title(stated[0][0])} and {_title(other)} differ in their {what} "
                f"({stated[0][1]} against {value}): read the rollouts of one policy at a time"
            )
    if not stated:
        return wanted
    first, value = stated[0]
    if wanted is not None and _differ(value, wanted):
        raise SourceError(
            f"{_title(first)} states another {what} ({value}) than the bundle, or the rollouts "
            f"that are calibrated on ({wanted}): give rollouts of the same policy"
        )
    return value if wanted is None else wanted


def _differ(one: object, other: object) -> bool:
    """Return whether two statements contradict each other; those of a time are rounded."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) > PERIOD_TOLERANCE * max(one, other)
    return one != other


def _title(rollout: Rollout) -> str:
    return f"{rollout.name} ({rollout.source})"
