# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Chunks of a sampler that needs more of its encoder than the embedding, while a bag is read.

What such an encoder hands on may be millions of numbers an observation, too many to keep until the
bag is divided into rollouts. So the chunks are sampled at once. Their noise depends on the number
of the decision in its rollout, so each boundary must be known when the first decision after it is
made, and it is: boundaries depend only on what was recorded before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.policy_models.models import Encoded, PolicySampler
from failure_monitor.sources.source import BagOptions


class ChunkSampling:
    """Samples chunks of the decisions of a bag, in their order."""

    def __init__(self, sampler: PolicySampler, options: BagOptions) -> None:
        """Start before the first decision.

        Args:
            sampler: samples the chunks.
            options: state the noise, and how the bag is divided into rollouts.
        """
        self._sampler = sampler
        self._samples = sampler.policy_format(samples=options.black_box.sample_count).samples
        self._noise = sampler.noise_stream(seed=options.black_box.noise_seed)
        self._boundaries = options.boundaries
        self._pause = round(1e9 * (options.pause or 0.0))
        self._before: tuple[int, int] | None = None
        self._number = 0
        self._numbers: dict[int, int] = {}

    def start_rollout(self) -> None:
        """Start a rollout with the next decision, as its marker states."""
        self._number = 0
        self._noise.start_rollout()

    def sample(
        self, stamp: int, received: int, outcomes: Sequence[tuple[int, bool]], encoded: Encoded
    ) -> NDArray[np.float32]:
        """Sample the chunks of the next decision, float32 (B, H, D).

        Args:
            stamp: its stamp in nanoseconds.
            received: the bag time at which its observation was complete.
            outcomes: the bag times and values of the outcomes so far.
            encoded: what the encoder made of the observation.
        """
        if self._before is not None and self._is_first(stamp, received, outcomes, self._before):
            self.start_rollout()
        self._before = stamp, received
        self._numbers[stamp] = self._number
        self._number += 1
        noise = self._noise.draw(self._samples)
        return self._sampler.sample(encoded.embedding, noise, encoded.conditioning)

    def are_one_rollout(self, stamps: Sequence[int]) -> bool:
        """Return whether the chunks at these stamps were sampled as those of a whole rollout."""
        return [self._numbers[stamp] for stamp in stamps] == list(range(len(stamps)))

    def _is_first(
        self,
        stamp: int,
        received: int,
        outcomes: Sequence[tuple[int, bool]],
        before: tuple[int, int],
    ) -> bool:
        """Return whether a decision is a rollout's first, unless by a marker."""
        if self._boundaries == "pauses":
            return stamp - before[0] > self._pause
        if self._boundaries == "outcomes":
            times = [time for time, _ in outcomes]
            return bisect_left(times, received) > bisect_left(times, before[1])
        return False
