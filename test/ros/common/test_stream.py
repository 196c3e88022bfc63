# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How often messages come, how often they were made, and what their stamps say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.ros.common.stream import (
    MAX_LOST_SHARE,
    OUT_OF_ORDER,
    PAUSE,
    REPEATED,
    WINDOW,
    ClockSetBackError,
    StampError,
    StampLimits,
    Stream,
)
from failure_monitor.ros.monitor.clock_watch import ClockWatch

NO_CLOCK = 0
SECOND = 1_000_000_000
LIMITS = StampLimits(lead=0.5)


def heard(rate, share=1.0, *, jitter=0.0, seconds=8.0, seed=0):
    """A stream of messages of which a share arrives, and when the last one was made."""
    rng = np.random.default_rng(seed)
    stream = Stream("/camera")
    made = np.arange(0, seconds, 1 / rate)
    for time in made[rng.random(len(made)) < share]:
        stamp = 100 + time + jitter / rate * rng.normal()
        stream.add(time, round(stamp * SECOND))
    return stream, made[-1]


@pytest.mark.parametrize("rate", [2.0, 10.0, 30.0, 500.0])
def test_rates_agree_where_nothing_is_lost(rate):
    stream, now = heard(rate)
    assert stream.received_rate(now) == pytest.approx(rate, rel=0.01)
    assert stream.stamped_rate() == pytest.approx(rate, rel=0.01)
    assert stream.lost_share() < 0.01


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("seed", range(5))
def test_the_stamps_tell_what_was_lost(share, seed):
    stream, _ = heard(30.0, share, seed=seed)
    assert stream.stamped_rate() == pytest.approx(30.0, rel=0.01)
    assert stream.lost_share() == pytest.approx(1 - share, abs=0.12)


@pytest.mark.parametrize("seed", range(20))
def test_that_nearly_all_is_lost_is_seen_too(seed):
    stream, _ = heard(30.0, 0.08, seed=seed)
    assert stream.lost_share() > MAX_LOST_SHARE


@pytest.mark.parametrize("seed", range(5))
def test_stamps_that_jitter_are_no_loss(seed):
    stream, _ = heard(30.0, jitter=0.1, seed=seed)
    assert stream.lost_share() < 0.2


@pytest.mark.parametrize("seed", range(20))
def test_stamps_that_jitter_a_little_tell_what_was_lost(seed):
    stream, _ = heard(30.0, 0.5, jitter=0.02, seed=seed)
    assert stream.lost_share() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_published_now_and_then_has_no_period(seed):
    stream = Stream("/policy/embedding")
    for time in np.cumsum(np.random.default_rng(seed).exponential(0.1, 80)):
        stream.add(time, round((100 + time) * SECOND))
    assert stream.lost_share() < MAX_LOST_SHARE


@pytest.mark.parametrize("pause", [PAUSE + 0.5, WINDOW - 3.0, WINDOW + 48.0])
def test_a_pause_is_no_loss(pause):
    """Be it shorter than the window over which rates are measured, or longer."""
    stream = Stream("/policy/embedding")
    for start in (0.0, 2.0 + pause):
        for time in np.arange(start, start + 2.0, 0.1):
            stream.add(time, round((100 + time) * SECOND))
            assert stream.lost_share() < 0.1
    end = 4.0 + pause
    assert stream.received_rate(end - 0.1) == pytest.approx(10.0, rel=0.1)
    assert stream.stamped_rate() == pytest.approx(10.0, rel=0.1)
    assert stream.lost_share() < 0.1


@pytest.mark.parametrize("pause", [1.5, PAUSE - 0.5])
def test_a_pause_within_the_window_is_no_loss_and_gaps_beside_it_are(pause):
    for share, lost in ((1, False), (2, True)):
        stream = Stream("/policy/embedding")
        for start in (0.0, 2.0 + pause):
            for index, time in enumerate(np.arange(start, start + 2.0, 0.1)):
                if index % (4 * share) or share == 1:
                    stream.add(time, round((100 + time) * SECOND))
        assert (stream.lost_share() > 0.1) == lost


def test_long_gaps_again_and_again_are_loss():
    stream, now = heard(20.0, seconds=5.0)
    for time in np.arange(now, now + 4.5, 0.75):
        stream.add(time, round((100 + time) * SECOND))
    assert stream.lost_share() > MAX_LOST_SHARE


def test_silence_after_the_last_message_is_no_loss():
    stream, _ = heard(10.0)
    assert stream.lost_share() < 0.01
    stream.start_rollout()
    assert stream.lost_share() == 0.0


def test_messages_that_the_middleware_numbers_are_missed_exactly():
    stream = Stream("/policy/action_chunks")
    numbers = [7, 8, 12, 13, 3, 4, None, 9, 11]
    assert [stream.count_lost(number) for number in numbers] == [0, 0, 3, 0, 0, 0, 0, 0, 1]
    assert stream.lost == 4
    stream.start_rollout()
    assert stream.count_lost(50) == 0


