# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's policy as torch modules: an observation encoder and a conditional flow.

The flow carries Gaussian noise to action chunks along dx/dt = v(x, t | embedding), with v fitted
to straight paths x_t = (1 - t) noise + t chunk (flow matching, Lipman et al., ICLR 2023).
"""

import math

import torch
from torch import Tensor, nn

EMBEDDING_SIZE = 64
"""E, length of the observation embedding."""

EULER_STEPS = 10
"""Integration steps from noise to a chunk."""

_TIME_FEATURES = 32


class SpatialSoftmax(nn.Module):
    """Where each channel of a feature map is active: its expected image coordinates."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        rows, columns = torch.meshgrid(
            torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
        )
        self.register_buffer("grid", torch.stack((columns.flatten(), rows.flatten()), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, C, height, width) to coordinates (N, 2 C) in [-1, 1]."""
        attention = features.flatten(2).softmax(dim=2)
        return (attention @ self.grid).flatten(1)


class DemoEncoder(nn.Module):
    """An image and joint positions to an observation embedding.

    The embedding's last J entries are the standardised joint positions, the others image features.
    """

    def __init__(self, image_size: int, joint_mean: Tensor, joint_std: Tensor) -> None:
        super().__init__()
        self.register_buffer("joint_mean", joint_mean)
        self.register_buffer("joint_std", joint_std)
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            SpatialSoftmax(image_size // 4, image_size // 4),
            nn.Linear(64, 128),
            nn.ReLU(),
            nn.Linear(128, EMBEDDING_SIZE - len(joint_mean)),
        )

    def forward(self, image: Tensor, joints: Tensor) -> Tensor:
        """Embed images uint8 (N, height, width, 3) and joints float32 (N, J) to (N, E)."""
        pixels = image.permute(0, 3, 1, 2).float() / 255.0 - 0.5
        return torch.cat(
            (self.features(pixels), (joints - self.joint_mean) / self.joint_std), dim=1
        )


class FilmBlock(nn.Module):
    """A residual layer whose activations the condition scales and shifts (FiLM)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(condition, 2 * width)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """Transform hidden (…, width) under a condition (…, C)."""
        scale, shift = self.modulation(condition).split(self.width, dim=-1)
        return hidden + self.layers(self.norm(hidden) * (1 + scale) + shift)


class VelocityField(nn.Module):
    """v(x, t | embedding) over standardised action chunks."""

    def __init__(self, horizon: int, action_size: int, width: int = 160, blocks: int = 3) -> None:
        super().__init__()
        self.enter = nn.Linear(horizon * action_size, width)
        self.condition = nn.Sequential(
            nn.Linear(EMBEDDING_SIZE + _TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(FilmBlock(width, width) for _ in range(blocks))
        self.leave = nn.Linear(width, horizon * action_size)

    def forward(self, chunks: Tensor, time: Tensor, embedding: Tensor) -> Tensor:
        """Velocity (…, H, D) of chunks (…, H, D) at time (…, 1) given embeddings (…, E)."""
        features = time_features(time).expand(*embedding.shape[:-1], -1)
        condition = self.condition(torch.cat((embedding, features), dim=-1))
        hidden = self.enter(chunks.flatten(-2))
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.leave(hidden).view_as(chunks)


def time_features(time: Tensor) -> Tensor:
    """Return sines and cosines (…, F) of a flow time (…, 1) in [0, 1]."""
    octaves = torch.exp(torch.linspace(0.0, math.log(100.0), _TIME_FEATURES // 2))
    phases = time * octaves
    return torch.cat((phases.sin(), phases.cos()), dim=-1)


class ChunkSampler(nn.Module):
    """The whole flow from noise to action chunks, in units of the robot's actions."""

    def __init__(self, velocity: VelocityField, action_mean: Tensor, action_std: Tensor) -> None:
        super().__init__()
        self.velocity = velocity
        self.register_buffer("action_mean", action_mean)
        self.register_buffer("action_std", action_std)

    def forward(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Integrate noise (N, B, H, D) to as many chunks given embeddings (N, E)."""
        chunks, condition = noise, embedding[:, None]
        for step in range(EULER_STEPS):
            time = torch.full((1, 1, 1), step / EULER_STEPS)
            chunks = chunks + self.velocity(chunks, time, condition) / EULER_STEPS
        return chunks * self.action_std + self.action_mean


class FlowPolicyNetwork(nn.Module):
    """Encoder and sampler together, as they are trained."""

    def __init__(self, encoder: DemoEncoder, sampler: ChunkSampler) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler

    def loss(self, image: Tensor, joints: Tensor, chunks: Tensor, draws: int) -> Tensor:
        """Return the flow-matching loss of chunks (N, H, D), `draws` noises and times for each."""
        embedding = self.encoder(image, joints).repeat_interleave(draws, dim=0)
        target = (chunks - self.sampler.action_mean) / self.sampler.action_std
        target = target.repeat_interleave(draws, dim=0)
        noise = torch.randn_like(target)
        time = torch.rand(len(target), 1)
        mixed = torch.lerp(noise, target, time[:, :, None])
        predicted = self.sampler.velocity(mixed, time, embedding)
        return (predicted - (target - noise)).square().mean()
