# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The watch of a bundle's promise over recorded rollouts, in order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import content_hash, load
from failure_monitor.decision import InvalidDecisionError, Rollout, in_order_of_time
from failure_monitor.errors import FailureMonitorError
from failure_monitor.evaluation.bundle_reading import reading_for
from failure_monitor.executors.executor import Executor, SerialExecutor
from failure_monitor.missing_package import missing_packages_named
from failure_monitor.outcome.known_outcomes import KnownOutcomes
from failure_monitor.promise.finished_rollout import FinishedRollout, LargestValues
from failure_monitor.promise.reference import references
from failure_monitor.promise.watch import USUAL_DELTA, PromiseState, PromiseWatch
from failure_monitor.schema import plain
from failure_monitor.sources.reading_options import (
    Progress,
    ReadingOptions,
    no_progress,
    paths_of,
)


class PromiseError(FailureMonitorError):
    """Rollouts cannot show whether a promise holds."""


@dataclass(frozen=True, eq=False)
class PromiseCourse:
    """What is known of a promise after every rollout.

    Attributes:
        state: in the end.
        names: the rollouts that counted, in order of time.
        states: what was known after each of these.
        left_out: how many rollouts did not count, by the reason.
        known: by whom the outcomes of all of them are known.
    """

    state: PromiseState
    names: tuple[str, ...]
    states: tuple[PromiseState, ...]
    left_out: Mapping[str, int]
    known: KnownOutcomes

    def to_json(self) -> dict[str, Any]:
        """Return everything in JSON's own types."""
        return {
            "text": self.state.text,
            **plain(self.state),
            "left_out": dict(self.left_out),
            "outcomes_known": self.known.to_json(),
            "course": [
                {"rollout": name, "word": state.word.value, "evidence": state.evidence}
                for name, state in zip(self.names, self.states, strict=True)
            ],
        }


@missing_packages_named()
def promise_of_sources(
    bundle_folder: Path,
    sources: str | Path | Sequence[str | Path],
    *,
    delta: float = USUAL_DELTA,
    reading: ReadingOptions | None = None,
    progress: Progress = no_progress,
) -> tuple[Bundle, PromiseCourse]:
    """Return a bundle, and whether its promise holds in recordings.

    Args:
        bundle_folder: the bundle.
        sources: as `failure-monitor promise` takes them.
        delta: the chance that a promise that holds is ever called broken.
        reading: how the sources are read.
        progress: shows how far reading is.

    Raises:
        FailureMonitorError: the bundle or a source cannot be read, or does not fit.
    """
    reading = reading or ReadingOptions()
    reading.check()
    bundle = load(bundle_folder)
    with reading_for(bundle, reading) as completed:
        rollout_set = completed.read(
            paths_of(sources),
            like=bundle.policy,
            described=bundle.description.stated_policy,
            progress=progress,
        )
    sha256 = content_hash(bundle_folder)
    return bundle, promise_course(bundle, sha256, rollout_set.rollouts, delta, reading.workers)


def promise_course(
    bundle: Bundle,
    sha256: str,
    rollouts: Sequence[Rollout],
    delta: float = USUAL_DELTA,
    executor: Executor | None = None,
) -> PromiseCourse:
    """Watch a promise over rollouts, which are put in order of time (`in_order_of_time`).

    Args:
        bundle: the bundle.
        sha256: its hash.
        rollouts: of any outcome.
        delta: the chance that a promise that holds is ever called broken.
        executor: what scores the rollouts; None for this process.

    Raises:
        PromiseError: the bundle does not hold what new rollouts are compared with.
        UnknownTaskError: it has no promise for a rollout's task.
    """
    if bundle.description.promise == "across-tasks":
        raise PromiseError(
            "a promise across tasks is not watched, as rollouts of one task are more alike than "
            "those of several: calibrate for each task"
        )
    if bundle.description.future:
        raise PromiseError(
            "a promise whose calibration rollouts are weighed for groups to come is not watched, "
            "as a shift of groups is expected: watch one that was calibrated on rollouts like "
            "those to come"
        )
    known = references(bundle.description, sha256)
    if not known:
        raise PromiseError(
            "the bundle does not hold what new rollouts are compared with, since an older version "
            "made it: calibrate again"
        )
    watch = PromiseWatch(known, delta)
    made_it = {section.sha256 for section in (*bundle.calibration, *bundle.fit)} - {""}
    names, states, left_out = [], [], Counter[str]()
    counting = []
    for rollout in rollouts:
        if reason := why_left_out(rollout, made_it):
            left_out[reason] += 1
        else:
            counting.append(rollout)
    in_order = in_order_of_time(counting)
    scored = (executor or SerialExecutor()).map(
        finished_rollout, bundle, in_order, sizes=[len(rollout) for rollout in in_order]
    )
    for rollout, finished in zip(in_order, scored, strict=True):
        states.append(watch.add(finished.task, watch.place(finished)))
        names.append(rollout.name)
    known_by = KnownOutcomes.of(rollouts)
    return PromiseCourse(watch.state, tuple(names), tuple(states), dict(left_out), known_by)


def why_left_out(rollout: Rollout, made_bundle: frozenset[str] | set[str]) -> str:
    """Return why a rollout says nothing of the promise; empty if it does.

    Args:
        rollout: the rollout.
        made_bundle: the hashes of the rollouts that the bundle was made of.
    """
    if rollout.sha256 in made_bundle or rollout.calibration:
        return "set the thresholds, or is set apart for that"
    if not len(rollout):
        return "has no decision"
    if rollout.has_intervention:
        return "a human acted in it"
    if rollout.success is None:
        return "has no outcome"
    return "" if rollout.success else "failed"


def finished_rollout(bundle: Bundle, rollout: Rollout) -> FinishedRollout:
    """Return the largest values of a rollout, as the monitor would have found them.

    Raises:
        UnknownTaskError: the bundle has no promise for its task.
        InvalidDecisionError: a decision is not of the bundle's format, or lacks what a score
            needs.
    """
    task = bundle.promise(rollout.task).task
    rollout.check(bundle.policy)
    monitor = bundle.monitor(rollout.task)
    largest = LargestValues(task)
    valid = bundle.limits.valid_decisions(rollout)
    try:
        for decision in rollout.beginning(valid).decisions():
            largest.update(monitor.update(decision))
    except InvalidDecisionError as error:
        raise InvalidDecisionError(f"{rollout.name}: {error}") from None
    if valid < len(rollout):
        # Beyond the limits of its values: the monitor halts.
        largest.exceed()
    finished = largest.finished
    assert finished is not None
    return finished
