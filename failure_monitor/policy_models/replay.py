# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded observations to the decisions of the exported policy, one after the other.

The monitor node computes one decision at a time (`ObservationEncoder.embed`, then
`PolicySampler.sample`); this does exactly the same for a rollout in a bag. Batches would be a
fifth faster on a CPU, but with dynamic quantisation, for one, observations of a batch change each
other's results. Observations may come from a generator: only one of them is in memory, and what
the encoder hands to the sampler beside its embedding only until its chunks are sampled.
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
    task: str = "",
) -> Rollout:
    """Return the rollout of a policy's decisions on observations.

    Args:
        observations: the observations of one rollout, in order of time.
        encoder: the policy's encoder.
        sampler: the policy's sampler.
        name: the rollout's name.
        samples: B, the number of action chunks per decision.
        seed: the seed of the noise, the same as the monitor's.
        task: the task, of those whose tokens the encoder holds.

    Raises:
        OnnxContractError: encoder and sampler are of different policies.
        UnknownTokensError: the encoder does not hold the tokens of the task.
        OnnxModelError: the observations do not fit the encoder.
    """
    check_same_policy(encoder, sampler)
    policy, noise = sampler.policy_format(samples=samples), sampler.noise_stream(seed=seed)
    stamps: list[int] = []
    embeddings: list[NDArray[np.float32]] = []
    chunks: list[NDArray[np.float32]] = []
    for seen in observations:
        encoded = encoder.encode(seen.images, seen.joints, task)
        stamps.append(seen.stamp)
        embeddings.append(encoded.embedding)
        drawn = noise.draw(policy.samples)
        chunks.append(sampler.sample(encoded.embedding, drawn, encoded.conditioning))
    return Rollout(
        name=name,
        stamps=1e-9 * np.array(stamps, np.float64),
        embeddings=np.array(embeddings, np.float32).reshape(-1, policy.embedding_size),
        chunks=np.array(chunks, np.float32).reshape(-1, *policy.chunk_shape),
        task=task,
    )


def sample_all(
    sampler: PolicySampler, embeddings: NDArray[np.float32], *, samples: int, seed: int
) -> NDArray[np.float32]:
    """Sample B action chunks for each embedding of a rollout: (T, E) to float32 (T, B, H, D).

    Raises:
        OnnxModelError: the embeddings do not fit the sampler.
    """
    policy, noise = sampler.policy_format(samples=samples), sampler.noise_stream(seed=seed)
    chunks = np.empty((len(embeddings), *policy.chunk_shape), "f4")
    for embedding, of_decision in zip(embeddings, chunks, strict=True):
        of_decision[:] = sampler.sample(embedding, noise.draw(policy.samples))
    return chunks
