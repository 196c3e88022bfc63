# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Training of random network distillation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from failure_monitor.calibration.fitting.perceptron import perceptron

# The published networks, E-1024-2048-4096-512, are made for embeddings of thousands of features.
HIDDEN_SIZE = 256
OUTPUT_SIZE = 128
EPOCHS = 40
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-5


class Distance(nn.Module):
    """‖f(x) − g(x)‖₂."""

    def __init__(self, predictor: nn.Module, target: nn.Module) -> None:
        super().__init__()
        self.predictor, self.target = predictor, target

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, F) to one number each, (N,)."""
        return torch.linalg.vector_norm(self.predictor(features) - self.target(features), dim=1)


def train(features: Tensor, seed: int) -> Distance:
    """Train f to match a random g on standardised features (N, F)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [features.shape[1], HIDDEN_SIZE, HIDDEN_SIZE]
    target = perceptron([*sizes, OUTPUT_SIZE], generator)
    predictor = perceptron([*sizes, HIDDEN_SIZE, OUTPUT_SIZE], generator)
    _distil(predictor, target, features, generator)
    return Distance(predictor, target)


def _distil(
    predictor: nn.Module, target: nn.Module, features: Tensor, generator: torch.Generator
) -> None:
    """Minimise the mean squared difference of the outputs."""
    with torch.no_grad():
        wanted = target(features)
    optimiser = torch.optim.AdamW(
        predictor.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    batches = -(-len(features) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, T_max=EPOCHS * batches, eta_min=LEARNING_RATE / 100
    )
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(features), generator=generator).split(BATCH_SIZE):
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(predictor(features[batch]), wanted[batch])
            loss.backward()
            optimiser.step()
            schedule.step()
