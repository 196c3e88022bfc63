# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The policy's way through its chunks, steered and not, with a policy that counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.demo.execution import ChunkExecution

HORIZON = 8
IMAGE, JOINTS = np.zeros((4, 4, 3), np.uint8), np.zeros(9, np.float32)


class CountingPolicy:
    """Chunks that tell the decision, the sample and the step that an action comes from."""

    h_exec, horizon = 2, HORIZON
    action_names = ("decision", "sample", "step", "gripper")

    def __init__(self) -> None:
        self.decisions = 0

    def embed(self, image: np.ndarray, joints: np.ndarray) -> np.ndarray:
        return np.zeros(2, np.float32)

    def sample(self, embedding: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chunks = np.zeros((3, HORIZON, 4), np.float32)
        chunks[..., 0] = self.decisions
        chunks[..., 1] = np.arange(3)[:, np.newaxis]
        chunks[..., 2] = np.arange(HORIZON)
        chunks[..., 3] = 1.0
        self.decisions += 1
        return chunks


def execution(executed_actions: int = 0) -> ChunkExecution:
    return ChunkExecution(
        CountingPolicy(), np.random.default_rng(0), executed_actions=executed_actions
    )


def steps(running: ChunkExecution, frames: int, horizon: int | None = None) -> list[tuple]:
    """Decision and step of the action of every frame."""
    found = []
    for _ in range(frames):
        action = running.act()
        if action is not None:
            found.append((int(action[0]), int(action[2])))
        if running.observe(IMAGE, JOINTS) is not None and horizon is not None:
            running.trust(horizon)
    return found


def test_unsteered_it_executes_two_actions_of_every_chunk():
    assert steps(execution(), 6) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]


def test_there_is_no_action_before_the_first_decision():
    assert execution().act() is None


def test_it_executes_as_many_as_it_is_told_but_never_beyond_the_chunk():
    assert steps(execution(4), 6) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1)]
    assert steps(execution(20), 9) == [(0, step) for step in range(1, 8)] + [(1, 1)]


@given(st.integers(-1, 20), st.integers(1, 7))
def test_it_decides_anew_before_the_first_action_that_is_not_trusted(horizon, executed):
    found = steps(execution(executed), 30, horizon)
    # The first of a chunk has passed when the decision is there; one is always executed.
    most = max(1, min(executed, horizon - 1))
    assert max(step for _, step in found) == most
    assert [step for _, step in found[:most]] == list(range(1, most + 1))


def test_trust_is_for_one_decision():
    running = execution(4)
    running.observe(IMAGE, JOINTS)
    running.trust(2)
    assert steps(running, 6) == [(0, 1), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1)]


def test_a_chosen_chunk_replaces_the_first_until_the_next_decision():
    running = execution()
    decision = running.observe(IMAGE, JOINTS)
    running.choose(decision.chunks[2])
    samples = []
    for _ in range(4):
        samples.append(int(running.act()[1]))
        running.observe(IMAGE, JOINTS)
    assert samples == [2, 2, 0, 0]


@pytest.mark.parametrize("speed", [0.0, 0.25, 1.0])
def test_the_speed_scales_the_motion_and_leaves_the_grip(speed):
    running = execution()
    decision = running.observe(IMAGE, JOINTS)
    running.choose(decision.chunks[2])
    np.testing.assert_allclose(running.act(speed), [0.0, 2 * speed, speed, 1.0])
