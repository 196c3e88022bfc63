# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle promises, as a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from failure_monitor.bundle import Bundle, BundleDescription, PromiseSection
from failure_monitor.scores.probe import Probe


def promise_table(calibrated: Bundle) -> Table:
    """The promise in words, and what it rests on."""
    description = calibrated.description
    table = Table(title="What this bundle promises", show_header=False, title_justify="left")
    names = ", ".join(score.name for score in description.scores)
    table.add_row("rule", f"{description.rule} of {names}, window {description.window}")
    for score in calibrated.scores:
        if isinstance(score, Probe):
            table.add_row(
                score.name,
                f"learned from {len(description.failures)} failures how to weigh "
                f"{', '.join(score.weighed)} and the embedding",
            )
    table.add_row(
        "promise",
        f"a successful rollout raises an alarm with a chance of at most {description.alpha:g}",
    )
    table.add_row(
        "", "it holds for successful rollouts like these: same robot, task, policy and set-up"
    )
    if description.threshold == "time-varying":
        table.add_row(
            "time", "thresholds vary over a rollout: call ~/start_rollout when one begins"
        )
    for promise in description.promises:
        _add_task(table, calibrated, promise)
    return table


def _add_task(table: Table, calibrated: Bundle, promise: PromiseSection) -> None:
    low, high = promise.false_alarm_interval_90
    if promise.task:
        table.add_section()
        table.add_row("task", escape(promise.task))
    table.add_row(
        "calibrated on",
        f"{promise.rollouts} rollouts{_fitted_on(calibrated.description)}; the threshold is number "
        f"{promise.rank} of their maxima, smallest first",
    )
    table.add_row(
        "small print",
        "the chance is over the draw of the calibration rollouts too: given these, the true rate "
        f"lies between {low:.3f} and {high:.3f} (90 %)",
    )
    table.add_row("smallest alpha", f"{promise.smallest_alpha:.3f} with this many rollouts")
    thresholds = np.atleast_2d(calibrated.threshold(promise.task).thresholds)
    for score, over_time in zip(calibrated.scores, thresholds.T, strict=True):
        table.add_row(f"threshold of {score.name}", _range(over_time))


def _range(over_time: NDArray[np.float64]) -> str:
    """A threshold, or from where to where it goes over the decisions of a rollout."""
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
