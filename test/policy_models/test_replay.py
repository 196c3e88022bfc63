# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Messages become observations, and recorded ones the decisions that were taken on the robot."""

from __future__ import annotations

import array
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from weakref import WeakSet

import cv2
import numpy as np
import pytest
from testbed.exported_policy import (
    ACTIONS,
    CAMERAS,
    EMBEDDING_SIZE,
    HORIZON,
    JOINTS,
    two_by_two_sampler,
)

from failure_monitor.messages.camera_image import CameraImageError
from failure_monitor.messages.joint_vector import JointStateError
from failure_monitor.messages.matching import MatchedMessages, ObservationMatcher
from failure_monitor.policy_models.contract import OnnxContractError
from failure_monitor.policy_models.models import ObservationEncoder, OnnxModelError, PolicySampler
from failure_monitor.policy_models.observation import Observation, ObservationReader
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.policy_models.replay import black_box_rollout, sample_all

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def encoder(exported: tuple[Path, Path]) -> ObservationEncoder:
    return ObservationEncoder(read_onnx_file(exported[0]))


@pytest.fixture(scope="module")
def sampler(exported: tuple[Path, Path]) -> PolicySampler:
    return PolicySampler(read_onnx_file(exported[1]))


def observations(count: int) -> Iterator[Observation]:
    random = np.random.default_rng(0)
    for index in range(count):
        images = {
            name: random.integers(256, size=(*size, 3), dtype=np.uint8)
            for name, size in CAMERAS.items()
        }
        joints = random.standard_normal(len(JOINTS), dtype=np.float32)
        yield Observation(SECOND + index * SECOND // 10, images, joints)


# From messages


def messages(**changes: object) -> MatchedMessages:
    random = np.random.default_rng(1)
    frame = random.integers(256, size=(24, 32, 3), dtype=np.uint8)
    _, jpeg = cv2.imencode(".png", random.integers(256, size=(8, 8, 3), dtype=np.uint8))
    content = {
        "front": SimpleNamespace(
            encoding="bgr8", height=24, width=32, step=96, data=array.array("B", frame.tobytes())
        ),
        "wrist": SimpleNamespace(format="png", data=array.array("B", jpeg.tobytes())),
        "joints": SimpleNamespace(
            name=["gripper", "rail", "elbow", "shoulder"], position=array.array("d", [3, 9, 2, 1])
        ),
    }
    return MatchedMessages(5 * SECOND, content | changes)


def test_matched_messages_become_what_the_encoder_takes(encoder: ObservationEncoder):
    observation = ObservationReader(encoder).read(messages())
    assert observation.stamp == 5 * SECOND
    shapes = {name: image.shape for name, image in observation.images.items()}
    assert shapes == {name: (*size, 3) for name, size in CAMERAS.items()}
    assert observation.joints.tolist() == [1, 2, 3]
    embedding = encoder.embed(observation.images, observation.joints)
    assert embedding.shape == (EMBEDDING_SIZE,)


def test_a_camera_whose_image_cannot_be_read_is_named(encoder: ObservationEncoder):
    broken = SimpleNamespace(format="jpeg", data=b"\xff\xd8\xff")
    with pytest.raises(
        CameraImageError, match=r"^camera 'wrist': the compressed image of 3 bytes"
    ):
        ObservationReader(encoder).read(messages(wrist=broken))


def test_joints_that_are_not_the_encoders_are_refused(encoder: ObservationEncoder):
    other = SimpleNamespace(name=["hip"], position=[0.0])
    with pytest.raises(JointStateError, match="lacks shoulder, elbow, gripper"):
        ObservationReader(encoder).read(messages(joints=other))


def test_an_encoder_names_the_streams_to_match(encoder: ObservationEncoder):
    matching = ObservationMatcher(list(encoder.cameras), joints=True, tolerance=0.0)
    matched = messages()
    for name, message in reversed(matched.messages.items()):
        found = matching.add(name, 5 * SECOND, message)
    assert found is not None
    assert ObservationReader(encoder).read(found).joints.tolist() == [1, 2, 3]


# To decisions


@pytest.mark.parametrize("count", [1, 9])
def test_decisions_are_those_of_one_at_a_time_to_the_last_bit(
    encoder: ObservationEncoder, sampler: PolicySampler, count: int
):
    rollout = black_box_rollout(
        observations(count), encoder, sampler, name="bag 1", samples=6, seed=3
    )
    assert rollout.name == "bag 1"
    rollout.check(sampler.policy_format(samples=6))
    assert rollout.chunks.shape == (count, 6, HORIZON, len(ACTIONS))
    noise = sampler.noise_stream(seed=3)
    for decision, observation in zip(rollout.decisions(), observations(count), strict=True):
        embedding = encoder.embed(observation.images, observation.joints)
        assert decision.stamp == observation.stamp
        np.testing.assert_array_equal(decision.embedding, embedding)
        chunks = sampler.sample(embedding, noise.draw(6))
        np.testing.assert_array_equal(decision.chunks, chunks)


def test_another_seed_gives_other_chunks_of_the_same_embeddings(
    encoder: ObservationEncoder, sampler: PolicySampler
):
    first, second = (
        black_box_rollout(observations(2), encoder, sampler, name="", samples=2, seed=seed)
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(first.embeddings, second.embeddings)
    assert np.abs(first.chunks - second.chunks).min() > 0


def test_observations_are_let_go_of_one_by_one(
    encoder: ObservationEncoder, sampler: PolicySampler
):
    alive: WeakSet[Observation] = WeakSet()

    def watched() -> Iterator[Observation]:
        for observation in observations(20):
            alive.add(observation)
            yield observation
            # The last one is let go of when the next one is there.
            assert len(alive) <= 2

    rollout = black_box_rollout(watched(), encoder, sampler, name="", samples=2, seed=0)
    assert len(rollout.stamps) == len(rollout.embeddings) == len(rollout.chunks) == 20


def test_a_rollout_without_observations_has_no_decisions(
    encoder: ObservationEncoder, sampler: PolicySampler
):
    rollout = black_box_rollout([], encoder, sampler, name="", samples=2, seed=0)
    assert rollout.embeddings.shape == (0, EMBEDDING_SIZE)
    assert rollout.chunks.shape == (0, 2, HORIZON, len(ACTIONS))


def test_embeddings_that_a_policy_published_are_sampled_from(sampler: PolicySampler):
    embeddings = np.random.default_rng(0).standard_normal((5, EMBEDDING_SIZE), dtype=np.float32)
    chunks = sample_all(sampler, embeddings, samples=3, seed=0)
    assert chunks.shape == (5, 3, HORIZON, len(ACTIONS))
    with pytest.raises(OnnxModelError, match=r"'embedding' as float32 \(1, 4\)"):
        sample_all(sampler, embeddings[:, :4], samples=3, seed=0)


def test_models_of_different_policies_are_refused(encoder: ObservationEncoder):
    other = PolicySampler(two_by_two_sampler())
    with pytest.raises(OnnxContractError, match="these are of different policies"):
        black_box_rollout(observations(1), encoder, other, name="", samples=2, seed=0)


def test_observations_without_the_joints_are_refused(
    encoder: ObservationEncoder, sampler: PolicySampler
):
    def headless() -> Iterator[Observation]:
        for observation in observations(2):
            yield Observation(observation.stamp, observation.images, None)

    with pytest.raises(OnnxModelError, match="expected 'front', 'joints', 'wrist'"):
        black_box_rollout(headless(), encoder, sampler, name="", samples=2, seed=0)
