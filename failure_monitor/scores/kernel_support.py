# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Kernel support: how far observation and planned actions together lie from the fitting decisions.

    score(x) = k(x, x) − k_xᵀ (K + mλI)⁻¹ k_x,    k(x, x') = exp(−‖x − x'‖² / 2)

the posterior variance of a Gaussian process that was observed at m fitting decisions, of

    x = [e / σ_e, μ_A / σ_A],    μ_A = mean_b √(2/M) cos(ωᵀ a_b + φ)

where e is the standardised embedding and μ_A the mean embedding of the B sampled chunks a_b by M
random Fourier features of a Gaussian kernel. σ_e, σ_A and the kernel's bandwidth for chunks are
medians of distances between fitting decisions. In [0, 1]: 1 where nothing is near.
Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.26; Muandet et
al., "Kernel Mean Embedding of Distributions", 2017; Rahimi and Recht, NeurIPS 2007.

Of more than 512 fitting decisions a random part of 512 is the support, so that a decision costs
less than 1 ms whatever was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.scores.base.nearest_neighbours import choose_decisions
from failure_monitor.scores.base.score import InstantScore, ScoreState
from failure_monitor.scores.base.standardisation import Standardisation, executed_chunks

FOURIER_FEATURES = 128
SUPPORT = 512
"""The largest number of fitting decisions that are kept, m."""
REGULARISATION = 1e-5
"""λ."""


class KernelSupport(InstantScore):
    """The posterior variance at the decision's embedding and chunks."""

    name = "kernel_support"
    meaning = "what it sees and does is unlike successful rollouts"

    def __init__(
        self,
        *,
        embedding: Standardisation,
        bandwidths: NDArray[np.float64],
        frequencies: NDArray[np.float32],
        phases: NDArray[np.float32],
        support: NDArray[np.float64],
        whitening: NDArray[np.float64],
    ) -> None:
        """Create the score from its process on V embedding features that vary.

        Args:
            embedding: standardisation of embeddings.
            bandwidths: (2,), σ_e and σ_A.
            frequencies: ω of unscaled chunks, (H·D, M).
            phases: φ, (M,).
            support: (m, V + M), x of the fitting decisions.
            whitening: (m, m), L⁻¹ with L Lᵀ = K + mλI.
        """
        self._embedding = embedding
        self._bandwidths = bandwidths
        self._frequencies = frequencies
        self._phases = phases
        self._support = support
        self._whitening = whitening

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> KernelSupport:
        """Observe the process at the rollouts' decisions.

        Raises:
            ScoreUndefinedError: the embeddings or the executed chunks never change.
        """
        embedding = Standardisation.of_embeddings(rollouts, cls.name)
        chosen = choose_decisions(rollouts, SUPPORT, seed)
        executed = np.concatenate([executed_chunks(rollout) for rollout in rollouts])
        frequencies, phases = _draw_waves(executed, chosen, seed, cls.name)
        means = np.concatenate(
            [_mean_embeddings(rollout.chunks, frequencies, phases) for rollout in rollouts]
        )[chosen]
        seen = embedding(np.concatenate([rollout.embeddings for rollout in rollouts])[chosen])
        bandwidths = np.array([_median_distance(seen), _median_distance(means)])
        support = np.concatenate([seen / bandwidths[0], means / bandwidths[1]], axis=1)
        kernel = _kernel(support, support)
        noise = len(support) * REGULARISATION * np.eye(len(support))
        # Imported here and below: the monitor starts sooner without it.
        from scipy.linalg import solve_triangular

        whitening = solve_triangular(
            np.linalg.cholesky(kernel + noise), np.eye(len(support)), lower=True
        )
        return cls(
            embedding=embedding,
            bandwidths=bandwidths,
            frequencies=frequencies,
            phases=phases,
            support=support,
            whitening=whitening,
        )

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the posterior variance at every decision, (T,)."""
        means = _mean_embeddings(rollout.chunks, self._frequencies, self._phases)
        parts = (self._embedding(rollout.embeddings), means)
        points = np.concatenate(
            [part / size for part, size in zip(parts, self._bandwidths, strict=True)], axis=1
        )
        explained = _kernel(points, self._support) @ self._whitening.T
        return np.asarray(np.maximum(1 - np.sum(explained**2, axis=1), 0.0))

    def state(self) -> ScoreState:
        """Return the process."""
        return ScoreState(
            arrays={
                "bandwidths": self._bandwidths,
                "frequencies": self._frequencies,
                "phases": self._phases,
                "support": self._support,
                "whitening": self._whitening,
                **self._embedding.arrays("embedding"),
            }
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> KernelSupport:
        """Restore the score with a stored process."""
        return cls(
            embedding=Standardisation.from_state(state, "embedding"),
            bandwidths=state.arrays["bandwidths"].astype(np.float64),
            frequencies=state.arrays["frequencies"].astype(np.float32),
            phases=state.arrays["phases"].astype(np.float32),
            support=state.arrays["support"].astype(np.float64),
            whitening=state.arrays["whitening"].astype(np.float64),
        )


def _draw_waves(
    executed: NDArray[np.float32], chosen: NDArray[np.int64], seed: int, score: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return ω and φ for raw chunks: standardisation and bandwidth are multiplied in."""
    standardisation = Standardisation.fit(executed, f"{score}: the executed action chunks")
    bandwidth = _median_distance(standardisation(executed[chosen]))
    random = np.random.default_rng(seed)
    varying = random.normal(size=(len(standardisation.varying), FOURIER_FEATURES))
    varying /= bandwidth * standardisation.deviation[:, np.newaxis]
    frequencies = np.zeros((executed.shape[1], FOURIER_FEATURES))
    frequencies[standardisation.varying] = varying
    phases = random.uniform(0, 2 * np.pi, FOURIER_FEATURES) - standardisation.mean @ varying
    return frequencies.astype(np.float32), np.mod(phases, 2 * np.pi).astype(np.float32)


def _mean_embeddings(
    chunks: NDArray[np.float32], frequencies: NDArray[np.float32], phases: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return μ_A of chunks (T, B, H, D), (T, M)."""
    flat = chunks.reshape(*chunks.shape[:2], -1)
    waves = np.cos(flat @ frequencies + phases)
    return np.asarray(np.sqrt(2 / waves.shape[-1]) * waves.mean(axis=1), dtype=np.float64)


def _kernel(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return k between (N, F) and (M, F), (N, M)."""
    squared = (
        np.sum(points**2, axis=1)[:, np.newaxis]
        + np.sum(others**2, axis=1)
        - 2 * points @ others.T
    )
    return np.asarray(np.exp(-np.maximum(squared, 0) / 2))


def _median_distance(points: NDArray[np.float64]) -> float:
    """Return the median distance of all distinct points (N, F); 1 if there are none."""
    from scipy.spatial.distance import pdist

    distances = pdist(points)
    distances = distances[distances > 0]
    return float(np.median(distances)) if len(distances) else 1.0
