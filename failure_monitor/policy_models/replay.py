# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded observations to the decisions of the exported policy, one after the other.

The monitor node computes one decision at a time (`ObservationEncoder.embed`, then
`PolicySampler.sample`); this does exactly the same for a rollout in a bag. Batches would be a
fifth faster on a CPU, but with dynamic quantisation, for one, observations of a batch change each
other's results. Observations may come from a generator: only one of them is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.policy_models.models import (
    ObservationEncoder,
    PolicySampler,
    check_same_policy,
)
from failure_monitor.policy_models.observation import Observation


def black_box_rollout(
    observations: Iterable[Observation],
    encoder: ObservationEncoder,
    sampler: PolicySampler,
    *,
    name: str,
    samples: int,
    seed: int,
) -> Rollout:
    """Return the rollout of a policy's decisions on observations.

    Args:
        observations: the observations of one rollout, in order of time.
        encoder: the policy's encoder.
        sampler: the policy's sampler.
        name: the rollout's name.
        samples: B, the number of action chunks per decision.
        seed: the seed of the noise, the same as the monitor's.

    Raises:
        OnnxContractError: encoder and sampler are of different policies.
        OnnxModelError: the observations do not fit the encoder.
    """
    check_same_policy(encoder, sampler)
    stamps, embeddings = embed_all(encoder, observations)
    return Rollout(
        name=name,
        stamps=1e-9 * stamps.astype(np.float64),
        embeddings=embeddings,
        chunks=sample_all(sampler, embeddings, samples=samples, seed=seed),
    )


def embed_all(
    encoder: ObservationEncoder, observations: Iterable[Observation]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Embed T observations: stamps in nanoseconds, int64 (T,), and embeddings, float32 (T, E).

    Raises:
        OnnxModelError: the observations do not fit the encoder.
    """
    stamps: list[int] = []
    embeddings: list[NDArray[np.float32]] = []
    for observation in observations:
        stamps.append(observation.stamp)
        embeddings.append(encoder.embed(observation.images, observation.joints))
    shape = len(embeddings), encoder.embedding_size
    return np.array(stamps, np.int64), np.array(embeddings, np.float32).reshape(shape)


def sample_all(
    sampler: PolicySampler, embeddings: NDArray[np.float32], *, samples: int, seed: int
) -> NDArray[np.float32]:
    """Sample B action chunks for each embedding of a rollout: (T, E) to float32 (T, B, H, D).

    Raises:
        OnnxModelError: the embeddings do not fit the sampler.
    """
    noise = sampler.noise_stream(seed=seed)
    chunks = np.empty((len(embeddings), *sampler.policy_format(samples=samples).chunk_shape), "f4")
    for embedding, of_decision in zip(embeddings, chunks, strict=True):
        of_decision[:] = sampler.sample(embedding, noise.draw(samples))
    return chunks
