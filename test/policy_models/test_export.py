# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is exported computes what torch does; what does not is never written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from testbed.exported_policy import ACTIONS, CAMERAS, JOINTS, encoder_module, sampler_module
from torch import Tensor, nn

from failure_monitor.policy_models import export
from failure_monitor.policy_models.contract import OnnxContractError
from failure_monitor.policy_models.export import ExportError, export_encoder, export_sampler
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.onnx_file import read_onnx_file


def export_joints(module: nn.Module, path: Path, **options: object) -> float:
    """An encoder of three joints and nothing else."""
    return export_encoder(module, path, cameras={}, joint_names=JOINTS, **options)


def export_chunks(module: nn.Module, path: Path, **options: object) -> float:
    """A sampler of chunks (4, 3) for embeddings of length 10."""
    arguments = {
        "embedding_size": 10,
        "noise_shape": (4, 3),
        "action_names": ACTIONS,
        "action_kind": "delta",
    }
    return export_sampler(module, path, **(arguments | options))


def test_an_encoder_of_joints_alone(tmp_path: Path):
    difference = export_joints(module := nn.Linear(3, 5), tmp_path / "new" / "encoder.onnx")
    assert 0 <= difference <= export.TOLERANCE
    encoder = ObservationEncoder(read_onnx_file(tmp_path / "new" / "encoder.onnx"))
    positions = torch.tensor([0.1, 0.2, 0.3])
    expected = module(positions).detach().numpy()
    np.testing.assert_allclose(encoder.embed({}, positions.numpy()), expected, atol=1e-6)


