# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The wish for disturbed rollouts that succeed, and the alpha that it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from failure_monitor.cli.declaration import Option
from failure_monitor.errors import UsageError

if TYPE_CHECKING:
    from failure_monitor.calibration.from_sources import Calibration
    from failure_monitor.evaluation.dial import Wish
    from failure_monitor.evaluation.evaluate import Evaluation

MaxDisturbedAlarms = Annotated[
    float | None,
    Option(
        above=0,
        below=1,
        help="a wish, such as 0.1 for an alarm in at most one in ten disturbed rollouts that "
        "succeed all the same: says which alpha that needs, and what it costs",
    ),
]


def wish_for(evaluation: Evaluation, most: float | None) -> Wish | None:
    """Return the wish that an option states, beside what was evaluated; None without one.

    Raises:
        UsageError: the bundle does not tell what it would do at another alpha.
    """
    if most is None:
        return None
    if evaluation.dial is None:
        raise UsageError(
            "the bundle does not tell what another alpha would do: it promises across tasks, "
            "weighs rollouts for groups to come, or is of an older version. Leave out "
            "--max-disturbed-alarms, or give a bundle that was calibrated for each task"
        )
    return evaluation.dial.wish(most)


def wish_beside_calibration(calibration: Calibration, most: float) -> Wish | None:
    """Return the wish beside those rollouts of the sources that did not calibrate.

    Raises:
        UsageError: there is none of known outcome.
        FailureMonitorError: they cannot be evaluated.
    """
    from failure_monitor.evaluation.evaluate import evaluate

    used = {id(rollout) for rollout in calibration.rollouts}
    others = tuple(
        rollout
        for rollout in calibration.rollout_set.rollouts
        if id(rollout) not in used and rollout.success is not None and not rollout.calibration
    )
    if not others:
        raise UsageError(
            "'--max-disturbed-alarms' needs rollouts of known outcome that do not calibrate, and "
            "the sources have none: give it to `evaluate`, with disturbed rollouts"
        )
    rollout_set = replace(calibration.rollout_set, rollouts=others)
    return wish_for(evaluate(calibration.bundle, rollout_set), most)
