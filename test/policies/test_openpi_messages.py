# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An answer that came twice is known by what no two answers share."""

from __future__ import annotations

import numpy as np
import pytest

from failure_monitor.policies.openpi.messages import is_repeated

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
