# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The second version of the contract: history, tasks, a conditioning, no noise or much of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from testbed.exported_policy import edited, export_policy
from testbed.exported_second_version import (
    ACTIONS,
    EMBEDDING_SIZE,
    HISTORY,
    HORIZON,
    MEMORY,
    PICK,
    PLACE,
    STEPS,
    TASKS,
    encoder_module,
    export_second_version,
    sampler_module,
)
from testbed.scenes import CAMERAS, JOINTS

from failure_monitor.messages.observation_history import History
from failure_monitor.policy_models.contract import (
    METADATA_KEY,
    OnnxContractError,
    TaskTokens,
    UnknownTokensError,
)
from failure_monitor.policy_models.export import ExportError, export_encoder, export_sampler
from failure_monitor.policy_models.models import (
    ObservationEncoder,
    OnnxModelError,
    PolicySampler,
    check_same_policy,
    reject_lone_sampler,
)
from failure_monitor.policy_models.observation import Observation
from failure_monitor.policy_models.onnx_file import OnnxFile, read_onnx_file
from failure_monitor.policy_models.replay import black_box_rollout


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> tuple[Path, Path]:
    return export_second_version(tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="module")
def encoder(paths) -> ObservationEncoder:
    return ObservationEncoder(read_onnx_file(paths[0]))


@pytest.fixture(scope="module")
def sampler(paths) -> PolicySampler:
    return PolicySampler(read_onnx_file(paths[1]))


def seen(seed: int) -> tuple[dict[str, Any], Any]:
    random = np.random.default_rng(seed)
    images = {
        name: random.integers(256, size=(2, *size, 3), dtype=np.uint8)
        for name, size in CAMERAS.items()
    }
    return images, random.standard_normal((2, len(JOINTS)), dtype=np.float32)


def by_torch(seed: int, task: TaskTokens) -> list[Any]:
    images, joints = seen(seed)
    inputs = [*images.values(), joints, np.array(task.tokens), np.array(task.mask)]
    with torch.no_grad():
        return [
            output[0].numpy()
            for output in encoder_module()(*(torch.from_numpy(one)[None] for one in inputs))
        ]


@pytest.mark.parametrize("task", TASKS)
def test_an_encoder_returns_embedding_and_conditioning_of_its_task(encoder, task):
    images, joints = seen(1)
    embedding, memory, valid = by_torch(1, task)
    encoded = encoder.encode(images, joints, task.task)
    np.testing.assert_allclose(encoded.embedding, embedding, atol=1e-6)
    np.testing.assert_allclose(encoded.conditioning["memory"], memory, atol=1e-6)
    np.testing.assert_array_equal(encoded.conditioning["valid"], valid)
    np.testing.assert_array_equal(encoder.embed(images, joints, task.task), encoded.embedding)


def test_a_sampler_takes_the_conditioning_and_the_noise_of_every_step(encoder, sampler):
    encoded = encoder.encode(*seen(2), PLACE)
    noise = sampler.noise_stream(seed=3).draw(7)
    assert noise.shape == (7, STEPS, HORIZON, len(ACTIONS))
    _, memory, valid = by_torch(2, TASKS[1])
    with torch.no_grad():
        expected = sampler_module()(
            torch.zeros(1, EMBEDDING_SIZE),
            torch.from_numpy(memory)[None],
            torch.from_numpy(valid)[None],
            torch.from_numpy(noise)[None],
        )
    chunks = sampler.sample(encoded.embedding, noise, encoded.conditioning)
    np.testing.assert_allclose(chunks, expected[0].numpy(), atol=1e-5)
    assert sampler.policy_format(samples=7).embedding_size == EMBEDDING_SIZE


