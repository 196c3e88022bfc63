# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""When a human intervened, as bags tell it."""

import numpy as np
import pytest
from testbed.bags import ACTIVE, BEGIN, PERIOD, STORE, BagBuilder, decision_arrays

from failure_monitor.sources.rollouts import read_rollouts

INTERVENTION = "/intervention"


def twist(speed):
    types = STORE.types
    vector = types["geometry_msgs/msg/Vector3"]
    still = vector(x=0.0, y=0.0, z=0.0)
    return types["geometry_msgs/msg/Twist"](linear=vector(x=speed, y=0.0, z=0.0), angular=still)


def read(path, said, *, marked=False, decisions=6):
    """Read a bag in which decision k is received at k periods, and something is said besides."""
    messages = sorted(said, key=lambda each: each[0])
    with BagBuilder(path) as bag:
        if marked:
            bag.flag(ACTIVE, True, BEGIN - PERIOD)
        for periods, message in messages:
            received = BEGIN + round(periods * PERIOD)
            if isinstance(message, bool):
                bag.flag(INTERVENTION, message, received)
            else:
                bag.write(INTERVENTION, message, received)
        embeddings, chunks = decision_arrays(decisions)
        for number in range(decisions):
            bag.embedding(embeddings[number], BEGIN + number * PERIOD)
            bag.chunks(chunks[number], BEGIN + number * PERIOD)
    return read_rollouts([path]).rollouts[0].interventions


@pytest.mark.parametrize(
    ("said", "marked", "expected"),
    [
        pytest.param([(0.5, False)], False, [], id="nobody"),
        pytest.param([(2.5, True), (3.5, False)], False, [2, 3], id="from one to the next"),
        pytest.param([(2.2, True), (2.3, False)], False, [2], id="a moment"),
        pytest.param([(3.5, True)], False, [3, 4, 5], id="never ending"),
        pytest.param([(-5.0, True)], False, [0, 1, 2, 3, 4, 5], id="from before"),
        pytest.param([(-5.0, True), (-4.0, False)], False, [], id="before the first decision"),
        pytest.param([(-0.8, True), (-0.2, False)], True, [0], id="before it, in the rollout"),
        pytest.param([(-3.0, True), (-2.0, False)], True, [], id="before the rollout"),
        pytest.param([(1.2, twist(0.0)), (4.2, twist(0.3))], False, [4, 5], id="a device"),
        pytest.param([(1.2, twist(float("nan")))], False, [1, 2, 3, 4, 5], id="not a number"),
    ],
)
def test_a_bag_tells_when_a_human_acted(tmp_path, said, marked, expected):
    found = read(tmp_path / "bag", said, marked=marked)
    assert np.flatnonzero(found).tolist() == expected


def test_a_bag_that_says_nothing_of_it_leaves_it_unknown(tmp_path):
    assert read(tmp_path / "bag", []) is None
