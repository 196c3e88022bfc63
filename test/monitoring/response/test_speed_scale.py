# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The speed scale falls at once, rises slowly, and is 0 where nothing is permitted."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.errors import UsageError
from failure_monitor.monitoring.response.speed_scale import SpeedScale, SpeedSettings
from failure_monitor.monitoring.response.table import Reaction

LEVELS = st.floats(0, 2) | st.just(math.nan)
SETTINGS = st.builds(
    SpeedSettings,
    slow_from=st.floats(0, 0.95),
    slowest=st.floats(0, 1),
    rise=st.floats(0.01, 10),
)
MOMENTS = st.lists(st.tuples(st.sampled_from(Reaction), LEVELS, st.floats(0, 1)), max_size=30)


def test_it_is_full_where_slowing_begins_and_slowest_at_the_alarm():
    settings = SpeedSettings(slow_from=0.5, slowest=0.2)
    speeds = [settings.target(Reaction.SLOW, level) for level in (0.0, 0.5, 0.75, 1.0, 3.0)]
    assert speeds == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])


@given(SETTINGS, st.floats(0, 2), st.floats(0, 2))
def test_it_is_never_faster_nearer_the_alarm(settings, one, other):
    near, far = max(one, other), min(one, other)
    assert settings.target(Reaction.SLOW, near) <= settings.target(Reaction.SLOW, far) + 1e-12


@given(SETTINGS, st.floats(0, 2))
def test_it_is_smooth(settings, level):
    step = 1e-3 * (1 - settings.slow_from)
    before, here, after = (
        settings.target(Reaction.SLOW, level + change) for change in (-step, 0.0, step)
    )
    # No kink: the second difference is that of 3x² − 2x³, at most 6 per unit of x.
    assert abs(before - 2 * here + after) <= 6.1e-6


@given(SETTINGS, MOMENTS)
def test_it_stays_between_0_and_1_and_never_rises_faster_than_set(settings, moments):
    scale, now, last = SpeedScale(settings), 0.0, 0.0
    for reaction, level, passed in moments:
        now += passed
        value = scale.update(reaction, level, now)
        assert 0.0 <= value <= 1.0
        assert value <= last + settings.rise * passed + 1e-9
        assert value <= settings.target(reaction, level)
        if not reaction.permits:
            assert value == 0.0
        last = value


def test_it_rises_again_after_a_stop():
    scale = SpeedScale(SpeedSettings(rise=0.5))
    assert scale.update(Reaction.HALT, 2.0, 0.0) == 0.0
    assert scale.update(Reaction.GO, 0.0, 1.0) == pytest.approx(0.5)
    assert scale.update(Reaction.GO, 0.0, 4.0) == 1.0


def test_a_level_that_is_nan_stands_still():
    assert SpeedSettings().target(Reaction.SLOW, math.nan) == 0.0


def test_a_clock_that_goes_back_makes_nothing_faster():
    scale = SpeedScale(SpeedSettings(rise=1.0))
    scale.update(Reaction.GO, 0.0, 10.0)
    assert scale.update(Reaction.GO, 0.0, 10.5) == pytest.approx(0.5)
    assert scale.update(Reaction.GO, 0.0, 3.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"slow_from": 1.0}, "cannot be slowed from level 1"),
        ({"slowest": 1.5}, "the slowest speed scale is 1.5"),
        ({"rise": 0.0}, "stays at 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        SpeedSettings(**settings)
