# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded observations to the decisions of the exported policy, in batches.

The monitor node computes one decision at a time (`ObservationEncoder.embed`, then
`PolicySampler.sample`); this does the same for a rollout in a bag. Observations may come from a
generator: only one batch of them is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.policy_models.models import (
    ObservationEncoder,
    PolicySampler,
    check_same_policy,
)
from failure_monitor.policy_models.observation import Observation

BATCH = 8
"""Number of decisions per batch: more would need memory and be no faster on a CPU."""


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
    embeddings = [np.empty((0, encoder.embedding_size), np.float32)]
    for batch in _batches(observations):
        stamps += [observation.stamp for observation in batch]
        images = {
            camera: np.stack([observation.images[camera] for observation in batch])
            for camera in encoder.cameras
        }
        joints = [observation.joints for observation in batch if observation.joints is not None]
        embeddings.append(encoder.embed_batch(images, np.stack(joints) if joints else None))
    return np.array(stamps, np.int64), np.concatenate(embeddings)


def sample_all(
    sampler: PolicySampler, embeddings: NDArray[np.float32], *, samples: int, seed: int
) -> NDArray[np.float32]:
    """Sample B action chunks for each embedding of a rollout: (T, E) to float32 (T, B, H, D).

    Raises:
        OnnxModelError: the embeddings do not fit the sampler.
    """
    noise = sampler.noise_stream(seed=seed)
    chunks = np.empty((len(embeddings), *sampler.policy_format(samples=samples).chunk_shape), "f4")
    for start in range(0, len(embeddings), BATCH):
        batch = embeddings[start : start + BATCH]
        chunks[start : start + BATCH] = sampler.sample_batch(batch, noise.draw(len(batch), samples))
    return chunks


def _batches(observations: Iterable[Observation]) -> Iterator[list[Observation]]:
    remaining = iter(observations)
    while batch := list(islice(remaining, BATCH)):
        yield batch
