# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the flow from embeddings to noise, for logpZO."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from failure_monitor.calibration.fitting.perceptron import perceptron

HIDDEN_SIZE = 256
EPOCHS = 40
BATCH_SIZE = 256
LEARNING_RATE = 2e-3
HELD_OUT = 10
"""One in so many decisions is held out, to choose the best weights."""
TIMES_HELD_OUT = 8
"""Times and noises with which each of these is tried."""


class Likelihood(nn.Module):
    """‖x + v(x, 0)‖²."""

    def __init__(self, velocity: nn.Module) -> None:
        super().__init__()
        self.velocity = velocity

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, F) to one number each, (N,)."""
        times = torch.zeros_like(features[:, :1])
        image = features + self.velocity(torch.cat([features, times], dim=1))
        return torch.sum(image**2, dim=1)


def train(features: Tensor, seed: int) -> Likelihood:
    """Train the velocity field on standardised features (N, F)."""
    generator = torch.Generator().manual_seed(seed)
    size = features.shape[1]
    velocity = perceptron([size + 1, HIDDEN_SIZE, HIDDEN_SIZE, size], generator)
    order = torch.randperm(len(features), generator=generator)
    held_out, fitting = features[order].tensor_split([max(1, len(features) // HELD_OUT)])
    _follow_lines(velocity, fitting, held_out, generator)
    return Likelihood(velocity)


def _follow_lines(
    velocity: nn.Module, features: Tensor, held_out: Tensor, generator: torch.Generator
) -> None:
    """Minimise the flow-matching loss, and end with the weights that were best on `held_out`."""
    optimiser = torch.optim.Adam(velocity.parameters(), lr=LEARNING_RATE)
    batches = -(-len(features) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=EPOCHS * batches)
    trials = _lines(held_out.repeat(TIMES_HELD_OUT, 1), generator)
    # Copies: the state's tensors are the weights themselves, which go on changing.
    lowest, best = _tried(velocity, trials), copy.deepcopy(velocity.state_dict())
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(features), generator=generator).split(BATCH_SIZE):
            optimiser.zero_grad()
            loss = _loss(velocity, *_lines(features[batch], generator))
            loss.backward()
            optimiser.step()
            schedule.step()
        tried = _tried(velocity, trials)
        if tried < lowest:
            lowest, best = tried, copy.deepcopy(velocity.state_dict())
    velocity.load_state_dict(best)


def _lines(start: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random points on lines to noise, with their times (N, F + 1), and the directions (N, F)."""
    noise = torch.randn(start.shape, generator=generator)
    times = torch.rand(len(start), 1, generator=generator)
    return torch.cat([(1 - times) * start + times * noise, times], dim=1), noise - start


def _loss(velocity: nn.Module, points: Tensor, directions: Tensor) -> Tensor:
    return nn.functional.mse_loss(velocity(points), directions)


def _tried(velocity: nn.Module, lines: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        return float(_loss(velocity, *lines))
