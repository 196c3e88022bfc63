# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The ages of plans in calibration: how long after its observation each was still executed.

A plan is executed until the next decision has come. In bags the time of its reception is known;
elsewhere it counts as the stamp, so that ages are too short by what the policy takes to answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout

MAX_AGE = 5.0
"""Factor of the usual age above which one is of a pause, and no example."""

LONGEST_DELAY = 10.0
"""Seconds: a bag that received all decisions of a rollout later than that, or before their stamps,
was written by another clock."""


def longest_plan_age(
    rollouts: Sequence[Rollout], delays: Mapping[str, NDArray[np.float64]]
) -> float | None:
    """Return the longest time for which a plan was executed, in seconds, but for pauses.

    Args:
        rollouts: successful ones.
        delays: seconds from each decision's stamp to its reception, (T,), by the rollout's
            SHA-256, where they are known.

    Returns:
        None if no rollout has a second decision.
    """
    ages = np.concatenate(
        [np.empty(0), *(_ages(rollout, delays.get(rollout.sha256)) for rollout in rollouts)]
    )
    ages = ages[ages > 0]
    return float(ages[ages <= MAX_AGE * np.median(ages)].max()) if len(ages) else None


def _ages(rollout: Rollout, delays: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the age of each plan when the next one had come, (T − 1,)."""
    gaps = np.diff(rollout.stamps)
    return gaps if delays is None else gaps + _by_one_clock(delays)[1:]


def _by_one_clock(delays: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return delays (T,) without a difference between the clocks of stamps and receptions."""
    shortest = delays.min()
    return delays if 0 <= shortest <= LONGEST_DELAY else delays - shortest
