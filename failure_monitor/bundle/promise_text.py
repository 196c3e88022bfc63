# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The text of a bundle's promise, and of what the promise rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from failure_monitor.bundle.bundle import Bundle, shortfall
from failure_monitor.bundle.description import BundleDescription, PromiseSection
from failure_monitor.scores.probe import Probe

Row: TypeAlias = tuple[str, str]
"""A heading and its text; the heading is empty if the text continues the row before."""


def promise_rows(calibrated: Bundle, *, with_thresholds: bool = True) -> list[list[Row]]:
    """Return rows for all tasks and then for each task; one list if there are no tasks."""
    sections = [
        [
            *_of_task(calibrated, promise),
            *(_thresholds(calibrated, promise) if with_thresholds else ()),
        ]
        for promise in calibrated.description.promises
    ]
    general = list(_general(calibrated))
    if calibrated.description.promises[0].task:
        return [general, *sections]
    return [general + sections[0]]


def _general(calibrated: Bundle) -> Iterator[Row]:
    description = calibrated.description
    names = ", ".join(score.name for score in description.scores)
    rate = f"{description.promised_rate:.3g}"
    yield "rule", f"{description.rule} of {names}, window {description.window}"
    for number, reason in enumerate(description.rule_choice):
        yield "" if number else "why this rule", reason
    for score in calibrated.scores:
        model = score.models[0]
        if isinstance(model, Probe):
            yield (
                score.name,
                f"learned from {len(description.failures)} failures how to weigh "
                f"{', '.join(model.score_names)}"
                f"{' and the embedding' if calibrated.policy.embedding_size else ''}",
            )
    yield (
        "promise",
        f"a successful rollout raises an alarm with a chance of at most {rate}",
    )
    if description.has_pairs and description.future:
        yield "", "of cross-fitted scores whose rollouts are weighed that is found, not proved"
    elif description.has_pairs:
        yield (
            "",
            f"proved is at most {2 * description.promised_rate:.3g}, whatever the scores are; "
            f"near {rate} is what is found",
        )
    if description.promise == "across-tasks":
        yield "", "it holds for one rollout of any task that is like these tasks, also a new one"
    else:
        yield (
            "",
            "it holds for successful rollouts like these: same robot, task, policy and set-up",
        )
    if description.future:
        shares = ", ".join(f"{name} {share:.3g}" for name, share in description.future.items())
        yield "groups to come", f"rollouts are weighed for these shares of successes: {shares}"
    yield from _outcome_check(description)
    if description.threshold == "time-varying":
        yield "time", "thresholds vary over a rollout: call ~/start_rollout when one starts"


def _outcome_check(description: BundleDescription) -> Iterator[Row]:
    section = description.outcome
    if section is None:
        return
    yield (
        "outcome check",
        f"a true success is doubted with a chance of at most {section.alpha:g}, by the ends' "
        f"{', '.join(section.parts)}",
    )
    if description.has_pairs:
        yield (
            "",
            f"proved is at most {2 * section.alpha:g}, near {section.alpha:g} is what is found; "
            "how many false successes are found is not promised",
        )
    else:
        yield "", "how many false successes are found is not promised"
    for part, reason in section.left_out.items():
        yield "", f"without {part}: {reason}"
    for task in section.tasks:
        if task.unknown:
            of = f" of {task.task}" if task.task else ""
            yield "", f"judges no end{of}: {task.unknown}"


def _of_task(calibrated: Bundle, promise: PromiseSection) -> Iterator[Row]:
    description = calibrated.description
    low, high = promise.false_alarm_interval_90
    if promise.task:
        yield "task", promise.task
    threshold = (
        f"an alarm is raised where {promise.rank} of them lie below, each by the scores of its "
        "fold"
        if description.has_pairs
        else f"the threshold is number {promise.rank} of their maxima, smallest first"
    )
    if promise.tasks is not None:
        threshold = (
            f"each of {promise.tasks} tasks weighs the same, and an alarm is raised where "
            f"the weights of those below reach what {promise.rank} tasks weigh"
        )
    if promise.counting is not None:
        threshold = (
            f"weighed for groups to come they count as {promise.counting}, and an alarm is raised "
            f"where the weights of those below reach {1 - description.alpha:.3g}; that of the "
            "rollout to come lies above"
        )
    yield "calibrated on", f"{promise.rollouts} rollouts{_fitted_on(description)}; {threshold}"
    if less := shortfall(promise, description.alpha):
        yield "caution", f"{less}; until then every rollout is watched in CAUTION at least"
    about = "about " if description.has_pairs or description.future else ""
    yield (
        "small print",
        "the chance is over the draw of the calibration rollouts too: given these, the true rate "
        f"lies between {about}{low:.3f} and {high:.3f} (90 %)",
    )
    many = "rollouts" if promise.tasks is None else "tasks"
    many += " of these weights" if promise.counting is not None else ""
    yield "smallest alpha", f"{promise.smallest_alpha:.3f} with this many {many}"


def _thresholds(calibrated: Bundle, promise: PromiseSection) -> Iterator[Row]:
    thresholds = np.atleast_2d(calibrated.threshold(promise.task).thresholds)
    about = "about " if calibrated.description.has_pairs else ""
    for score, over_time in zip(calibrated.scores, thresholds.T, strict=True):
        yield f"threshold of {score.name}", about + _range(over_time)


def _range(over_time: NDArray[np.float64]) -> str:
    """Return a threshold, or its range over the decisions of a rollout."""
    if len(over_time) == 1:
        return f"{over_time[0]:.4g}"
    return (
        f"{over_time.min():.4g} to {over_time.max():.4g} over {len(over_time)} decisions, "
        f"{over_time[-1]:.4g} from there on"
    )


def _fitted_on(description: BundleDescription) -> str:
    if description.fit:
        return f", with scores fitted on {len(description.fit)} others"
    return f", cross-fitted in {description.folds} folds"
