# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy of the size that people run: an encoder as large as ResNet-18, and a small sampler.

He et al., "Deep residual learning for image recognition", 2016. Untrained: what it takes to run is
the same.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from failure_monitor.policy_models.export import export_encoder, export_sampler

SIDE = 224
EMBEDDING = 512
SCALE, OFFSET = 1 / 58.0, 117.0 / 58.0
"""About what makes pixels of natural images standard normal."""


class Block(nn.Module):
    """Two convolutions and a short cut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.straight = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.short = nn.Sequential()
        if before != after or stride != 1:
            self.short = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.straight(features) + self.short(features))


class Encoder(nn.Module):
    """Both cameras through one network, and the joints."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        widths = (64, 64, 128, 256, 512)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [Block(before, after, 1 if before == after else 2), Block(after, after, 1)]
        self.network = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * 512 + joints, EMBEDDING)

    def forward(self, camera_0: Tensor, camera_1: Tensor, joints: Tensor) -> Tensor:
        features = [
            self.network(image.permute(0, 3, 1, 2).float() * SCALE - OFFSET)
            for image in (camera_0, camera_1)
        ]
        return self.head(torch.cat((*features, joints), dim=1))


class Sampler(nn.Module):
    """Noise, shifted by what the embedding says."""

    def __init__(self, horizon: int, actions: int) -> None:
        super().__init__()
        self.shape = (horizon, actions)
        self.mean = nn.Sequential(
            nn.Linear(EMBEDDING, 512), nn.ReLU(), nn.Linear(512, horizon * actions)
        )

    def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
        return self.mean(embedding).unflatten(1, self.shape)[:, None] + 0.1 * noise


def export_residual_policy(
    folder: Path, *, joint_names: tuple[str, ...], horizon: int, actions: int
) -> tuple[Path, Path]:
    """Encoder and sampler as ONNX files."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    encoder, sampler = folder / "encoder.onnx", folder / "sampler.onnx"
    export_encoder(
        Encoder(len(joint_names)).eval(),
        encoder,
        cameras={"camera_0": (SIDE, SIDE), "camera_1": (SIDE, SIDE)},
        joint_names=joint_names,
    )
    export_sampler(
        Sampler(horizon, actions).eval(),
        sampler,
        embedding_size=EMBEDDING,
        noise_shape=(horizon, actions),
        action_names=tuple(f"action_{index}" for index in range(actions)),
        action_kind="delta",
        executed_actions=horizon // 2,
    )
    return encoder, sampler
