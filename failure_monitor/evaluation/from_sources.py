# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation from sources: what `failure-monitor evaluate` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import load
from failure_monitor.errors import one_of
from failure_monitor.evaluation.bundle_reading import reading_for
from failure_monitor.evaluation.evaluate import GROUP_KEYS, Evaluation
from failure_monitor.evaluation.evaluate import evaluate as evaluate_rollouts
from failure_monitor.judges.judge_file import load_judge
from failure_monitor.missing_package import missing_packages_named
from failure_monitor.sources.judged_rollouts import reading_judge
from failure_monitor.sources.reading_options import (
    Progress,
    ReadingOptions,
    no_progress,
    paths_of,
)
from failure_monitor.sources.rollout_set import RolloutSet


@dataclass(frozen=True, eq=False)
class EvaluatedBundle:
    """What an evaluation found, and of what.

    Attributes:
        bundle: the bundle.
        rollout_set: all rollouts that were read.
        evaluation: the figures.
    """

    bundle: Bundle
    rollout_set: RolloutSet
    evaluation: Evaluation


def evaluate(
    bundle: str | Path | Bundle,
    sources: str | Path | Sequence[str | Path],
    *,
    group_by: str = "group",
    judge: str | Path | None = None,
    reading: ReadingOptions | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Measure a bundle on rollouts with known outcomes, as `failure-monitor evaluate` does.

    Args:
        bundle: a bundle, or its folder.
        sources: bags, archives, FIPER folders, folders of these, or patterns of their names.
        group_by: what figures are broken down by: 'group' or 'task'.
        judge: the file of an outside judge whose numbers bags hold; None for none.
        reading: how the sources are read; the bundle's models, their settings and its topics need
            not be repeated, and must not be contradicted.
        progress: shows how far reading is.

    Raises:
        FailureMonitorError: an argument has no meaning, a source or the bundle cannot be read, or
            the rollouts do not show how well the bundle does.
    """
    return evaluate_bundle(
        bundle, sources, group_by=group_by, judge=judge, reading=reading, progress=progress
    ).evaluation


@missing_packages_named()
def evaluate_bundle(
    bundle: str | Path | Bundle,
    sources: str | Path | Sequence[str | Path],
    *,
    group_by: str = "group",
    judge: str | Path | None = None,
    reading: ReadingOptions | None = None,
    progress: Progress = no_progress,
) -> EvaluatedBundle:
    """Return what `evaluate` finds, together with the bundle and the rollouts that were read."""
    key = one_of(group_by, GROUP_KEYS, "key to group by")
    reading = reading or ReadingOptions()
    reading.check()
    loaded = bundle if isinstance(bundle, Bundle) else load(Path(bundle))
    judging = None if judge is None else load_judge(Path(judge))
    if judging is not None:
        reading = reading_judge(reading, judging.name)
    with reading_for(loaded, reading) as completed:
        rollout_set = completed.read(
            paths_of(sources),
            like=loaded.policy,
            described=loaded.description.stated_policy,
            progress=progress,
        )
    evaluation = evaluate_rollouts(
        loaded, rollout_set, group_by=key, executor=reading.workers, judge=judging
    )
    return EvaluatedBundle(loaded, rollout_set, evaluation)
