# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a rule would do at every alpha, and which alpha a wish needs."""

from __future__ import annotations

import numpy as np
import pytest

from failure_monitor.evaluation.dial import Dial, Share, result_at
from failure_monitor.evaluation.dial_text import dial_json, dial_table, wish_text
from failure_monitor.evaluation.metrics import RolloutResult

N = 19
"""Calibration rollouts: they can promise an alpha of 0.05 or more."""


def result(*below: int, success: bool, group: str = "id") -> RolloutResult:
    """A rollout whose first decisions are below so many calibration rollouts each."""
    return RolloutResult(
        name="rollout",
        success=success,
        group=group,
        levels=np.zeros(len(below)),
        stamps=0.5 * np.arange(len(below)),
        early_decisions=3,
        below=np.array(below),
        calibration_rollouts=N,
    )


RESULTS = (
    result(0, 18, 19, 19, success=False, group="light"),
    result(0, 0, 0, 19, success=False, group="light"),
    result(5, 19, 3, success=True, group="light"),
    result(5, 17, 3, success=True, group="light"),
    result(5, 12, 3, success=True, group="light"),
    result(2, 18, success=True),
    result(2, 3, success=True),
)


def test_an_alarm_needs_as_many_calibration_rollouts_below_as_alpha_says():
    # k is 19, 18 and 17 of 19 at these alphas.
    for alpha, decisions in ((0.05, [2, 3, 1]), (0.1, [1, 3, 1]), (0.15, [1, 3, 1])):
        at = [result_at(each, alpha).alarm_decision for each in RESULTS[:3]]
        assert at == decisions, alpha
    assert result_at(RESULTS[3], 0.1).alarm_decision is None
    assert result_at(RESULTS[3], 0.15).alarm_decision == 1


def test_the_dial_begins_where_the_rollouts_can_promise_and_holds_the_chosen_alpha():
    dial = Dial.of(RESULTS, 0.125)
    alphas = [point.alpha for point in dial.points]
    assert alphas[0] == 0.05
    assert alphas[-1] == 0.3
    assert 0.125 in alphas
    assert alphas == sorted(alphas)


def test_every_point_counts_what_happens_there():
    dial = Dial.of(RESULTS, 0.1)
    strict, chosen = dial.at(0.05), dial.at(0.1)
    assert strict.found_early == Share(1, 2)
    assert strict.disturbed == Share(1, 3)
    assert strict.undisturbed == Share(0, 2)
    assert strict.lead_time_s == pytest.approx((0.5 + 0.0) / 2)
    assert chosen.found_early == Share(1, 2)
    assert chosen.undisturbed == Share(1, 2)
    assert chosen.lead_time_s == pytest.approx((1.0 + 0.0) / 2)
    assert dial.at(0.15).disturbed == Share(2, 3)
    for share in ("found_early", "disturbed", "undisturbed"):
        counts = [getattr(point, share).events for point in dial.points]
        assert counts == sorted(counts)


def test_the_chosen_alpha_is_marked_and_shares_have_their_intervals():
    table = dial_table(Dial.of(RESULTS, 0.1))
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["0.1 ◀ chosen"] == (
        "0.50 (0.01–0.99)",
        "0.33 (0.01–0.91)",
        "0.50 (0.01–0.99)",
        "0.50 s",
    )
    assert "0.05" in rows


def many(alarms: int, rollouts: int) -> list[RolloutResult]:
    """So many disturbed successes, of which some are above all calibration rollouts."""
    return [
        result(N if number < alarms else 17, success=True, group="light")
        for number in range(rollouts)
    ]


def test_a_wish_counts_one_alarm_more_than_there_is():
    # With 1 of 19 the rate for a further one is at most 2/20, with 2 of 19 at most 3/20.
    granted = Dial.of(many(1, 19), 0.1).wish(0.1)
    assert granted.point is not None
    # At 0.15 k is 17, and all of them would raise an alarm.
    assert granted.point.alpha == 0.14
    assert Dial.of(many(2, 19), 0.1).wish(0.1).point is None


def test_a_wish_is_told_with_what_it_costs_and_how_sure_it_is():
    text = wish_text(Dial.of([*many(1, 19), RESULTS[0]], 0.1).wish(0.1))
    assert "needs alpha 0.14: at alpha 0.14 1 of 19 raise one" in text
    assert "95 % interval of the rate 0.00 to 0.26" in text
    assert "1 of 1 failures are then found early" in text


@pytest.mark.parametrize(
    ("results", "most", "sentence"),
    [
        (many(0, 8), 0.1, "8 disturbed rollouts that succeed are too few"),
        (many(0, 8), 0.1, "evaluate 9 or more"),
        (many(5, 19), 0.1, "no alpha keeps alarms to 0.1 of disturbed rollouts"),
        ([RESULTS[0], RESULTS[5]], 0.1, "no disturbed rollout that succeeds is among these"),
    ],
)
def test_a_wish_that_cannot_be_granted_says_why(results, most, sentence):
    assert sentence in wish_text(Dial.of(results, 0.1).wish(most))


def test_a_bundle_that_does_not_tell_has_no_dial():
    silent = RolloutResult("r", True, "", np.zeros(2), np.arange(2.0))
    assert Dial.of([*RESULTS, silent], 0.1) is None


def test_the_dial_as_json():
    content = dial_json(Dial.of(RESULTS, 0.1))
    assert content["chosen_alpha"] == 0.1
    first = content["points"][0]
    assert first["alpha"] == 0.05
    assert first["alarms_in_disturbed_successes"]["events"] == 1
    assert len(first["failures_found_early"]["interval_95"]) == 2
