# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An answer that came twice is known by what no two answers share."""

from __future__ import annotations

import math

import numpy as np
import pytest

from failure_monitor.policies.openpi.messages import (
    UnwatchedAnswerError,
    is_repeated,
    read_watched,
)

ANSWER = {"actions": np.ones((2, 2)), "server_timing": {"infer_ms": 12.25}}


@pytest.mark.parametrize(
    ("change", "repeated"),
    [
        ({}, True),
        ({"server_timing": {"infer_ms": 12.5}}, False),
        ({"actions": np.zeros((2, 2))}, False),
    ],
)
def test_it_is_the_same_down_to_the_time_that_it_took(change, repeated):
    assert is_repeated({**ANSWER, **change}, ANSWER) is repeated


def test_a_deterministic_policy_without_timing_may_answer_the_same():
    answer = {"actions": ANSWER["actions"]}
    assert not is_repeated(answer, answer)


def test_extras_of_a_watching_server_are_read_and_what_are_no_numbers_is_refused():
    actions = np.ones((3, 2), np.float32)
    watched = {"embedding": np.ones(4, np.float32), "chunks": actions[None]}
    assert read_watched(watched, actions).extras == {}
    with_extras = {**watched, "extras": {"flow_bend": 0.25, "broken": math.nan}}
    assert read_watched(with_extras, actions).extras == {"flow_bend": 0.25}
    for wrong in ({"flow_bend": "much"}, [0.5], 3):
        with pytest.raises(UnwatchedAnswerError, match="extras that are no numbers"):
            read_watched({**watched, "extras": wrong}, actions)
