# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads rollouts from bags, archives, stores, datasets, FIPER folders, and folders of these."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from failure_monitor.decision import ActionKind, PolicyFormat, Rollout
from failure_monitor.executors.executor import Executor
from failure_monitor.executors.process_executor import ProcessExecutor
from failure_monitor.listed_names import list_names
from failure_monitor.policy_description import (
    PolicyDescription,
)
from failure_monitor.sources.addresses import (
    resolved,
    shown,
)
from failure_monitor.sources.agreed_policy import (
    agreed,
    agreed_policy,
    reject_contradicting_options,
    shared_format,
    state_the_same,
    stated_policy,
    statements,
    title,
    warn_of_unstated,
)
from failure_monitor.sources.found_sources import find_sources, known_kinds
from failure_monitor.sources.labels import Labels
from failure_monitor.sources.numberless import without_numbers
from failure_monitor.sources.reading import Report, read_all
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import (
    BagOptions,
    BlackBox,
    BoundaryKind,
    DatasetOptions,
    Reception,
    SourceContents,
    SourceError,
    Topics,
)

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
        raise SourceError(f"no rollouts in {named}: name {known_kinds()} that holds some")
    _reject_repeated(rollouts, {})
    rollout_set = _together(known, contents, rollouts)
    warn_of_unstated(contents, rollout_set.stated_policy or described)
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
        if not any(state_the_same(rest, other) for other in self.stating):
            self.stating.append(replace(rest, rollouts=rest.rollouts[:1], receptions=()))
        return rest


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
    shared = shared_format(contents)
    stated = stated_policy(contents, like, known.described)
    reject_contradicting_options(given, contents)
    policy = agreed_policy(shared, contents, stated, given, like)
    measured = agreed("measured positions", [(h.rollouts, h.positions_topic) for h in contents])
    types = {
        topic: agreed(
            f"type of {topic}", [(h.rollouts, h.message_types.get(topic)) for h in contents]
        )
        for topic in sorted({topic for held in contents for topic in held.message_types})
    }
    kinds = [
        given.action_kind,
        like,
        *(value for _, value in statements(contents, "action_kind")),
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
                f"{title(told)} is labelled as of the task '{labelled.task}', and was embedded "
                f"for '{told.task}', which its bag states: correct the label, or name the task "
                "with --task"
            )


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
                f"{title(earlier)} and {title(rollout)} are the same rollout (equal SHA-256): "
                "leave one of them out, since no rollout may count twice"
            )


def _receptions(contents: Sequence[SourceContents]) -> dict[str, Reception]:
    return {
        rollout.sha256: reception
        for held in contents
        if held.receptions
        for rollout, reception in zip(held.rollouts, held.receptions, strict=True)
    }
