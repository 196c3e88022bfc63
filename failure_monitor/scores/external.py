# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""External scores: numbers that other programs publish.

    score(t) = the newest value at the moment when decision t was complete,
               or the lowest of the fitting rollouts if it is below that

What a policy's tap publishes with its decisions is the exception: that of decision t is of
decision t alone.

The policy's energy, a learned probe, a progress estimate of a vision-language model, one minus a
confidence: larger must be worse, and usual values above 0. There are as many as a rule names;
`external:energy` is the one called energy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import InvalidDecisionError, PolicyFormat, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.parameters.topics import EXTERNAL_NAME
from failure_monitor.scores.base.score import InstantScore, ScoreState, ScoreUndefinedError

EXTERNAL_PREFIX = "external:"
"""What the names of external scores begin with in a rule."""


class ExternalScore(InstantScore):
    """A number that another program computes for each decision.

    Attributes:
        source: its name without the prefix, as in `Decision.external`.
    """

    source: ClassVar[str]
    meaning = "another program warns"

    def __init__(self, lowest: float = -math.inf) -> None:
        """Create the score.

        Args:
            lowest: what a lower value counts as, so that none outweighs other decisions in a
                window and other scores in a mean; −∞ in bundles of older versions.
        """
        self._lowest = lowest

    @classmethod
    def fit(
        cls, rollouts: Sequence[Rollout], policy: PolicyFormat, seed: int = 0
    ) -> ExternalScore:
        """Take the lowest value from the rollouts.

        Raises:
            InvalidDecisionError: values are NaN or infinite.
            ScoreUndefinedError: a rollout has no such values.
        """
        for rollout in rollouts:
            if cls.source not in rollout.external:
                raise ScoreUndefinedError(
                    f"{cls.name}: {rollout.name} has no values of it: record its topic with the "
                    "rollouts and name it, or leave this score out of the rule"
                )
        unbounded = cls()
        return cls(min(float(unbounded.score_rollout(rollout).min()) for rollout in rollouts))

    def score_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """Return the values at every decision, (T,).

        Raises:
            InvalidDecisionError: values are missing, NaN or infinite.
        """
        if self.source not in rollout.external:
            raise InvalidDecisionError(
                f"{rollout.name} has no value of the score {self.name}: publish it before the "
                "decision is complete, or calibrate a rule without it"
            )
        values = rollout.external[self.source]
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise InvalidDecisionError(
                f"{rollout.name}: the score {self.name} is {values[wrong[0]]} at decision "
                f"{wrong[0]}: check what publishes it"
            )
        return np.maximum(np.asarray(values, dtype=np.float64), self._lowest)

    def state(self) -> ScoreState:
        """Return the lowest value."""
        return ScoreState(
            parameters={"lowest": self._lowest} if math.isfinite(self._lowest) else {}
        )

    @classmethod
    def from_state(cls, state: ScoreState) -> ExternalScore:
        """Restore the score with a stored lowest value."""
        return cls(state.parameters.get("lowest", -math.inf))


@cache
def external_score(source: str) -> type[ExternalScore]:
    """Return the score of that name without the prefix.

    Raises:
        UsageError: the name could not be part of a topic.
    """
    if not re.fullmatch(EXTERNAL_NAME, source):
        raise UsageError(
            f"'{EXTERNAL_PREFIX}{source}' names no external score: after the colon must come "
            "letters, digits and underscores, a letter first"
        )
    return type(
        "ExternalScore", (ExternalScore,), {"name": EXTERNAL_PREFIX + source, "source": source}
    )
