# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bet against "new rollouts are like those of calibration", valid at any time.

Calibration rollouts divide the line into cells, and every new rollout falls into one of them.
While all rollouts are exchangeable, those of calibration and new ones alike, the next one falls
into cell g with the chance (a_g + N_g) / (A + m): a_g is the cell's mass (1 for a gap between two
neighbours of calibration), A the sum of all, N_g the number of earlier new rollouts in the cell
and m that of all (Pólya's urn). The law is exact for any number of calibration rollouts, so that
their small number costs power and never validity.

Whoever predicts the cells by another law q multiplies their capital by q(g) over that chance. The
capital is a martingale, and exceeds 1/delta at any time with a chance of at most delta (Ville).
Bets here are urns with other masses: tilted to higher or lower cells, or so light that rollouts
fall where others fell before. A part of the capital enters such bets before every rollout, so that
a change is found that comes late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

STRENGTHS = (1.5, 3.0, 8.0)
"""Exponents of the tilted bets: the share below u becomes u to this power."""

LIGHT = 0.1
"""Mass of the bet that rollouts are too much alike, as a share of the calibration's."""

UNTILTED = 0.05
"""Share of a tilted bet that is not tilted, so that no rollout costs all capital."""

OUTER = 0.25
"""Share of calibration rollouts at either end: who lies there is higher or lower."""

AT_START = 0.5
"""Share of the capital that enters with the first rollout."""

MAX_ENTRIES = 24
"""Number of entries that are followed; the poorest is given up, which costs only power."""


class Direction(str, Enum):
    """How new rollouts differ from those of calibration."""

    HIGHER = "higher than"
    LOWER = "lower than"
    ALIKE = "more alike than"


TWO_SIDED = (Direction.HIGHER, Direction.LOWER, Direction.ALIKE)


@dataclass(frozen=True)
class _Bet:
    direction: Direction
    strength: float
    share: float

    @property
    def mass(self) -> float:
        """The sum of its masses, as a share of the calibration's."""
        return LIGHT if self.direction is Direction.ALIKE else 1.0

    def masses(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of each cell, where (..., C) are the chances that are bet against."""
        if self.direction is Direction.ALIKE:
            return chances
        if self.direction is Direction.LOWER:
            return self._tilted(chances[..., ::-1])[..., ::-1]
        return self._tilted(chances)

    def _tilted(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        below = np.cumsum(chances, axis=-1) ** self.strength
        tilted = np.diff(below / below[..., -1:], axis=-1, prepend=0.0)
        return (1 - UNTILTED) * tilted + UNTILTED * chances


def _bets(directions: tuple[Direction, ...]) -> tuple[_Bet, ...]:
    found = []
    for direction in directions:
        strengths = (1.0,) if direction is Direction.ALIKE else STRENGTHS
        share = 1 / (len(directions) * len(strengths))
        found += [_Bet(direction, strength, share) for strength in strengths]
    return tuple(found)


class Martingales:
    """The capitals of several series of bets on the same rollouts, each 1 at the start.

    Every series is one of its own, with its own cells: one for the rule, one for each score.
    """

    def __init__(
        self,
        masses: NDArray[np.float64],
        series: int = 1,
        directions: tuple[Direction, ...] = TWO_SIDED,
    ) -> None:
        """Start with a capital of 1 each.

        Args:
            masses: of each cell by calibration, from low values to high ones, (C,).
            series: how many there are.
            directions: what is bet on.
        """
        self.rollouts = 0
        """How many rollouts were bet on."""
        self._masses = masses.astype(np.float64)
        self._total = float(masses.sum())
        self._bets = _bets(directions)
        self._shares = np.array([bet.share for bet in self._bets])
        self._bet_masses = self._total * np.array([bet.mass for bet in self._bets])
        self._rows = np.arange(series)
        self._counts = np.zeros((series, len(masses)))
        # By series and entry: the masses of each bet, the rollouts since then by cell and
        # together, and the capital of each bet as a logarithm.
        shape = (series, MAX_ENTRIES)
        self._entered = np.ones((*shape, len(self._bets), len(masses)))
        self._since = np.zeros((*shape, len(masses)))
        self._rollouts_since = np.zeros(shape)
        self._log_capital = np.full((*shape, len(self._bets)), -np.inf)

    @property
    def log_capital(self) -> NDArray[np.float64]:
        """The capitals as natural logarithms, with what has not entered a bet yet."""
        largest = self._log_capital.max(axis=(1, 2), initial=-30.0)
        inside = np.exp(self._log_capital - largest[:, None, None]).sum(axis=(1, 2))
        capital: NDArray[np.float64] = largest + np.log(
            inside + _share_after(self.rollouts) * np.exp(-largest)
        )
        return capital

    def direction(self, series: int) -> Direction:
        """Return which way the new rollouts of a series differ most, if they do."""
        capital = self._log_capital[series]
        entry, bet = np.unravel_index(capital.argmax(), capital.shape)
        direction = self._bets[int(bet)].direction
        if direction is not Direction.ALIKE:
            return direction
        # Alike at one end is first of all higher or lower.
        middles = (np.cumsum(self._masses) - self._masses / 2) / self._total
        place = float(np.average(middles, weights=self._since[series, entry] + 1e-9))
        if place > 1 - OUTER:
            return Direction.HIGHER
        return Direction.LOWER if place < OUTER else Direction.ALIKE

    def chances(self) -> NDArray[np.float64]:
        """Return the chance of each cell for the next rollout, by series."""
        return (self._masses + self._counts) / (self._total + self.rollouts)

    def update(self, cells: NDArray[np.int64]) -> None:
        """Bet on a rollout, and settle with the cells that it fell into, one of each series."""
        chances = self.chances()
        self._enter(chances)
        rows = self._rows
        masses = self._entered[rows, :, :, cells] + self._since[rows, :, cells][:, :, None]
        totals = self._bet_masses + self._rollouts_since[:, :, None]
        self._log_capital += np.log(masses / totals / chances[rows, cells][:, None, None])
        self._since[rows, :, cells] += 1
        self._rollouts_since += 1
        self._counts[rows, cells] += 1
        self.rollouts += 1

    def _enter(self, chances: NDArray[np.float64]) -> None:
        """Begin bets with a part of the capital, from what is known of the cells by now.

        They take the place of the poorest ones.
        """
        rows, slots = self._rows, self._log_capital.max(axis=2).argmin(axis=1)
        for index, bet in enumerate(self._bets):
            self._entered[rows, slots, index] = self._bet_masses[index] * bet.masses(chances)
        share = _share_after(self.rollouts) - _share_after(self.rollouts + 1)
        self._log_capital[rows, slots] = np.log(share * self._shares)
        self._since[rows, slots] = 0
        self._rollouts_since[rows, slots] = 0


def _share_after(rollouts: int) -> float:
    """Return the share of the capital that is in no bet after so many entries.

    It falls so slowly that a late entry, number s, has a share of about 1 / (s ln² s).
    """
    if not rollouts:
        return 1.0
    return (1 - AT_START) * math.log(2) / math.log(rollouts + 1)
