# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How large the values of a decision may be before no score can be trusted with them.

A score is made for values like those of calibration. Far beyond them it saturates, loses digits,
or is blind by its meaning: samples that are all wrong by the same amount agree. A decision with
a value many times further from 0 than any of calibration is therefore invalid, whatever the
scores, the rule, the window and the thresholds make of it.

On five tasks whose limits came from 10 successful rollouts, the values of other rollouts were at
most so many times the largest of calibration, in successes and failures: of embeddings 12 and 46,
of actions 1.1 and 1.1, of positions 2.4 and 5.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, InvalidDecisionError, PolicyFormat, Rollout

EMBEDDING_FACTOR = 100.0
"""Features of a network may be near 0 in all rollouts of calibration. The promised false-alarm
rate stays what it is only where no successful rollout reaches the limit."""
MOTION_FACTOR = 10.0
"""Of actions and measured positions."""

UNKNOWN = 1e9
"""Largest value where it is unknown what calibration saw, in bundles of older versions."""


@dataclass(frozen=True, eq=False)
class ValueLimits:
    """The largest absolute values that decisions may have.

    Attributes:
        embedding: of each value of the observation embedding, (E,); empty without one.
        actions: of each action dimension, in all samples and at all steps, (D,).
        positions: of each measured position, (P,); empty if calibration had none.
    """

    embedding: NDArray[np.float64]
    actions: NDArray[np.float64]
    positions: NDArray[np.float64]

    @classmethod
    def of_rollouts(cls, rollouts: Sequence[Rollout]) -> ValueLimits:
        """Return the limits that follow from the rollouts of calibration."""
        positions = [rollout.positions for rollout in rollouts if rollout.positions is not None]
        return cls(
            embedding=EMBEDDING_FACTOR * _largest([rollout.embeddings for rollout in rollouts]),
            actions=MOTION_FACTOR * _largest([rollout.chunks for rollout in rollouts]),
            positions=MOTION_FACTOR * _largest(positions) if positions else np.empty(0),
        )

    @classmethod
    def unknown(cls, policy: PolicyFormat) -> ValueLimits:
        """Return limits for any policy of that format, which stop what is absurd."""
        return cls(
            embedding=np.full(policy.embedding_size, UNKNOWN),
            actions=np.full(len(policy.action_names), UNKNOWN),
            positions=np.empty(0),
        )

    def check(self, decision: Decision, policy: PolicyFormat) -> None:
        """Reject a decision of a policy's shapes with a value beyond its limit, or not finite.

        Raises:
            InvalidDecisionError: names the value, and what to check.
        """
        if self._are_all_within(decision):
            return
        policy.check_finite(decision)
        shares = self._shares(
            decision.embedding[np.newaxis],
            decision.chunks[np.newaxis],
            None if decision.positions is None else decision.positions[np.newaxis],
        )
        embedding, actions, positions = (share[0] for share in shares)
        if (embedding > 1).any():
            worst = int(embedding.argmax())
            _reject(
                f"value {worst} of the embedding",
                decision.embedding[worst],
                self.embedding[worst],
                EMBEDDING_FACTOR,
                "check the policy's encoder and its inputs",
            )
        if (actions > 1).any():
            worst = int(actions.argmax())
            values = decision.chunks[..., worst].ravel()
            _reject(
                f"action {policy.action_names[worst]} of a sampled chunk",
                values[np.abs(values).argmax()],
                self.actions[worst],
                MOTION_FACTOR,
                "check the policy's sampler and its units",
            )
        if decision.positions is not None and (positions > 1).any():
            worst = int(positions.argmax())
            name = policy.action_names[policy.position_indices[worst]]
            _reject(
                f"the measured position {name}",
                decision.positions[worst],
                self.positions[worst],
                MOTION_FACTOR,
                "check the robot's state publisher and its units",
            )

    def _are_all_within(self, decision: Decision) -> bool:
        """Return whether all values are within the smallest limit: of most decisions, quickly."""
        smallest, actions = self._smallest_action, decision.chunks.ravel()
        return bool(
            np.maximum.reduce(actions) <= smallest
            and np.minimum.reduce(actions) >= -smallest
            and _are_within(decision.embedding, self.embedding)
            and (
                decision.positions is None
                or (len(self.positions) and _are_within(decision.positions, self.positions))
            )
        )

    @cached_property
    def _smallest_action(self) -> float:
        return float(self.actions.min())

    def levels(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the largest share of its limit that a value has at every decision, (T,)."""
        shares = self._shares(rollout.embeddings, rollout.chunks, rollout.positions)
        return np.asarray(np.max([share.max(axis=1, initial=0.0) for share in shares], axis=0))

    def valid_decisions(self, rollout: Rollout) -> int:
        """Return how many decisions of a rollout come before the first that is beyond."""
        beyond = np.flatnonzero(self.levels(rollout) > 1)
        return int(beyond[0]) if len(beyond) else len(rollout)

    def _shares(
        self,
        embeddings: NDArray[np.float32],
        chunks: NDArray[np.float32],
        positions: NDArray[np.float32] | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return which shares of their limits the values of T decisions have, (T, E, D and P)."""
        count, samples, horizon, dimensions = chunks.shape
        # In this shape the maximum takes a tenth of the time.
        rows = np.abs(chunks).reshape(count, samples, horizon * dimensions)
        largest = rows.max(axis=1).reshape(count, horizon, dimensions).max(axis=1)
        if positions is None or not len(self.positions):
            moved = np.zeros((count, 1))
        else:
            moved = np.abs(positions) / self.positions
        return np.abs(embeddings) / self.embedding, largest / self.actions, moved

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what is to be stored."""
        return {
            "embedding": self.embedding,
            "actions": self.actions,
            "positions": self.positions,
        }


def _are_within(values: NDArray[np.float32], limits: NDArray[np.float64]) -> bool:
    """Return whether no value is beyond its limit, or no number."""
    return bool(np.count_nonzero(np.abs(values) <= limits) == values.size)


def _reject(what: str, value: float, limit: float, factor: float, remedy: str) -> NoReturn:
    raise InvalidDecisionError(
        f"{what} is {value:.3g}, beyond {limit:.3g}, {factor:g} times the largest of calibration: "
        f"{remedy}, or calibrate again"
    )


def _largest(values: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Return the largest absolute value along the last axis, at least the median of these.

    What was always 0, or much smaller than the others, may have been at rest.
    """
    if not values[0].shape[-1]:
        return np.empty(0)
    largest = np.max(
        [np.abs(each).reshape(-1, each.shape[-1]).max(axis=0) for each in values], axis=0
    ).astype(np.float64)
    moved = largest[largest > 0]
    usual = np.median(moved) if len(moved) else 1.0
    return np.asarray(np.maximum(largest, usual))
