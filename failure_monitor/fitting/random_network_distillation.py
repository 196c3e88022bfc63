# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Training of random network distillation on successful rollouts, and its export to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.fitting.onnx_export import export_network
from failure_monitor.scores.onnx_network import OnnxNetwork
from failure_monitor.scores.random_network_distillation import RandomNetworkDistillation
from failure_monitor.scores.score import ScoreUndefinedError

# The published networks, E-1024-2048-4096-512, are made for embeddings of thousands of features.
HIDDEN_SIZE = 256
OUTPUT_SIZE = 128
EPOCHS = 120
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-5

CONSTANT_BELOW = 1e-4
"""A feature with a smaller standard deviation is left out: divided by it, noise would explode."""
CLIP = 10.0
"""Standardised features are clipped to ±CLIP."""


class Standardise(nn.Module):
    """Drops features that are near constant, and scales the others to zero mean, unit variance."""

    def __init__(self, embeddings: Tensor) -> None:
        """Statistics of the fitting embeddings (N, E)."""
        super().__init__()
        deviation, mean = torch.std_mean(embeddings, dim=0)
        self.register_buffer("varying", torch.nonzero(deviation >= CONSTANT_BELOW).squeeze(1))
        self.register_buffer("mean", mean[self.varying])
        self.register_buffer("deviation", deviation[self.varying])

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, E) to (N, features that vary)."""
        varying = torch.index_select(embeddings, 1, self.varying)
        return torch.clamp((varying - self.mean) / self.deviation, -CLIP, CLIP)


class Distance(nn.Module):
    """‖f(e) − g(e)‖₂ of standardised embeddings."""

    def __init__(self, standardise: Standardise, predictor: nn.Module, target: nn.Module) -> None:
        super().__init__()
        self.standardise, self.predictor, self.target = standardise, predictor, target

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, E) to (N,)."""
        features = self.standardise(embeddings)
        return torch.linalg.vector_norm(self.predictor(features) - self.target(features), dim=1)


def fit_random_network_distillation(
    rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int
) -> RandomNetworkDistillation:
    """Train f to match a random g on the rollouts' embeddings.

    Raises:
        ScoreUndefinedError: the embeddings never change.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.from_numpy(np.concatenate([rollout.embeddings for rollout in rollouts]))
    standardise = Standardise(embeddings)
    features = standardise(embeddings)
    if features.shape[1] == 0:
        raise ScoreUndefinedError(
            "rnd_oe: the embeddings are the same at every decision, so nothing can be learned "
            "from them: check what the policy publishes on its embedding topic"
        )
    sizes = [features.shape[1], HIDDEN_SIZE, HIDDEN_SIZE]
    target = _perceptron([*sizes, OUTPUT_SIZE], generator)
    predictor = _perceptron([*sizes, HIDDEN_SIZE, OUTPUT_SIZE], generator)
    _distil(predictor, target, features, generator)
    model = export_network(Distance(standardise, predictor, target), embeddings[:8])
    return RandomNetworkDistillation(OnnxNetwork(model, name=RandomNetworkDistillation.name))


def _perceptron(sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        # Orthogonal weights keep a random network's output as varied as its input.
        nn.init.orthogonal_(linear.weight, gain=2**0.5, generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


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
