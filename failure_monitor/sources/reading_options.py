# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How the sources of one calibration or evaluation are read and labelled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from failure_monitor.decision import ACTION_KINDS, ActionKind, PolicyFormat
from failure_monitor.errors import UsageError, one_of
from failure_monitor.executors.choice import chosen_executor
from failure_monitor.executors.executor import Executor
from failure_monitor.parameters.topics import external_topic
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.scores.external import EXTERNAL_PREFIX
from failure_monitor.scores.registry import score_named
from failure_monitor.sources.agreed_policy import reject_different_policies
from failure_monitor.sources.labels import read_labels
from failure_monitor.sources.reading import Report
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import Take, label, read_rollouts
from failure_monitor.sources.source import (
    BOUNDARY_KINDS,
    TOKENS,
    BlackBox,
    DatasetOptions,
    Topics,
)

Progress = Callable[[], AbstractContextManager[Report]]
"""Opens a display of how far reading is, and returns what updates it."""


def no_progress() -> AbstractContextManager[Report]:
    """Show no progress."""
    return nullcontext(lambda so_far: None)


def paths_of(sources: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return sources, one or several, as paths."""
    if isinstance(sources, (str, Path)):
        return [Path(sources)]
    return [Path(source) for source in sources]


def names_of(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return names, of which one alone may be given as a text."""
    return (names,) if isinstance(names, str) else tuple(names)


@dataclass(frozen=True)
class StatedActions:
    """What the user states of a policy's actions, which bags do not hold.

    Attributes:
        action_kind: What an action means; None leaves it to the source.
        position_names: The actions that span positions; none leaves it to the source.
        executed_actions: Actions of a chunk that are executed before the next decision.
        control_period: Seconds from one executed action to the next, by which the stamps tell how
            many were executed.
    """

    action_kind: str | None = None
    position_names: tuple[str, ...] = ()
    executed_actions: int | None = None
    control_period: float | None = None

    @property
    def known_kind(self) -> ActionKind | None:
        """The kind of actions, checked.

        Raises:
            UsageError: There is no such kind.
        """
        return one_of(self.action_kind, ACTION_KINDS, "action kind") if self.action_kind else None

    def check(self) -> None:
        """Reject actions that have no meaning.

        Raises:
            UsageError: There is no such kind, no action is executed, or none at any time.
        """
        self.known_kind  # noqa: B018
        if self.executed_actions is not None and self.executed_actions < 1:
            raise UsageError(
                f"{self.executed_actions} executed actions move nothing: give a number from 1 on"
            )
        if self.control_period is not None and not 0 < self.control_period < math.inf:
            raise UsageError(
                f"a control period of {self.control_period:g} s is invalid: give the seconds from "
                "one action to the next, such as 0.05"
            )


@dataclass(frozen=True)
class ReadingOptions:
    """How sources are read: an option of the commands for nearly each attribute.

    Attributes:
        topics: Under which names bags hold what is needed.
        boundaries: How a bag is divided into rollouts.
        pause: Seconds without a decision that end a rollout, for the boundaries 'pauses' alone.
        measured_names: Joints of the measured positions, in the order of the actions.
        black_box: Models that compute what the policy did not publish.
        dataset: How LeRobotDatasets are read.
        labels: A file of outcomes, groups and tasks.
        task: The task of all rollouts; empty leaves it to the sources.
        jobs: Processes that work at a time; None means one for each core.
        executor: Where the work runs: serial, in processes, or on Ray.
        worker_memory: The bytes of memory that each worker may take; None for no limit.
        worker_gpus: The GPUs of each worker on Ray.
        skips_unreadable: Whether sources that are damaged, or that no worker survives, are left
            out with a warning.
    """

    topics: Topics = field(default_factory=Topics)
    boundaries: str = "auto"
    pause: float | None = None
    measured_names: tuple[str, ...] = ()
    black_box: BlackBox = field(default_factory=BlackBox)
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    labels: str | Path | None = None
    task: str = ""
    jobs: int | None = None
    executor: str = "processes"
    worker_memory: int | None = None
    worker_gpus: float = 0.0
    skips_unreadable: bool = False

    def for_scores(self, scores: Sequence[str]) -> ReadingOptions:
        """Return these options, so that what scores need besides decisions is read, too.

        Args:
            scores: The names of the scores.
        """
        external = {
            score.removeprefix(
                EXTERNAL_PREFIX
            ): f"/{external_topic(score[len(EXTERNAL_PREFIX) :])}"
            for score in scores
            if score.startswith(EXTERNAL_PREFIX)
        }
        topics = replace(self.topics, external={**external, **self.topics.external})
        options = replace(self, topics=topics)
        needs_tokens = any(score_named(score).needs_tokens for score in scores)
        return options.with_tokens() if needs_tokens else options

    def with_tokens(self) -> ReadingOptions:
        """Return these options, so that tokens are read, too."""
        return replace(self, topics=replace(self.topics, tokens=self.topics.tokens or TOKENS))

    @property
    def workers(self) -> Executor:
        """What works over sources and rollouts.

        Raises:
            UsageError: There is no such executor, or it takes no such setting.
        """
        return chosen_executor(
            self.executor,
            jobs=self.jobs,
            memory=self.worker_memory,
            gpus=self.worker_gpus,
            isolates=self.skips_unreadable,
        )

    @property
    def alone(self) -> ReadingOptions:
        """These options for one source by itself, in the process that reads it."""
        return replace(
            self,
            labels=None,
            executor="serial",
            worker_memory=None,
            worker_gpus=0.0,
            skips_unreadable=False,
        )

    def read(
        self,
        sources: Sequence[Path],
        actions: StatedActions | None = None,
        *,
        like: PolicyFormat | None = None,
        described: PolicyDescription | None = None,
        progress: Progress = no_progress,
        logs_delays: bool = True,
        take: Take | None = None,
    ) -> RolloutSet:
        """Read all rollouts of some sources.

        Args:
            sources: Bags, archives, FIPER folders, LeRobotDatasets, folders of these, or patterns
                of their names.
            actions: What the user states of the policy's actions.
            like: The policy of which the rollouts must be, if it is known.
            described: What that policy stated about itself, if it is known.
            progress: Shows how far reading is.
            logs_delays: Whether a warning is logged for late messages in bags.
            take: Receives the rollouts of each source as soon as it is read, as in
                `read_rollouts`; not with labels, which are checked against all rollouts.

        Raises:
            FailureMonitorError: An option has no meaning, or a source cannot be read.
        """
        return self.read_groups(
            [sources],
            actions,
            like=like,
            described=described,
            progress=progress,
            logs_delays=logs_delays,
            take=take,
        )[0]

    def read_groups(
        self,
        groups: Sequence[Sequence[Path]],
        actions: StatedActions | None = None,
        *,
        like: PolicyFormat | None = None,
        described: PolicyDescription | None = None,
        progress: Progress = no_progress,
        logs_delays: bool = True,
        take: Take | None = None,
    ) -> tuple[RolloutSet, ...]:
        """Read several groups of sources, whose rollouts share a policy and a file of labels.

        All groups but the first may be empty. What the first states of actions completes what the
        others leave open, and must not be contradicted by them. What the policy stated about
        itself in any of them is known of the first. `take` receives rollouts as in `read`.

        Raises:
            FailureMonitorError: An option has no meaning, or a source cannot be read.
        """
        self.check()
        stated = actions or StatedActions()
        stated.check()
        labels = None if self.labels is None else read_labels(Path(self.labels))
        assert labels is None or take is None, "labels are checked against all rollouts"
        with progress() as report:

            def read(
                sources: Sequence[Path],
                like: PolicyFormat | None,
                described: PolicyDescription | None,
            ) -> RolloutSet:
                return read_rollouts(
                    sources,
                    like=like,
                    described=described,
                    report=report,
                    logs_delays=logs_delays,
                    take=take,
                    **self._settings(stated),
                )

            first = read(groups[0], like, described)
            others = []
            for sources in groups[1:]:
                other = RolloutSet(first.policy, ())
                if sources:
                    other = read(sources, first.policy, first.stated_policy or described)
                others.append(other)
                first = replace(first, stated_policy=_together(first, other))
        reject_different_policies([first, *others])
        return label([first, *others], labels)

    def _settings(self, stated: StatedActions) -> dict[str, Any]:
        return {
            "topics": self.topics,
            "boundaries": one_of(self.boundaries, BOUNDARY_KINDS, "kind of boundary"),
            "pause": self.pause,
            "measured_names": self.measured_names,
            "black_box": self.black_box,
            "dataset": self.dataset,
            "task": self.task or None,
            "executor": self.workers,
            "skips_unreadable": self.skips_unreadable,
            "action_kind": stated.known_kind,
            "position_names": stated.position_names or None,
            "executed_actions": stated.executed_actions,
            "control_period": stated.control_period,
        }

    def check(self) -> None:
        """Reject options that have no meaning, alone or together.

        Raises:
            UsageError: Names the option.
        """
        one_of(self.boundaries, BOUNDARY_KINDS, "kind of boundary")
        self.workers  # noqa: B018
        if (self.boundaries == "pauses") is not (self.pause is not None):
            raise UsageError(
                "'--boundaries pauses' and '--pause SECONDS' go together: give both or none"
            )
        if self.pause is not None and not 0 < self.pause < math.inf:
            raise UsageError(f"a pause of {self.pause:g} s ends nothing: give a positive number")
        if self.black_box.rate is not None and not 0 < self.black_box.rate < math.inf:
            raise UsageError(
                f"'--decision-rate {self.black_box.rate:g}' leaves no decision: give a positive "
                "number"
            )


def _together(one: RolloutSet, other: RolloutSet) -> PolicyDescription | None:
    if one.stated_policy is None or other.stated_policy is None:
        return one.stated_policy or other.stated_policy
    return one.stated_policy.completed_by(other.stated_policy)