def test_a_sampler_without_noise_has_one_chunk(encoder, tmp_path):
    _, path = export_second_version(tmp_path, is_deterministic=True)
    sampler = PolicySampler(read_onnx_file(path))
    assert sampler.policy_format(samples=16).samples == 1
    observations = [Observation(stamp, *seen(stamp)) for stamp in (1, 2)]
    rollout = black_box_rollout(
        observations, encoder, sampler, name="", samples=16, seed=0, task=PICK
    )
    assert rollout.chunks.shape == (2, 1, HORIZON, len(ACTIONS))
    with torch.no_grad():
        _, memory, valid = (torch.from_numpy(one)[None] for one in by_torch(2, TASKS[0]))
        expected = sampler_module(is_deterministic=True)(None, memory, valid)
    np.testing.assert_allclose(rollout.chunks[1], expected[0].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("task", "fault"),
    [("", r"of 'pick it up', 'put it down', the rollout states no task"), ("fly", "'fly'")],
)
def test_a_task_without_tokens_is_refused(encoder, task, fault):
    with pytest.raises(UnknownTokensError, match=fault):
        encoder.encode(*seen(1), task)
    with pytest.raises(UnknownTokensError, match=fault):
        encoder.check_task(task)


def test_the_only_task_needs_no_name(encoder, tmp_path):
    path, _ = export_second_version(tmp_path, tasks=TASKS[:1])
    only = ObservationEncoder(read_onnx_file(path))
    np.testing.assert_array_equal(only.embed(*seen(1)), encoder.embed(*seen(1), PICK))
    with pytest.raises(UnknownTokensError, match=f"the task '{PLACE}'"):
        only.embed(*seen(1), PLACE)


def test_one_moment_is_no_history(encoder):
    images, joints = seen(1)
    alone = {name: pictures[-1] for name, pictures in images.items()}
    with pytest.raises(OnnxModelError, match=r"expected uint8 \(N, 2, 12, 16, 3\)"):
        encoder.embed(alone, joints, PICK)


def test_models_say_what_they_need_and_old_ones_stay_of_the_first_version(paths, tmp_path):
    content = contract_of(onnx.load(paths[0]))
    assert content["contract"] == 2
    assert content["history"] == {"observations": 2, "spacing": 0.1}
    assert [task["task"] for task in content["tasks"]] == [PICK, PLACE]
    assert contract_of(onnx.load(paths[1]))["conditioning"] == ["memory", "valid"]
    for path in export_policy(tmp_path):
        first = contract_of(onnx.load(path))
        assert first["contract"] == 1
        assert not {"history", "tasks", "conditioning", "embedding_size"} & first.keys()


def contract_of(model: onnx.ModelProto) -> dict[str, Any]:
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    content: dict[str, Any] = json.loads(entry.value)
    return content


def with_contract(path: Path, **changes: Any) -> OnnxFile:
    def edit(model: onnx.ModelProto) -> None:
        content = {**contract_of(model), **changes}
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(content)})

    return edited(path, edit)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"contract": 1}, r"history, conditioning, tasks: of version 2.*the model states 1"),
        ({"contract": 3}, r"version 3, this failure_monitor knows 1 to 2"),
        ({"history": {"observations": 3, "spacing": 0.1}}, r"expected uint8 \(N, 3, height"),
        ({"history": {"observations": 1, "spacing": 0.1}}, r"history.observations.*above 1"),
        ({"history": {"observations": 2, "spacing": 0}}, r"history.spacing.*above 0"),
        ({"conditioning": ["memory"]}, r"has the outputs .*'valid'.*the conditioning 'memory'"),
        ({"conditioning": ["memory", "noise"]}, r"cannot be named 'noise'"),
        ({"tasks": []}, r"has the inputs .*'tokens'"),
        (
            {"tasks": [{"task": "a", "tokens": [1], "mask": [True, False]}]},
            r"1 tokens have a mask of 2 values",
        ),
        (
            {"tasks": [{"task": "a", "tokens": [1, 2], "mask": [True, False]}]},
            r"expected int64 \(N, 2\)",
        ),
        (
            {
                "tasks": [
                    {"task": "a", "tokens": [1, 2, 3], "mask": [True] * 3},
                    {"task": "b", "tokens": [1, 2], "mask": [True] * 2},
                ]
            },
            r"\[2, 3\] tokens: pad them",
        ),
        (
            {"tasks": [{"task": "a", "tokens": [1, 2, 3], "mask": [True] * 3}] * 2},
            r"names must be distinct",
        ),
    ],
)
def test_an_encoder_that_is_not_what_its_metadata_state_is_refused(paths, changes, fault):
    with pytest.raises(OnnxContractError, match=fault):
        ObservationEncoder(with_contract(paths[0], **changes))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"contract": 1}, r"conditioning, embedding_size: of version 2"),
        ({"conditioning": ["memory"]}, r"has the inputs .*'valid'"),
        ({"noise": "none"}, r"has the inputs .*'noise'"),
        ({"embedding_size": None}, r"no input 'embedding' and its metadata no 'embedding_size'"),
    ],
)
def test_a_sampler_that_is_not_what_its_metadata_state_is_refused(paths, changes, fault):
    with pytest.raises(OnnxContractError, match=fault):
        PolicySampler(with_contract(paths[1], **changes))


