# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Joints are found by their names, and what cannot be used is refused by name."""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.messages.joint_vector import JointStateError, JointVector

NAMES = ("shoulder", "elbow", "wrist")


def state(**positions: float) -> SimpleNamespace:
    """As rclpy gives it."""
    return SimpleNamespace(
        name=list(positions), position=array.array("d", list(positions.values()))
    )


FINITE = st.floats(-1e6, 1e6)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), FINITE, min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_any_joints_in_any_order_are_found_by_name(positions, random):
    names = list(positions)
    random.shuffle(names)
    wanted = names[: random.randint(1, len(names))]
    vector = JointVector(wanted).read(state(**positions))
    assert vector.dtype == np.float32
    assert vector.tolist() == np.array([positions[name] for name in wanted], np.float32).tolist()


def test_the_order_of_a_message_may_change_between_messages():
    joints = JointVector(NAMES)
    assert joints.read(state(shoulder=1, elbow=2, wrist=3)).tolist() == [1, 2, 3]
    assert joints.read(state(wrist=3, rail=9, shoulder=1, elbow=2)).tolist() == [1, 2, 3]
    assert joints.read(state(shoulder=1, elbow=2, wrist=3)).tolist() == [1, 2, 3]


def test_the_vector_outlives_the_message():
    message = state(shoulder=1, elbow=2, wrist=3)
    vector = JointVector(NAMES).read(message)
    message.position[0] = 9
    assert vector.tolist() == [1, 2, 3]


@pytest.mark.parametrize("names", [(), ("shoulder", "rail")])
def test_joints_that_are_missing_are_named(names: tuple[str, ...]):
    with pytest.raises(
        JointStateError, match=r"lacks .*elbow, wrist, it has (none|shoulder, rail)"
    ):
        JointVector(NAMES).read(state(**dict.fromkeys(names, 0.0)))


def test_a_joint_that_is_there_twice_is_refused():
    message = SimpleNamespace(name=["shoulder", "elbow", "wrist", "elbow"], position=[1, 2, 3, 4])
    with pytest.raises(JointStateError, match="has elbow more than once"):
        JointVector(NAMES).read(message)


def test_another_joint_may_be_there_twice():
    message = SimpleNamespace(name=["rail", *NAMES, "rail"], position=[8.0, 1, 2, 3, 9])
    assert JointVector(NAMES).read(message).tolist() == [1, 2, 3]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_a_position_that_is_no_finite_number_is_refused(value: float):
    with pytest.raises(JointStateError, match="positions of elbow are NaN or infinite"):
        JointVector(NAMES).read(state(shoulder=1, elbow=value, wrist=3))


def test_what_other_joints_do_is_of_no_interest():
    message = state(caster=np.nan, shoulder=1, elbow=2, wrist=3)
    assert JointVector(NAMES).read(message).tolist() == [1, 2, 3]


@pytest.mark.parametrize("positions", [[], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
def test_a_message_with_another_number_of_positions_is_refused(positions: list[float]):
    message = SimpleNamespace(name=list(NAMES), position=positions)
    with pytest.raises(
        JointStateError, match=f"names 3 joints and has {len(positions)} positions"
    ):
        JointVector(NAMES).read(message)
