# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The shares of groups among successful rollouts to come: stated, or those of new rollouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from failure_monitor.decision import Rollout
from failure_monitor.errors import UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.recalibration.chosen_rollouts import RecalibrationError

AS_NEW = "as-new"
"""What stands for the shares of groups among the new rollouts."""

ROUNDED = 0.01
"""Shares that are written with few digits sum up to 1 but for this."""


def read_shares(text: str) -> dict[str, float]:
    """Return the shares in a text such as 'evening=0.7,morning=0.3'; they sum up to 1.

    Raises:
        UsageError: the text is none.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (each.strip() for each in part.rpartition("="))
        if not (name and equals):
            raise UsageError(
                f"'--future {text}' names no shares: write 'evening=0.7,morning=0.3', or "
                f"'{AS_NEW}'"
            )
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise UsageError(
                f"'--future': the share of {name} is '{number}', expected a number above 0 and up "
                "to 1; leave out groups that come no more"
            )
        if name in shares:
            raise UsageError(f"'--future' names {name} twice: leave one of them out")
        shares[name] = share
    total = sum(shares.values())
    if abs(total - 1) > ROUNDED:
        raise UsageError(
            f"'--future': the shares sum up to {total:.4g}, expected 1: name every group of "
            "successful rollouts to come"
        )
    return {name: share / total for name, share in shares.items()}


def shares_of(rollouts: Sequence[Rollout]) -> Mapping[str, float]:
    """Return the shares of groups among rollouts.

    Raises:
        RecalibrationError: some name no group.
    """
    unnamed = [rollout.name for rollout in rollouts if not rollout.group]
    if unnamed:
        raise RecalibrationError(
            f"{len(unnamed)} of the new rollouts name no group ({list_names(unnamed)}), so that "
            "the shares to come are unknown: name it (column 'group' of --labels), or state the "
            "shares (--future evening=0.7,morning=0.3)"
        )
    counts = Counter(rollout.group for rollout in rollouts)
    return {name: count / len(rollouts) for name, count in sorted(counts.items())}
