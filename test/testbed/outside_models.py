# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the models of examples/external_scores, and a policy with which they look on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.external_scores.confidence import confidence_score
from examples.external_scores.energy import energy_score
from examples.external_scores.probe import Probe
from examples.external_scores.reward import reward_score

SCORES = {
    "reward": "missing_reward",
    "energy": "energy",
    "probe": "probe",
    "confidence": "surprise",
}
"""The score that shows each kind of failure, and no other does."""

DECISIONS = 16
FAILS_AT = 8
VOCABULARY = 16
DIRECTION = np.array([0, 0, 0, 0, 1, -1], np.float32)
"""In the hidden layer, along which failures lie that the probe knows."""


@dataclass(frozen=True)
class Seen:
    """What a stand-in policy and the models beside it have at a decision."""

    embedding: NDArray[np.float32]
    chunks: NDArray[np.float32]
    logits: NDArray[np.float32]
    tokens: NDArray[np.int64]
    reward: float


def rollout(seed: int, fault: str = "") -> Iterator[Seen]:
    """Yield a rollout in which, from a decision on, one thing goes wrong."""
    random = np.random.default_rng(seed)
    done = 0.0
    for index in range(DECISIONS):
        wrong = fault if index >= FAILS_AT else ""
        phase = index / (DECISIONS - 1)
        embedding = np.sin(phase * np.arange(1, 7)) + 0.05 * random.normal(size=6)
        embedding = (embedding + 2 * DIRECTION * (wrong == "probe")).astype(np.float32)
        chunks = usual_actions(embedding) + 0.05 * random.normal(size=(4, 5, 3))
        if wrong == "energy":
            chunks[0] += 1.0
        logits = random.normal(size=(6, VOCABULARY))
        tokens = logits.argmax(axis=1)
        logits[np.arange(6), tokens] += 0.0 if wrong == "confidence" else 8.0
        done = done if wrong == "reward" else phase
        reward = float(done + 0.02 * random.normal())
        yield Seen(embedding, chunks.astype(np.float32), logits.astype(np.float32), tokens, reward)


def usual_actions(embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.tanh(embedding[:3])


def energy(embedding: NDArray[np.float32], chunk: NDArray[np.float32]) -> float:
    """Stand in for the network of an energy-based policy."""
    return float(np.square(chunk - usual_actions(embedding)).sum())


def learned_probe() -> Probe:
    """Learn from rollouts that nothing else is done with."""
    hidden = {
        fault: np.array(
            [
                seen.embedding
                for seed in range(900, 910)
                for index, seen in enumerate(rollout(seed, fault))
                if index >= FAILS_AT
            ]
        )
        for fault in ("", "probe")
    }
    return Probe.of(hidden[""], hidden["probe"])


PROBE = learned_probe()


def scores_of(seen: Seen) -> dict[str, float]:
    return {
        **reward_score(seen.reward),
        **energy_score(energy, seen.embedding, seen.chunks),
        **PROBE.score(seen.embedding),
        **confidence_score(seen.logits, seen.tokens),
    }
