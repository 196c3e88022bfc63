# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Exported models compute what torch does, and what breaks their contract is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from testbed.exported_policy import (
    ACTIONS,
    CAMERAS,
    EMBEDDING_SIZE,
    HORIZON,
    JOINTS,
    NOISE_SHAPE,
    edited,
    encoder_module,
    sampler_module,
    two_by_two_sampler,
)

from failure_monitor.policy_models.contract import METADATA_KEY, OnnxContractError
from failure_monitor.policy_models.models import (
    ImageSize,
    ObservationEncoder,
    OnnxModelError,
    PolicySampler,
    check_same_policy,
)
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.policy_models.onnx_session import SessionSettings

RANDOM = np.random.default_rng(0)


@pytest.fixture
def encoder(exported: tuple[Path, Path]) -> ObservationEncoder:
    return ObservationEncoder(read_onnx_file(exported[0]))


@pytest.fixture
def sampler(exported: tuple[Path, Path]) -> PolicySampler:
    return PolicySampler(read_onnx_file(exported[1]))


def images(count: int) -> dict[str, np.ndarray]:
    return {
        name: RANDOM.integers(256, size=(count, *size, 3), dtype=np.uint8)
        for name, size in CAMERAS.items()
    }


def joints(count: int) -> np.ndarray:
    return RANDOM.standard_normal((count, len(JOINTS)), dtype=np.float32)


# What they compute


def test_an_encoder_says_what_it_takes(encoder: ObservationEncoder):
    assert encoder.cameras == {"front": ImageSize(12, 16), "wrist": ImageSize(8, 8)}
    assert encoder.joint_names == JOINTS
    assert encoder.embedding_size == EMBEDDING_SIZE
    assert (encoder.provider, encoder.fallback) == ("cpu", "")


@pytest.mark.parametrize("count", [1, 7])
def test_embeddings_are_those_of_torch(encoder: ObservationEncoder, count: int):
    seen, positions = images(count), joints(count)
    with torch.no_grad():
        inputs = (*map(torch.from_numpy, seen.values()), torch.from_numpy(positions))
        expected = encoder_module()(*inputs).numpy()
    # By name: the order in which cameras are given means nothing.
    actual = encoder.embed_batch(dict(reversed(seen.items())), positions)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    one = {name: batch[-1] for name, batch in seen.items()}
    np.testing.assert_allclose(encoder.embed(one, positions[-1]), expected[-1], atol=1e-5)


def test_a_sampler_says_what_it_gives(sampler: PolicySampler):
    policy = sampler.policy_format(samples=5)
    assert policy.chunk_shape == (5, HORIZON, len(ACTIONS))
    assert policy.embedding_size == EMBEDDING_SIZE
    assert (policy.action_kind, policy.position_names) == ("delta", ("dx", "dy"))
    assert policy.executed_actions == 2
    assert sampler.noise_shape == NOISE_SHAPE


def test_chunks_are_those_of_torch(sampler: PolicySampler):
    embeddings = RANDOM.standard_normal((3, EMBEDDING_SIZE), dtype=np.float32)
    noise = RANDOM.standard_normal((3, 6, *NOISE_SHAPE), dtype=np.float32)
    with torch.no_grad():
        expected = sampler_module()(torch.from_numpy(embeddings), torch.from_numpy(noise)).numpy()
    np.testing.assert_allclose(sampler.sample_batch(embeddings, noise), expected, atol=1e-5)
    np.testing.assert_allclose(sampler.sample(embeddings[2], noise[2]), expected[2], atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_result(exported: tuple[Path, Path], threads: int):
    model = ObservationEncoder(read_onnx_file(exported[0]), SessionSettings(threads=threads))
    blank = {name: np.full((*size, 3), 9, np.uint8) for name, size in CAMERAS.items()}
    expected = ObservationEncoder(read_onnx_file(exported[0]))
    joint_state = np.ones(3, np.float32)
    np.testing.assert_allclose(
        model.embed(blank, joint_state), expected.embed(blank, joint_state), atol=1e-6
    )


# What they are given


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"front": np.zeros((12, 16, 3), np.float32)}, r"'front' as float32 .* uint8 \(N, 12, 16"),
        (
            {"front": np.zeros((16, 12, 3), np.uint8)},
            r"'front' as uint8 \(1, 16, 12, 3\), expected",
        ),
        ({"front": np.zeros((12, 16), np.uint8)}, r"'front' as uint8 \(1, 12, 16\), expected"),
        (
            {"side": np.zeros((12, 16, 3), np.uint8)},
            "'front', 'joints', 'side', 'wrist', expected",
        ),
    ],
    ids=["dtype", "size", "grey", "camera"],
)
def test_images_that_it_does_not_take_are_refused(
    encoder: ObservationEncoder, change: dict[str, Any], fault: str
):
    seen = {name: image[0] for name, image in images(1).items()} | change
    with pytest.raises(OnnxModelError, match=rf"^.*encoder\.onnx got .*{fault}"):
        encoder.embed(seen, joints(1)[0])


