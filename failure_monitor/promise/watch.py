# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether successful rollouts are still like those of calibration.

Three kinds of bets share the chance of a false word, delta: where a rollout lies among those of
calibration by the rule, where it lies by each score, and how many rollouts exceed the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from failure_monitor.promise.finished_rollout import FinishedRollout
from failure_monitor.promise.martingale import Direction, Martingales
from failure_monitor.promise.reference import RULE, Place, Reference

ALARMS = "alarms"
"""The name of the bet on the number of rollouts above the threshold."""

DOUBT = 10.0
"""A promise is doubtful if it would be broken with so many times the chance of a false word."""

USUAL_DELTA = 0.01


class PromiseWord(str, Enum):
    """What is said of a promise."""

    HOLDS = "holds"
    DOUBTFUL = "doubtful"
    BROKEN = "broken"


@dataclass(frozen=True)
class PromiseState:
    """What is known of a promise.

    Attributes:
        word: what is said.
        delta: the chance that a promise that holds is ever called broken.
        rollouts: how many it rests on.
        above_threshold: how many of these exceeded the threshold.
        calibration_rollouts: with how many they were compared.
        evidence: 1 where the promise breaks, less before; never 0.
        broken_since: the number of the rollout with which it broke, from 1; None if it did not.
        mostly: the score that differs most, `rule` or `alarms`; empty without a rollout.
        direction: how it differs.
        task: its task, where there are several.
    """

    word: PromiseWord
    delta: float
    rollouts: int
    above_threshold: int
    calibration_rollouts: int
    evidence: float
    broken_since: int | None = None
    mostly: str = ""
    direction: Direction = Direction.HIGHER
    task: str = ""

    @property
    def text(self) -> str:
        """The state as text."""
        return f"{self.headline}{self._why}; {self.rests_on}"

    @property
    def headline(self) -> str:
        """The word, and since when."""
        if self.broken_since is not None:
            return f"broken since rollout {self.broken_since}"
        return self.word.value

    @property
    def rests_on(self) -> str:
        """On how many rollouts it rests."""
        if not self.rollouts:
            return "no rollout that counts has ended yet"
        plural = "s" if self.rollouts > 1 else ""
        return (
            f"{self.rollouts} rollout{plural}, {self.above_threshold} above the threshold, "
            f"compared with {self.calibration_rollouts} of calibration; delta {self.delta:g}"
        )

    @property
    def _why(self) -> str:
        if self.word is PromiseWord.HOLDS:
            return ""
        task = f" in the task '{self.task}'" if self.task else ""
        if self.mostly == ALARMS:
            return f"{task}: more rollouts exceed the threshold than promised"
        of = "the level of the rule" if self.mostly == RULE else f"mostly by {self.mostly}, which"
        return f"{task}: {of} is {self.direction.value} in calibration"


@dataclass(eq=False)
class _Bets:
    """The bets on rollouts of one task."""

    reference: Reference
    places: Martingales
    alarms: Martingales

    @classmethod
    def on(cls, reference: Reference) -> _Bets:
        k, n = reference.rank, reference.rollouts
        return cls(
            reference,
            Martingales(np.ones(k), len(reference.series)),
            Martingales(np.array([k, n + 1 - k]), directions=(Direction.HIGHER,)),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.reference.series, ALARMS)

    @property
    def shares(self) -> list[float]:
        """Which part of delta each has: the rule, the scores together, and the alarms."""
        scores = self.reference.scores
        part = 1 / 3 if scores else 1 / 2
        return [part, *[part / len(scores) for _ in scores], part]

    def update(self, place: Place) -> None:
        self.alarms.update(np.array([int(place.is_above_threshold)]))
        if not place.is_above_threshold:
            self.places.update(np.array(place.cells))

    def log_evidence(self) -> list[float]:
        """Return each capital times its part of delta, as a logarithm."""
        capitals = [*self.places.log_capital, *self.alarms.log_capital]
        return [
            float(capital) + math.log(share)
            for capital, share in zip(capitals, self.shares, strict=True)
        ]

    def direction(self, name: str) -> Direction:
        if name == ALARMS:
            return Direction.HIGHER
        return self.places.direction(self.names.index(name))


@dataclass(frozen=True)
class _Strongest:
    evidence: float
    name: str
    direction: Direction
    task: str


class PromiseWatch:
    """The watch of one bundle's promise on one robot."""

    def __init__(self, references: Sequence[Reference], delta: float = USUAL_DELTA) -> None:
        """Start without a rollout.

        Args:
            references: the calibration rollouts of each task.
            delta: the chance that a promise that holds is ever called broken.
        """
        self._delta = delta
        self._bets = {reference.task: _Bets.on(reference) for reference in references}
        self._rollouts = 0
        self._above = 0
        self._broken_since: int | None = None
        self._strongest: _Strongest | None = None

    @property
    def rollouts(self) -> int:
        """How many rollouts counted."""
        return self._rollouts

    def place(self, finished: FinishedRollout) -> Place:
        """Return where the next rollout lies, which `add` takes.

        Raises:
            KeyError: the bundle has no promise for its task.
        """
        return self._bets[finished.task].reference.place(finished, self._rollouts)

    def add(self, task: str, place: Place) -> PromiseState:
        """Count a rollout of a task; return what is known now."""
        bets = self._bets[task]
        bets.update(place)
        self._rollouts += 1
        self._above += place.is_above_threshold
        strongest = max(self._all(), key=lambda each: each.evidence)
        # What broke the promise stays named.
        if self._broken_since is None:
            self._strongest = strongest
            if strongest.evidence >= 0:
                self._broken_since = self._rollouts
        return self.state

    def _all(self) -> Iterable[_Strongest]:
        least = math.log(self._delta / len(self._bets))
        for task, bets in self._bets.items():
            for name, evidence in zip(bets.names, bets.log_evidence(), strict=True):
                yield _Strongest(evidence + least, name, bets.direction(name), task)

    @property
    def state(self) -> PromiseState:
        """What is known."""
        strongest = self._strongest
        evidence = 0.0 if strongest is None else math.exp(min(strongest.evidence, 700.0))
        return PromiseState(
            word=self._word(evidence),
            delta=self._delta,
            rollouts=self._rollouts,
            above_threshold=self._above,
            calibration_rollouts=sum(each.reference.rollouts for each in self._bets.values()),
            evidence=evidence,
            broken_since=self._broken_since,
            mostly="" if strongest is None else strongest.name,
            direction=Direction.HIGHER if strongest is None else strongest.direction,
            task="" if strongest is None else strongest.task,
        )

    def _word(self, evidence: float) -> PromiseWord:
        if self._broken_since is not None:
            return PromiseWord.BROKEN
        return PromiseWord.DOUBTFUL if evidence * DOUBT >= 1 else PromiseWord.HOLDS
