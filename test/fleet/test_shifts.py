# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Shifts by local time, also across midnight; a clock that cannot be right is in none."""

from __future__ import annotations

from datetime import datetime

import pytest

from failure_monitor.errors import UsageError
from failure_monitor.fleet.shifts import Shift, ShiftPlan

NOW = datetime(2025, 11, 25, 12).timestamp()


def test_a_shift_across_midnight_is_of_the_day_on_which_it_began():
    plan = ShiftPlan.read("22, 6,14", NOW)
    at = {
        (24, 6): Shift("2025-11-24", 6),
        (24, 13): Shift("2025-11-24", 6),
        (24, 23): Shift("2025-11-24", 22),
        (25, 5): Shift("2025-11-24", 22),
    }
    for (day, hour), shift in at.items():
        assert plan.shift(datetime(2025, 11, day, hour, 59).timestamp()) == shift
    assert str(Shift("2025-11-24", 6)) == "2025-11-24 06:00"


@pytest.mark.parametrize("time", [0.0, -1e300, 1e300, NOW + 2 * 86_400])
def test_a_clock_that_cannot_be_right_is_in_no_shift(time):
    assert ShiftPlan.read("0", NOW).shift(time) is None


@pytest.mark.parametrize("text", ["", "6,6", "24", "-1", "six", "6.5", "6,,14"])
def test_what_is_no_list_of_hours_is_rejected(text):
    with pytest.raises(UsageError, match="no list of different hours"):
        ShiftPlan.read(text, NOW)
