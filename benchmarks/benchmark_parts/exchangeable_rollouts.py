# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Successful rollouts that nothing disturbed: some calibrate, the others test.

Rollouts of an imaginary task are drawn anew for every split; those of an archive are dealt at
random again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmark_parts.synthetic_task import SyntheticTask
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.evaluation.metrics import IN_DISTRIBUTION_GROUPS
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import Topics

FITTED_ON = 30
"""Rollouts that scores are fitted on, where others calibrate."""
TESTS, POOL = 20, 100
"""Rollouts of the imaginary task: to test a split on, and to split if scores are fitted apart."""


class Source(Protocol):
    """Successful rollouts that nothing disturbed."""

    @property
    def title(self) -> str:
        """What tables call it."""

    @property
    def policy(self) -> PolicyFormat:
        """The format of its decisions."""

    def split(self, n: int, index: int) -> tuple[list[Rollout], list[Rollout]]:
        """Return rollouts to calibrate on, n of them, and to test on."""

    def fitting_and_others(self, index: int) -> tuple[list[Rollout], list[Rollout]]:
        """Return rollouts to fit scores on, and others to split."""


@dataclass(frozen=True)
class Drawn:
    """Rollouts of an imaginary task, drawn anew each time."""

    task: SyntheticTask
    title: str = "an imaginary task"

    @property
    def policy(self) -> PolicyFormat:
        """The format of its decisions."""
        return self.task.policy

    def split(self, n: int, index: int) -> tuple[list[Rollout], list[Rollout]]:
        """Return rollouts to calibrate on, n of them, and to test on."""
        rollouts = self.task.rollouts(range(1000 * index, 1000 * index + n + TESTS))
        return rollouts[:n], rollouts[n:]

    def fitting_and_others(self, index: int) -> tuple[list[Rollout], list[Rollout]]:
        """Return rollouts to fit scores on, and others to split."""
        first = 10**6 + 1000 * index
        rollouts = self.task.rollouts(range(first, first + FITTED_ON + POOL))
        return rollouts[:FITTED_ON], rollouts[FITTED_ON:]


@dataclass(frozen=True)
class Archived:
    """The successful undisturbed rollouts of an archive."""

    path: Path

    @property
    def title(self) -> str:
        """The archive's name."""
        return f"{self.path.stem}, {len(_read(self.path)[0])} rollouts"

    @property
    def policy(self) -> PolicyFormat:
        """The format of its decisions."""
        return _read(self.path)[1]

    def split(self, n: int, index: int) -> tuple[list[Rollout], list[Rollout]]:
        """Return rollouts to calibrate on, n of them, and to test on."""
        return self._cut(n, index)

    def fitting_and_others(self, index: int) -> tuple[list[Rollout], list[Rollout]]:
        """Return rollouts to fit scores on, and others to split."""
        return self._cut(FITTED_ON, index)

    def _cut(self, n: int, seed: int) -> tuple[list[Rollout], list[Rollout]]:
        rollouts, _ = _read(self.path)
        return _cut(rollouts, n, np.random.default_rng(seed))


@cache
def _read(path: Path) -> tuple[list[Rollout], PolicyFormat]:
    rollout_set = read_rollouts([path], Topics())
    undisturbed = [
        rollout
        for rollout in rollout_set.rollouts
        if rollout.success and rollout.group in IN_DISTRIBUTION_GROUPS
    ]
    return undisturbed, rollout_set.policy


def _cut(
    rollouts: Sequence[Rollout], n: int, random: np.random.Generator
) -> tuple[list[Rollout], list[Rollout]]:
    order = random.permutation(len(rollouts))
    return [rollouts[i] for i in order[:n]], [rollouts[i] for i in order[n:]]
