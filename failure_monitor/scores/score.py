# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What every score offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Decision, Rollout
from failure_monitor.errors import FailureMonitorError


class ScoreUndefinedError(FailureMonitorError):
    """A score that means nothing for this policy or these rollouts."""


@dataclass(frozen=True, eq=False)
class ScoreState:
    """All that a fitted score is made of, to be stored in a bundle.

    Attributes:
        parameters: single numbers.
        arrays: arrays of numbers.
        models: serialised ONNX models.
    """

    parameters: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    models: dict[str, bytes] = field(default_factory=dict)


class Score(ABC):
    """A number per decision, larger is worse, from one rollout's past only.

    `update` is the streaming form and `over_rollout` the vectorised one; they agree.
    """

    name: ClassVar[str]

    def start_rollout(self) -> None:  # noqa: B027
        """Forget the past: the next decision is a rollout's first. Most scores have no past."""

    @abstractmethod
    def update(self, decision: Decision) -> float:
        """The score of the next decision."""

    @abstractmethod
    def over_rollout(self, rollout: Rollout) -> NDArray[np.float64]:
        """The score of every decision, (T,)."""

    @abstractmethod
    def state(self) -> ScoreState:
        """What `from_state` makes the same score of again."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: ScoreState) -> Score:
        """The score that `state` describes."""