def test_a_sampler_without_its_encoder_is_refused(sampler):
    with pytest.raises(OnnxContractError, match=r"takes 'memory', 'valid'.*name the encoder"):
        reject_lone_sampler(sampler)


def test_a_conditioning_of_another_policy_is_refused(sampler, tmp_path):
    class Other(torch.nn.Module):
        def forward(self, joints):
            return joints[:, :6], joints[:, :6].view(-1, 2, 3), joints[:, :5] > 0

    names = [f"joint_{number}" for number in range(6)]
    export_encoder(
        Other(),
        tmp_path / "other.onnx",
        cameras={},
        joint_names=names,
        conditioning=("memory", "valid"),
    )
    other = ObservationEncoder(read_onnx_file(tmp_path / "other.onnx"))
    with pytest.raises(
        OnnxContractError, match=r"'memory' as float32 \(5, 4\).*returns it as float32 \(2, 3\)"
    ):
        check_same_policy(other, sampler)
    with pytest.raises(OnnxModelError, match=r"got the inputs 'noise', expected 'memory'"):
        sampler.sample(np.zeros(6, np.float32), sampler.noise_stream(seed=0).draw(1))


class MixesObservations(torch.nn.Module):
    """Hands on what depends on the other observations of a batch, beside a sound embedding."""

    def forward(self, joints):
        return joints, (joints - joints.mean(0, keepdim=True)) + 0 * joints


def test_a_conditioning_is_tried_as_the_embedding_is(tmp_path):
    with pytest.raises(OnnxContractError, match="another result for an observation alone"):
        export_encoder(
            MixesObservations(),
            tmp_path / "mixing.onnx",
            cameras={},
            joint_names=["a", "b"],
            conditioning=("memory",),
        )


class TwoOutputs(torch.nn.Module):
    def forward(self, joints):
        return joints, joints


def test_a_module_that_returns_more_or_less_than_is_named_is_refused(tmp_path):
    with pytest.raises(ExportError, match="returns 2 tensors, expected 1: embedding"):
        export_encoder(TwoOutputs(), tmp_path / "two.onnx", cameras={}, joint_names=["a"])


def test_a_module_of_one_moment_is_no_module_of_two(tmp_path):
    class OneMoment(torch.nn.Module):
        def forward(self, joints):
            return joints

    with pytest.raises(OnnxContractError, match=r"returns the shape \(1, 2, 3\)"):
        export_encoder(
            OneMoment(),
            tmp_path / "one.onnx",
            cameras={},
            joint_names=JOINTS,
            history=History(observations=2, spacing=0.1),
        )


def test_the_history_is_that_of_the_contract(encoder):
    assert encoder.history == HISTORY
    assert encoder.conditioning == {
        "memory": (np.dtype(np.float32), MEMORY),
        "valid": (np.dtype(bool), (5,)),
    }


def test_noise_that_is_not_used_is_found(tmp_path):
    class Ignores(torch.nn.Module):
        def forward(self, embedding, noise):
            return embedding[:, None, None].expand(-1, noise.shape[1], 2, -1) + 0 * noise

    with pytest.raises(ExportError, match="noise='none'"):
        export_sampler(
            Ignores(),
            tmp_path / "same.onnx",
            embedding_size=2,
            noise_shape=(2, 2),
            action_names=("x", "y"),
            action_kind="position",
        )