def test_joints_that_are_missing_or_too_many_are_refused(encoder: ObservationEncoder):
    seen = {name: image[0] for name, image in images(1).items()}
    with pytest.raises(
        OnnxModelError, match="got the inputs 'front', 'wrist', expected 'front', 'joints'"
    ):
        encoder.embed(seen)
    with pytest.raises(OnnxModelError, match=r"'joints' as float32 \(1, 4\), .* \(N, 3\)"):
        encoder.embed(seen, np.zeros(4, np.float32))


def test_batches_of_different_lengths_are_refused(encoder: ObservationEncoder):
    with pytest.raises(OnnxModelError, match=r"different numbers of observations: .*'joints' 1"):
        encoder.embed_batch(images(2), joints(1))


def test_noise_of_another_shape_is_refused(sampler: PolicySampler):
    embedding = np.zeros(EMBEDDING_SIZE, np.float32)
    with pytest.raises(OnnxModelError, match=r"'noise' as .* expected float32 \(N, B, 4, 3\)"):
        sampler.sample(embedding, np.zeros((5, 3, 4), np.float32))


def test_an_encoder_and_a_sampler_of_different_policies_are_refused(
    encoder: ObservationEncoder, exported: tuple[Path, Path]
):
    check_same_policy(encoder, PolicySampler(read_onnx_file(exported[1])))
    other = PolicySampler(two_by_two_sampler())
    with pytest.raises(OnnxContractError, match=r"length 10, other takes 2: .*different policies"):
        check_same_policy(encoder, other)


def test_a_model_that_torch_did_not_make_is_as_good():
    sampler = PolicySampler(two_by_two_sampler(noise="uniform"))
    noise = sampler.noise_stream(seed=0).draw(3)
    assert 0 <= noise.min() <= noise.max() < 1
    chunks = sampler.sample(np.array([1, 2], np.float32), noise)
    np.testing.assert_array_equal(chunks, noise + np.array([1, 2], np.float32))


# Contracts that are broken

Edit = Callable[[onnx.ModelProto], object]


def metadata(**changes: Any) -> Edit:
    """Changes what the contract says; None takes a key away."""

    def edit(model: onnx.ModelProto) -> None:
        (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
        contract = json.loads(entry.value) | changes
        entry.value = json.dumps({k: v for k, v in contract.items() if v is not None})

    return edit


def text(content: str) -> Edit:
    return lambda model: helper.set_model_props(model, {METADATA_KEY: content})


def without_metadata(model: onnx.ModelProto) -> None:
    model.ClearField("metadata_props")


def side(name: str, axis: int, length: int | str) -> Edit:
    """Gives an input's side another length, or a name."""

    def edit(model: onnx.ModelProto) -> None:
        (value,) = (value for value in model.graph.input if value.name == name)
        dimension = value.type.tensor_type.shape.dim[axis]
        if isinstance(length, str):
            dimension.dim_param = length
        else:
            dimension.dim_value = length

    return edit


def with_alpha(model: onnx.ModelProto) -> None:
    """Four channels, and as many bytes as before."""
    side("front", 1, 9)(model)
    side("front", 3, 4)(model)


def as_floats(model: onnx.ModelProto) -> None:
    """The first camera's images in float32; what casts them becomes a cast to the same."""
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def another_output(model: onnx.ModelProto) -> None:
    """The embedding under another name."""
    for node in model.graph.node:
        node.output[:] = ["features" if name == "embedding" else name for name in node.output]
    model.graph.output[0].name = "features"


def two_outputs(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["embedding"], ["more"]))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))


