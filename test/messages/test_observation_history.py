# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which observations belong before one, for policies that look at several."""

from __future__ import annotations

from collections import deque

import pytest

from failure_monitor.messages.matching import MatchedMessages, ObservationMatcher
from failure_monitor.messages.observation_history import (
    KEPT_PER_SPACING,
    History,
    ObservationHistory,
)

MILLISECOND = 1_000_000


def gathered(stamps: list[int], observations: int, spacing: float) -> list[tuple[int, ...]]:
    """Return which stamps belong before each, in milliseconds."""
    history: ObservationHistory[int] = ObservationHistory(
        History(observations=observations, spacing=spacing)
    )
    return [history.add(stamp * MILLISECOND, stamp) for stamp in stamps]


def test_the_first_observation_is_repeated_as_by_the_queue_of_a_lerobot_policy():
    stamps = list(range(0, 1000, 100))
    queue: deque[int] = deque(maxlen=3)
    expected = []
    for stamp in stamps:
        # lerobot.policies.utils.populate_queues
        while not queue or len(queue) < 2:
            queue.append(stamp)
        queue.append(stamp)
        expected.append(tuple(queue)[:-1])
    assert gathered(stamps, 3, 0.1) == expected


@pytest.mark.parametrize(
    ("stamps", "spacing", "expected"),
    [
        ([0, 33, 66, 100, 133, 166], 0.1, [0, 0, 0, 0, 33, 66]),  # a camera that is faster
        ([0, 100, 200], 0.033, [0, 100, 200]),  # slower: what was seen then is what is seen now
        ([0, 50, 400, 450], 0.1, [0, 0, 400, 400]),  # frames were lost
        ([0, 98, 203, 299], 0.1, [0, 0, 98, 203]),  # jitter
    ],
)
def test_the_observation_nearest_to_the_wanted_time_belongs(stamps, spacing, expected):
    assert [earlier for (earlier,) in gathered(stamps, 2, spacing)] == expected


def test_a_fast_camera_fills_no_memory():
    history: ObservationHistory[int] = ObservationHistory(History(observations=4, spacing=0.1))
    for stamp in range(20_000):
        earlier = history.add(stamp * MILLISECOND, stamp)
        assert len(history._items) <= 3 * (KEPT_PER_SPACING + 1) + 3
    for wanted, found in zip((19_699, 19_799, 19_899), earlier, strict=True):
        assert abs(found - wanted) <= 100 / KEPT_PER_SPACING


def test_matched_messages_come_with_those_before_them_of_the_same_rollout_alone():
    matcher = ObservationMatcher(
        ["camera"], joints=True, tolerance=0.01, history=History(observations=2, spacing=0.1)
    )

    def see(stamp: int) -> MatchedMessages:
        matcher.add("joints", stamp * MILLISECOND, f"joints {stamp}")
        matched = matcher.add("camera", stamp * MILLISECOND, f"camera {stamp}")
        assert matched is not None
        return matched

    assert see(100).earlier == ({"camera": "camera 100", "joints": "joints 100"},)
    assert see(200).earlier == ({"camera": "camera 100", "joints": "joints 100"},)
    matcher.clear()
    assert see(300).earlier == ({"camera": "camera 300", "joints": "joints 300"},)
    see(5000)
    # A clock that was set back: what is before is of another time.
    assert see(400).earlier == ({"camera": "camera 400", "joints": "joints 400"},)
