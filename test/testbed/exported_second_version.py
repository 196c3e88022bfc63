# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A small policy that needs the second version of the ONNX contract, and its files.

It looks at two observations, knows two tasks by their tokens, hands a memory and its mask to the
sampler, and takes the noise of several steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from failure_monitor.messages.observation_history import History
from failure_monitor.policy_models.contract import TaskTokens
from failure_monitor.policy_models.export import export_encoder, export_sampler
from testbed.scenes import CAMERAS, JOINTS

EMBEDDING_SIZE, MEMORY = 6, (5, 4)
HORIZON, STEPS = 3, 4
ACTIONS = ("x", "y")
HISTORY = History(observations=2, spacing=0.1)
PICK, PLACE = "pick it up", "put it down"
TASKS = (
    TaskTokens(task=PICK, tokens=(5, 2, 7), mask=(True, True, True)),
    TaskTokens(task=PLACE, tokens=(1, 3, 0), mask=(True, True, False)),
)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        pixels = sum(3 * height * width for height, width in CAMERAS.values())
        self.words = nn.Embedding(8, 4)
        self.memory = nn.Linear(2 * (pixels + len(JOINTS)) + 4, MEMORY[0] * MEMORY[1])
        self.head = nn.Linear(MEMORY[0] * MEMORY[1], EMBEDDING_SIZE)

    def forward(
        self, front: Tensor, wrist: Tensor, joints: Tensor, tokens: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        pixels = [image.float().flatten(1) / 255 for image in (front, wrist)]
        words = (self.words(tokens) * mask[..., None]).sum(1)
        seen = torch.cat((*pixels, joints.flatten(1), words), dim=1)
        memory = torch.tanh(self.memory(seen))
        # The mask hides the last row of the memory where a task is short.
        is_valid = torch.cat([torch.ones_like(mask[:, :1]), mask[:, :1], mask], dim=1)
        return torch.tanh(self.head(memory)), memory.unflatten(1, MEMORY), is_valid


class Sampler(nn.Module):
    """Draws towards what the memory says in steps, each with noise of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(MEMORY[1], HORIZON * len(ACTIONS))

    def forward(self, embedding: Tensor, memory: Tensor, valid: Tensor, noise: Tensor) -> Tensor:
        mean = self.mean((memory * valid[..., None]).mean(1)).unflatten(1, (HORIZON, -1))
        chunks = noise[:, :, 0]
        for step in range(1, STEPS):
            chunks = 0.5 * chunks + 0.5 * mean[:, None] + 0.1 * noise[:, :, step]
        return chunks


class Deterministic(nn.Module):
    """Returns one chunk, which is what the memory says."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(MEMORY[1], HORIZON * len(ACTIONS))

    def forward(self, embedding: Tensor, memory: Tensor, valid: Tensor) -> Tensor:
        chunk = self.mean((memory * valid[..., None]).mean(1)).unflatten(1, (HORIZON, -1))
        return chunk[:, None]


def encoder_module() -> Encoder:
    torch.manual_seed(3)
    return Encoder()


def sampler_module(*, is_deterministic: bool = False) -> nn.Module:
    torch.manual_seed(4)
    return Deterministic() if is_deterministic else Sampler()


def export_second_version(
    folder: Path,
    *,
    is_deterministic: bool = False,
    tasks: tuple[TaskTokens, ...] = TASKS,
    action_names: tuple[str, ...] = ACTIONS,
) -> tuple[Path, Path]:
    """Export encoder and sampler, as `encoder.onnx` and `sampler.onnx`."""
    export_encoder(
        encoder_module(),
        folder / "encoder.onnx",
        cameras=CAMERAS,
        joint_names=JOINTS,
        history=HISTORY,
        tasks=tasks,
        conditioning=("memory", "valid"),
    )
    export_sampler(
        sampler_module(is_deterministic=is_deterministic),
        folder / "sampler.onnx",
        embedding_size=EMBEDDING_SIZE,
        noise_shape=(STEPS, HORIZON, len(ACTIONS)),
        noise="none" if is_deterministic else "standard_normal",
        conditioning={
            "memory": torch.randn(3, *MEMORY),
            "valid": torch.tensor([[True] * 5, [True] * 4 + [False], [True] * 5]),
        },
        action_names=action_names,
        action_kind="position",
        executed_actions=2,
    )
    return folder / "encoder.onnx", folder / "sampler.onnx"