def test_an_encoder_of_one_camera_and_no_joints(tmp_path: Path):
    class Mean(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image.float().mean(dim=(1, 2))

    export_encoder(Mean(), tmp_path / "encoder.onnx", cameras={"front": (4, 6)})
    encoder = ObservationEncoder(read_onnx_file(tmp_path / "encoder.onnx"))
    image = np.zeros((4, 6, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    np.testing.assert_allclose(encoder.embed({"front": image}), [10, 20, 30])


def test_what_is_written_is_one_file_with_the_users_metadata(tmp_path: Path):
    export_joints(nn.Linear(3, 5), tmp_path / "encoder.onnx", metadata={"robot": "left arm"})
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.onnx"]
    model = onnxruntime.InferenceSession(str(tmp_path / "encoder.onnx")).get_modelmeta()
    assert model.custom_metadata_map["robot"] == "left arm"


@pytest.mark.parametrize("distribution", ["standard_normal", "uniform"])
def test_a_sampler_says_what_its_noise_is_drawn_from(tmp_path: Path, distribution: str):
    export_chunks(sampler_module(), tmp_path / "sampler.onnx", noise=distribution)
    sampler = PolicySampler(read_onnx_file(tmp_path / "sampler.onnx"))
    assert sampler.contract.noise == distribution


def test_a_chunk_may_be_made_of_noise_of_any_shape(tmp_path: Path):
    class Latent(nn.Module):
        """One number of noise decides a chunk."""

        def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
            direction = embedding[:, :6].unflatten(1, (2, 3))
            return noise[:, :, :, None] * direction[:, None]

    export_chunks(Latent(), tmp_path / "sampler.onnx", noise_shape=(1,))
    sampler = PolicySampler(read_onnx_file(tmp_path / "sampler.onnx"))
    assert (sampler.noise_shape, sampler.horizon) == ((1,), 2)


def test_a_module_is_left_as_it_was(tmp_path: Path):
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.BatchNorm1d(4))
    module[2].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    export_joints(module, tmp_path / "encoder.onnx")
    assert (module.training, module[1].training, module[2].training) == (True, True, False)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


class TimesLength(nn.Module):
    """How many observations there are is frozen in the exported graph."""

    def forward(self, joints: Tensor) -> Tensor:
        return joints * float(len(joints))


class Branch(nn.Module):
    """Which branch is taken is frozen in the exported graph."""

    def forward(self, joints: Tensor) -> Tensor:
        return -joints if len(joints) > 2 else joints


class Width(nn.Module):
    """How long an embedding is depends on how many there are."""

    def forward(self, joints: Tensor) -> Tensor:
        return joints if len(joints) > 2 else joints[:, :2]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("module", [TimesLength(), Branch(), Width()])
def test_a_graph_that_holds_for_one_length_only_is_refused(tmp_path: Path, module: nn.Module):
    with pytest.raises(ExportError, match=r"torch differ by .* output of shape \(1, [23]\)"):
        export_joints(module, tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


def test_a_difference_beyond_the_tolerance_is_refused(tmp_path: Path):
    module = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 4))
    difference = export_joints(module, tmp_path / "encoder.onnx", tolerance=1e-3)
    assert difference > 0
    before = (tmp_path / "encoder.onnx").read_bytes()
    with pytest.raises(ExportError, match=r"encoder\.onnx: ONNX Runtime and torch differ by"):
        export_joints(module, tmp_path / "encoder.onnx", tolerance=difference / 2)
    assert (tmp_path / "encoder.onnx").read_bytes() == before


def test_a_module_that_draws_its_own_random_numbers_is_refused(tmp_path: Path):
    class Careless(nn.Module):
        def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
            return embedding[:, None, None, :3] + torch.randn_like(noise)

    with pytest.raises(
        ExportError, match="Careless returns different outputs for the same inputs"
    ):
        export_chunks(Careless(), tmp_path / "sampler.onnx")


def test_a_module_that_ignores_the_noise_is_refused(tmp_path: Path):
    class Deterministic(nn.Module):
        def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
            return embedding[:, None, None, :3].expand(-1, noise.shape[1], 4, -1)

    with pytest.raises(ExportError, match="Deterministic returns the same chunk for any noise"):
        export_chunks(Deterministic(), tmp_path / "sampler.onnx")


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_module_that_gives_one_result_for_all_observations_is_refused(tmp_path: Path):
    class Mean(nn.Module):
        def forward(self, joints: Tensor) -> Tensor:
            return joints.mean(dim=0, keepdim=True)

    with pytest.raises(ExportError, match=r"Mean returns the shape \(1, 3\), .* \(2,\)"):
        export_joints(Mean(), tmp_path / "encoder.onnx")


def test_a_module_that_swaps_samples_and_observations_is_refused(tmp_path: Path):
    class Swapped(nn.Module):
        def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
            return noise.transpose(0, 1) + embedding[:, None, :3].mean()

    with pytest.raises(ExportError, match=r"Swapped returns .* starts with \(1, 16\)"):
        export_chunks(Swapped(), tmp_path / "sampler.onnx")


def test_a_sampler_of_uniform_noise_is_compared_on_uniform_noise(tmp_path: Path):
    class Root(nn.Module):
        def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
            return noise.sqrt() * (1 - noise).sqrt() + embedding[:, None, None, :3]

    export_chunks(Root(), tmp_path / "sampler.onnx", noise="uniform")
    with pytest.raises(ExportError, match="NaN"):
        export_chunks(Root(), tmp_path / "sampler.onnx")


def test_a_module_that_takes_other_inputs_is_refused(tmp_path: Path):
    with pytest.raises(ExportError, match=r"Linear cannot be run on joints \(1, 3\): .*shapes"):
        export_joints(nn.Linear(4, 5), tmp_path / "encoder.onnx")


def test_a_module_that_gives_another_dtype_is_refused(tmp_path: Path):
    class Double(nn.Module):
        def forward(self, joints: Tensor) -> Tensor:
            return joints.double() * 2

    with pytest.raises(OnnxContractError, match=r"has the outputs 'embedding' tensor\(double\)"):
        export_joints(Double(), tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


def test_a_sampler_of_another_number_of_actions_is_refused(tmp_path: Path):
    with pytest.raises(
        OnnxContractError, match=r"returns the shape \(1, 2, 4, 3\), expected \(1, 2, H, 2\)"
    ):
        export_chunks(sampler_module(), tmp_path / "sampler.onnx", action_names=["x", "y"])


def test_a_module_that_torch_cannot_export_is_refused(tmp_path: Path):
    class Exotic(nn.Module):
        def forward(self, joints: Tensor) -> Tensor:
            return torch.linalg.eigvals(joints[:, :, None] * joints[:, None]).real

    with pytest.raises(ExportError, match="torch cannot export Exotic"):
        export_joints(Exotic(), tmp_path / "encoder.onnx")


class Logarithm(nn.Module):
    """Holds for positive positions alone, as a table look-up holds for its range."""

    def forward(self, joints: Tensor) -> Tensor:
        return joints.log()


def test_made_up_inputs_that_will_not_do_are_replaced_by_examples(tmp_path: Path):
    with pytest.raises(ExportError, match="NaN or infinite values for random inputs: pass real"):
        export_joints(Logarithm(), tmp_path / "encoder.onnx")
    examples = {"joints": torch.rand(4, 3) + 1}
    export_joints(Logarithm(), tmp_path / "encoder.onnx", examples=examples)


@pytest.mark.parametrize(
    "examples",
    [{"elbow": torch.ones(2, 3)}, {"joints": torch.ones(2, 4)}, {"joints": torch.ones(0, 3)}],
)
def test_examples_of_no_input_are_refused(tmp_path: Path, examples: dict[str, Tensor]):
    with pytest.raises(ExportError, match=r"examples .* expected some of 'joints' \(N, 3\)"):
        export_joints(nn.Linear(3, 4), tmp_path / "encoder.onnx", examples=examples)


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ({"joint_names": ("a", "a", "b")}, "joint_names: .*must be distinct"),
        ({"cameras": {"joints": (2, 2)}}, "a camera cannot be named 'joints'"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(tmp_path: Path, names: dict, fault: str):
    arguments = {"cameras": CAMERAS, "joint_names": JOINTS} | names
    with pytest.raises(ExportError, match=fault):
        export_encoder(encoder_module(), tmp_path / "encoder.onnx", **arguments)