def test_rates_are_those_of_the_last_window():
    stream = Stream("/camera")
    times = [*np.arange(0.0, 20.0, 0.1), *np.arange(20.0, 22.0 + WINDOW, 0.5)]
    for time in times:
        stream.add(time, round((100 + time) * SECOND))
    assert stream.received_rate(times[-1]) == pytest.approx(2.0, rel=0.05)


def test_what_has_ceased_has_no_rate():
    stream, now = heard(30.0)
    assert stream.received_rate(now + 100.0) < 0.1


def test_messages_without_stamps_have_no_stamped_rate():
    stream = Stream("/energy")
    for time in range(10):
        stream.add(0.1 * time)
    assert (stream.stamped_rate(), stream.lost_share()) == (0.0, 0.0)


def test_silence_begins_after_the_limit():
    stream = Stream("/joint_states")
    assert stream.is_silent(0.0, 1.0)
    stream.add(5.0, SECOND)
    assert not stream.is_silent(6.0, 1.0)
    assert stream.is_silent(6.1, 1.0)


@given(st.lists(st.integers(1, SECOND // 4), min_size=1, max_size=30))
def test_only_stamps_newer_than_all_before_are_next(stamps):
    stream = Stream("/policy/embedding")
    newest = 0
    for stamp in stamps:
        assert (stream.why_not_next(stamp, NO_CLOCK, LIMITS) == "") == (stamp > newest)
        newest = max(newest, stamp)
    used = sum(np.diff(np.maximum.accumulate([0, *stamps])) > 0)
    assert stream.repeated + stream.out_of_order == len(stamps) - used


def test_a_repeated_stamp_and_an_older_one_are_told_apart():
    stream = Stream("/policy/embedding")
    reasons = [stream.why_not_next(at, NO_CLOCK, LIMITS) for at in (SECOND, SECOND, SECOND - 1)]
    assert reasons == ["", REPEATED, OUT_OF_ORDER]
    assert (stream.repeated, stream.out_of_order) == (1, 1)


def test_stamps_that_go_back_far_are_those_of_a_clock_that_was_set_back():
    stream = Stream("/policy/embedding")
    assert stream.why_not_next(100 * SECOND, NO_CLOCK, LIMITS) == ""
    with pytest.raises(ClockSetBackError, match="went back by 90 s"):
        stream.why_not_next(10 * SECOND, NO_CLOCK, LIMITS)
    stream.restart()
    assert stream.why_not_next(10 * SECOND, NO_CLOCK, LIMITS) == ""


@pytest.mark.parametrize(
    ("stamp", "limits", "reason"),
    [
        (0, LIMITS, "the header has no stamp"),
        (101 * SECOND, LIMITS, "1 s ahead of this machine's clock"),
        (90 * SECOND, StampLimits(lead=0.5, age=5.0), "10 s old"),
    ],
)
def test_a_stamp_that_cannot_be_right_is_refused(stamp, limits, reason):
    stream = Stream("/policy/embedding")
    with pytest.raises(StampError, match=reason):
        stream.why_not_next(stamp, 100 * SECOND, limits)
    assert stream.why_not_next(100 * SECOND, 100 * SECOND, limits) == ""


def test_any_age_is_right_where_none_is_asked_for():
    assert Stream("/x").why_not_next(1, 10**18, LIMITS) == ""


def test_no_stamp_is_ahead_of_a_clock_that_says_nothing():
    assert Stream("/x").why_not_next(10**18, NO_CLOCK, LIMITS) == ""


# The clock itself


def test_a_clock_that_is_set_is_told_once_each_time():
    watch = ClockWatch(is_simulated=False)
    assert watch.update(0.0, 1000.0) == ""
    assert watch.update(1.0, 1001.1) == ""
    assert "jumped by +5 s" in watch.update(2.0, 1007.1)
    assert watch.update(3.0, 1008.1) == ""
    assert "jumped by -3 s" in watch.update(4.0, 1006.1)
    assert watch.jumps == 2


def test_a_simulated_clock_runs_at_any_rate_but_not_backwards():
    watch = ClockWatch(is_simulated=True)
    for monotonic, clock in ((0.0, 0.0), (1.0, 50.0), (2.0, 50.0), (3.0, 50.1)):
        assert watch.update(monotonic, clock) == ""
    assert "jumped by -50.1 s" in watch.update(4.0, 0.0)


def test_a_simulated_clock_that_says_nothing_is_a_problem():
    assert "no time has come on '/clock'" in ClockWatch(is_simulated=True).problems(0.0)[0]
    assert ClockWatch(is_simulated=True).problems(0.1) == ()
    assert ClockWatch(is_simulated=False).problems(0.0) == ()
