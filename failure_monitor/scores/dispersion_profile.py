# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Dispersion profile: whether the policy is as sure of each action as usual at such a time.

Of the B sampled chunks A of a decision, for each of D actions and of H time steps, but for those
that are led to what is being executed,

    l_hd = log(std_b(A_bhd) + 0.01 r_d),    r_d the range of action d over the fitting rollouts

and the score of the standardised profile l is that of the embeddings' `phase_knn`: its mean
distance to the 8 nearest of the profiles at decisions t − 3 … t + 3 of the fitting rollouts. It
sees a policy that is surer or less sure, or of other actions, than in a rollout that succeeds;
both happen off the training data. A deterministic policy has no dispersion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, PolicyFormat, Rollout
from failure_monitor.scores.base.nearest_neighbours import NearestNeighbours
from failure_monitor.scores.base.sampled_chunks import require_differing_samples
from failure_monitor.scores.base.score import ScoreState
from failure_monitor.scores.base.standardisation import Standardisation
from failure_monitor.scores.phase_knn import PhaseNeighbourDistance

MIN_SHARE = 0.01
"""Of an action's range: dispersions well below it are all alike."""


class DispersionProfile(PhaseNeighbourDistance):
    """The mean distance to the nearest fitting profiles of about the same time."""

    name = "dispersion_profile"
    meaning = "the policy is unusually sure or unsure for this time"

    def __init__(
        self, neighbours: NearestNeighbours, smallest: NDArray[np.float64], guided: int = 0
    ) -> None:
        """Set what decisions are compared with.

        Args:
            neighbours: the profiles, in the place of embeddings.
            smallest: (D,), what is added to each action's standard deviation, in its unit.
            guided: how many leading actions are led to what is being executed, in all samples.
        """
        super().__init__(neighbours)
        self._smallest = smallest
        self._guided = guided

    @classmethod
    def fit_together(
        cls,
        rollouts: Sequence[Rollout],
        folds: NDArray[np.int64] | None,
        policy: PolicyFormat,
        seed: int = 0,
    ) -> DispersionProfile:
        """Remember the profiles of the rollouts, and when they were taken.

        Raises:
            ScoreUndefinedError: the policy has one sample per decision or is deterministic, or
                the profiles never change.
        """
        require_differing_samples(rollouts, policy, cls.name)
        smallest, guided = MIN_SHARE * _ranges(rollouts), policy.guided_actions
        profiles = [
            replace(rollout, embeddings=_profiles(rollout, smallest, guided))
            for rollout in rollouts
        ]
        # Rejected here by its own name; the neighbours would name embeddings.
        Standardisation.fit(
            np.concatenate([profile.embeddings for profile in profiles]),
            f"{cls.name}: the dispersions of the action chunks",
        )
        return cls(NearestNeighbours.fit(profiles, seed, cls.name, folds), smallest, guided)

    def score_decision(self, decision: Decision, number: int) -> NDArray[np.float64]:
        """Return the mean distance for every model, (F,)."""
        profile = _profile(decision, self._smallest, self._guided)
        return self._apart_from_phase(self._neighbours.features(profile), number)

    def state(self) -> ScoreState:
        """Return the profiles, when they were taken, and what is added to dispersions."""
        return ScoreState(
            parameters={"guided": float(self._guided)},
            arrays={"smallest": self._smallest, **self._neighbours.arrays()},
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> DispersionProfile:
        """Restore the score with stored profiles."""
        return cls(
            NearestNeighbours.from_state(state),
            state.arrays["smallest"].astype(np.float64),
            int(state.parameters.get("guided", 0)),
        )


def _ranges(rollouts: Sequence[Rollout]) -> NDArray[np.float64]:
    """Return the range of each action over all sampled chunks, (D,); 1 where it never varies."""
    highest = np.max([rollout.chunks.max(axis=(0, 1, 2)) for rollout in rollouts], axis=0)
    lowest = np.min([rollout.chunks.min(axis=(0, 1, 2)) for rollout in rollouts], axis=0)
    ranges = highest.astype(np.float64) - lowest
    return np.where(ranges > 0, ranges, 1.0)


def _profiles(rollout: Rollout, smallest: NDArray[np.float64], guided: int) -> NDArray[np.float32]:
    """Return l at every decision, (T, H·D) without the guided actions."""
    return np.stack([_profile(decision, smallest, guided) for decision in rollout.decisions()])


def _profile(
    decision: Decision, smallest: NDArray[np.float64], guided: int
) -> NDArray[np.float32]:
    deviation = decision.chunk_deviation.reshape(-1, len(smallest))[guided:]
    return np.log(deviation + smallest).ravel().astype(np.float32)
