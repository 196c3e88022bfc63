# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A small policy in torch, of two cameras and three joints, and its two ONNX files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from failure_monitor.policy_models.contract import METADATA_KEY
from failure_monitor.policy_models.export import export_encoder, export_sampler
from failure_monitor.policy_models.onnx_file import OnnxFile
from testbed.scenes import CAMERAS, JOINTS

EMBEDDING_SIZE = 10
HORIZON = 4
ACTIONS = ("dx", "dy", "grip")
NOISE_SHAPE = (HORIZON, len(ACTIONS))


class Encoder(nn.Module):
    """Pixels of both cameras and the joints, through a layer that cannot swap them."""

    def __init__(self) -> None:
        super().__init__()
        pixels = sum(3 * height * width for height, width in CAMERAS.values())
        self.linear = nn.Linear(pixels + len(JOINTS), EMBEDDING_SIZE)

    def forward(self, front: Tensor, wrist: Tensor, joints: Tensor) -> Tensor:
        pixels = [image.float().flatten(1) / 255 for image in (front, wrist)]
        return torch.tanh(self.linear(torch.cat((*pixels, joints), dim=1)))


class Sampler(nn.Module):
    """Noise, shifted by the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(EMBEDDING_SIZE, HORIZON * len(ACTIONS))

    def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
        return self.mean(embedding).unflatten(1, NOISE_SHAPE)[:, None] + 0.1 * noise


def encoder_module() -> Encoder:
    torch.manual_seed(1)
    return Encoder()


def sampler_module() -> Sampler:
    torch.manual_seed(2)
    return Sampler()


def export_policy(folder: Path) -> tuple[Path, Path]:
    """Export encoder and sampler, as `encoder.onnx` and `sampler.onnx`."""
    export_encoder(encoder_module(), folder / "encoder.onnx", cameras=CAMERAS, joint_names=JOINTS)
    export_sampler(
        sampler_module(),
        folder / "sampler.onnx",
        embedding_size=EMBEDDING_SIZE,
        noise_shape=NOISE_SHAPE,
        action_names=ACTIONS,
        action_kind="delta",
        position_names=ACTIONS[:2],
        executed_actions=2,
    )
    return folder / "encoder.onnx", folder / "sampler.onnx"


def edited(path: Path, edit: Callable[[onnx.ModelProto], object]) -> OnnxFile:
    """Return the model with a change."""
    model = onnx.load(path)
    edit(model)
    return OnnxFile(path.name, model.SerializeToString())


def two_by_two_sampler(**metadata: Any) -> OnnxFile:
    """Return chunks that are their noise plus the embedding."""
    contract = {
        "contract": 1,
        "kind": "sampler",
        "action_names": ["x", "y"],
        "action_kind": "position",
        **metadata,
    }
    tensor = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Unsqueeze", ["embedding", "axes"], ["shift"]),
        helper.make_node("Add", ["noise", "shift"], ["chunks"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sampler",
        [
            tensor("embedding", TensorProto.FLOAT, ["N", 2]),
            tensor("noise", TensorProto.FLOAT, ["N", "B", 2, 2]),
        ],
        [tensor("chunks", TensorProto.FLOAT, ["N", "B", 2, 2])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(contract)})
    return OnnxFile("other", model.SerializeToString())
