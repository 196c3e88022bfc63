# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a promise means in a week."""

import pytest

from failure_monitor.bundle.description import PromiseSection
from failure_monitor.errors import UsageError
from failure_monitor.promise.alarm_budget import alarm_budget, budget_rows, needed_calibration
from failure_monitor.thresholds.conformal import false_alarm_interval, rank


def promise(n: int, alpha: float, task: str = "") -> PromiseSection:
    return PromiseSection(
        task=task,
        limit=1.0,
        rollouts=n,
        rank=rank(n, alpha),
        smallest_alpha=1 / (n + 1),
        false_alarm_interval_90=false_alarm_interval(n, alpha),
    )


def test_false_stops_of_a_week_follow_from_alpha_and_the_interval():
    budget = alarm_budget(promise(20, 0.1), 0.1, 50)
    low, high = false_alarm_interval(20, 0.1)
    assert budget.at_most == pytest.approx(35)
    assert budget.interval_90 == pytest.approx((350 * low, 350 * high))
    assert "at 50 successful rollouts a day at most 35 false stops a week" in budget.text


@pytest.mark.parametrize(("stops", "alpha", "rollouts"), [(7, 0.01, 99), (35, 0.05, 19)])
def test_a_wish_gives_alpha_and_the_number_of_rollouts(stops, alpha, rollouts):
    needed = needed_calibration(stops, 100)
    assert needed.alpha == pytest.approx(alpha)
    assert needed.rollouts == rollouts
    assert false_alarm_interval(needed.sure_rollouts, alpha)[1] <= 1.5 * alpha
    assert needed.sure_rollouts > rollouts
    # What is asked for is what calibration accepts.
    rank(needed.rollouts, needed.alpha)


def test_wishes_beyond_reason_have_an_answer():
    assert needed_calibration(1e6, 1).alpha == 0.5
    needed = needed_calibration(1e-6, 1e6)
    assert needed.rollouts > 1e9
    assert false_alarm_interval(needed.sure_rollouts, needed.alpha)[1] <= 1.5 * needed.alpha
    with pytest.raises(UsageError, match="no calibration promises as few as 1e-20 false stops"):
        needed_calibration(1e-20, 100)


def test_every_task_has_its_row():
    rows = budget_rows([promise(20, 0.1, "a"), promise(40, 0.1, "b")], 0.1, stops_per_week=3)
    assert [what for what, _ in rows] == ["alarm budget of a", "alarm budget of b", "needed"]