def followed_by(operator: str, *inputs: str) -> Edit:
    """Does something to the embedding before it is given out."""

    def edit(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["inner" if name == "embedding" else name for name in node.output]
        for number in (0, 99):
            axis = helper.make_tensor(str(number), TensorProto.INT64, [1], [number])
            model.graph.initializer.append(axis)
        model.graph.node.append(helper.make_node(operator, ["inner", *inputs], ["embedding"]))
        model.graph.output[0].type.tensor_type.ClearField("shape")

    return edit


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (without_metadata, r"no metadata 'failure_monitor'.*export_encoder"),
        (text("{"), r"metadata 'failure_monitor': Invalid JSON"),
        (metadata(contract=3), r"contract is of version 3, this failure_monitor knows 1 to 2"),
        (metadata(contract=None), r"field 'contract': it is missing"),
        (metadata(kind="sampler"), r"kind 'sampler', expected 'encoder': .*mixed up"),
        (metadata(kamera=["front"]), r"field 'kamera': unknown, expected one of"),
        (metadata(joint_names="elbow"), r"field 'joint_names'"),
        (metadata(joint_names=["a", "a", "b"]), r"field 'joint_names'.*must be distinct"),
        (metadata(cameras=["joints"]), r"a camera cannot be named 'joints'"),
        (metadata(cameras=[], joint_names=[]), r"needs a camera or joints"),
        (
            metadata(cameras=["front", "side"]),
            r"has the inputs 'front', 'joints', 'wrist', expected .*'side'",
        ),
        (metadata(joint_names=["a", "b"]), r"'joints' is float32 \(N, 3\), expected .* \(N, 2\)"),
        (side("front", 0, 1), r"'front' is uint8 \(1, 12, 16, 3\), .*N must be free"),
        (side("front", 1, "height"), r"'front' is uint8 \(N, height, 16, 3\), .*fixed"),
        (with_alpha, r"'front' is uint8 \(N, 9, 16, 4\), expected uint8 \(N, height, width, 3\)"),
        (as_floats, r"'front' is float32 .*, expected uint8 \(N, height, width, 3\)"),
        (
            another_output,
            r"has the outputs 'features' float32 .*, expected only 'embedding' of float32",
        ),
        (two_outputs, r"outputs 'embedding' .*, 'more' .*, expected only 'embedding'"),
        (followed_by("Unsqueeze", "0"), r"returns the shape \(1, 1, 10\), expected \(1, E\)"),
    ],
)
def test_an_encoder_that_breaks_the_contract_is_refused(
    exported: tuple[Path, Path], edit: Edit, fault: str
):
    with pytest.raises(OnnxContractError, match=rf"^encoder\.onnx.*{fault}"):
        ObservationEncoder(edited(exported[0], edit))


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (metadata(kind="encoder"), r"kind 'encoder', expected 'sampler'"),
        (
            metadata(action_names=["x"]),
            r"returns the shape \(1, 2, 4, 3\), expected \(1, 2, H, 1\)",
        ),
        (metadata(action_names=[]), r"field 'action_names'"),
        (metadata(action_kind="torque"), r"field 'action_kind': expected one of 'position', 'vel"),
        (metadata(noise="cauchy"), r"field 'noise'"),
        (metadata(position_names=["dz"]), r"position dimensions \['dz'\] are not among"),
        (metadata(executed_actions=5), r"5 actions of a chunk cannot be executed"),
        (metadata(executed_actions=0), r"field 'executed_actions'"),
        (side("noise", 1, 64), r"'noise' is float32 \(N, 64, 4, 3\), .*N and B must be free"),
        (side("embedding", 1, "E"), r"'embedding' is float32 \(N, E\), .*fixed"),
    ],
)
def test_a_sampler_that_breaks_the_contract_is_refused(
    exported: tuple[Path, Path], edit: Edit, fault: str
):
    with pytest.raises(OnnxContractError, match=rf"^sampler\.onnx.*{fault}"):
        PolicySampler(edited(exported[1], edit))


def test_a_model_that_gives_one_result_for_all_observations_is_refused(
    exported: tuple[Path, Path],
):
    model = edited(exported[0], followed_by("ReduceMean", "0"))
    with pytest.raises(
        OnnxModelError, match=r"returns the shape \(1, 10\) for 2 observations, expected a"
    ):
        ObservationEncoder(model)


def test_a_model_of_one_observation_at_a_time_is_refused(exported: tuple[Path, Path]):
    def of_one(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array([1, EMBEDDING_SIZE]), "one")
        )
        model.graph.node[-1].output[0] = "unshaped"
        model.graph.node.append(helper.make_node("Reshape", ["unshaped", "one"], ["embedding"]))

    with pytest.raises(
        OnnxModelError,
        match=r"failed on cpu: .*Reshape node\. (?!.*\.h:).*N is frozen in its",
    ):
        ObservationEncoder(edited(exported[0], of_one))


def test_a_model_that_fails_when_it_runs_is_refused(exported: tuple[Path, Path]):
    with pytest.raises(OnnxModelError, match=r"^encoder\.onnx failed on cpu"):
        ObservationEncoder(edited(exported[0], followed_by("Gather", "99")))
