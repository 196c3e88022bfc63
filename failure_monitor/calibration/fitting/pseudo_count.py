# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the coin-flipping network, for the pseudo-count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from failure_monitor.calibration.fitting.perceptron import perceptron

HIDDEN_SIZE = 128
COINS = 20
"""d, the length of the random vectors."""
EPOCHS = 60
BATCH_SIZE = 256
LEARNING_RATE = 1e-3


class Residual(nn.Module):
    """x + g(x)."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = perceptron([HIDDEN_SIZE, HIDDEN_SIZE, HIDDEN_SIZE], generator)

    def forward(self, hidden: Tensor) -> Tensor:
        """Add the block's output to its input, (N, HIDDEN_SIZE) to the same."""
        return hidden + self.inner(torch.relu(hidden))


class CoinFlips(nn.Module):
    """‖f(x) + g(x)‖₂ with g a fixed random network, of unit variance over the fitting features."""

    def __init__(self, features: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        size = features.shape[1]
        self.learned = nn.Sequential(
            perceptron([size, HIDDEN_SIZE], generator),
            Residual(generator),
            Residual(generator),
            nn.ReLU(),
            perceptron([HIDDEN_SIZE, COINS], generator),
        )
        self.prior = perceptron([size, HIDDEN_SIZE, COINS], generator).requires_grad_(False)
        with torch.no_grad():
            deviation, mean = torch.std_mean(self.prior(features), dim=0)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", torch.clamp(deviation, min=1e-3))

    def flips(self, features: Tensor) -> Tensor:
        """Return the vectors that are learned, (N, F) to (N, COINS)."""
        prior = (self.prior(features) - self.mean) / self.deviation
        return self.learned(features) + prior

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, F) to one number each, (N,)."""
        return torch.linalg.vector_norm(self.flips(features), dim=1)


def train(features: Tensor, seed: int) -> CoinFlips:
    """Regress a random vector of ±1 for each row of standardised features (N, F)."""
    generator = torch.Generator().manual_seed(seed)
    network = CoinFlips(features, generator)
    coins = torch.randint(0, 2, (len(features), COINS), generator=generator) * 2.0 - 1.0
    batches = -(-len(features) // BATCH_SIZE)
    optimiser = torch.optim.Adam(network.learned.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=LEARNING_RATE, total_steps=EPOCHS * batches
    )
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(features), generator=generator).split(BATCH_SIZE):
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(network.flips(features[batch]), coins[batch])
            loss.backward()
            optimiser.step()
            schedule.step()
    return network
