# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The headline's verdict on the promise, at the bounds where it changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.evaluation.evaluate import Evaluation, evaluate
from failure_monitor.evaluation.metrics import RolloutResult
from failure_monitor.report.headline import evaluated
from failure_monitor.sources.rollout_set import RolloutSet

WITHIN = "within the promise"
BY_CHANCE = "more than promised, and no more than chance explains"
UNLIKE = ": more than chance explains"

LOWEST_RATE_OF_3_IN_6 = 0.11812
"""Lower end of the 95 % interval by Clopper and Pearson: the 0.025 quantile of Beta(3, 4)."""


@pytest.fixture(scope="module")
def evaluation(bundle) -> Evaluation:
    return evaluate(bundle, RolloutSet(POLICY, (synthetic_rollout(40),)), group_by="group")


def with_likely_rates(bundle: Bundle, *upper_ends: float) -> Bundle:
    """A bundle with a task for each upper end of where its true rate lies."""
    (promise,) = bundle.description.promises
    promises = [replace(promise, false_alarm_interval_90=(0.001, end)) for end in upper_ends]
    return replace(bundle, description=replace(bundle.description, promises=promises))


def with_alarms(evaluation: Evaluation, alarms: int, rollouts: int) -> Evaluation:
    """An evaluation of undisturbed successes, the first of which raised an alarm."""
    results = [
        RolloutResult(
            f"rollout {number}",
            success=True,
            group="id",
            levels=np.full(4, 1.5 if number < alarms else 0.5),
            stamps=np.arange(4) / 10,
        )
        for number in range(rollouts)
    ]
    return replace(evaluation, results=tuple(results))


def promise_sentence(bundle: Bundle, evaluation: Evaluation) -> str:
    return evaluated(bundle, evaluation)[0]


@pytest.mark.parametrize(
    ("upper_ends", "verdict"),
    [
        ([LOWEST_RATE_OF_3_IN_6 + 1e-4], BY_CHANCE),
        ([LOWEST_RATE_OF_3_IN_6 - 1e-4], UNLIKE),
        ([LOWEST_RATE_OF_3_IN_6 - 1e-4, LOWEST_RATE_OF_3_IN_6 + 1e-4], BY_CHANCE),
    ],
    ids=["just within", "just beyond", "within that of one task"],
)
def test_a_rate_is_explained_by_chance_up_to_where_the_intervals_meet(
    bundle, evaluation, upper_ends, verdict
) -> None:
    likely = with_likely_rates(bundle, *upper_ends)
    assert verdict in promise_sentence(likely, with_alarms(evaluation, 3, 6))


@pytest.mark.parametrize(("alarms", "verdict"), [(1, WITHIN), (2, BY_CHANCE)])
def test_a_rate_of_just_alpha_is_within_the_promise(bundle, evaluation, alarms, verdict) -> None:
    assert bundle.alpha == pytest.approx(0.1)
    assert verdict in promise_sentence(bundle, with_alarms(evaluation, alarms, 10))
