# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes rollouts into a store, from a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from failure_monitor.sources import rollout_store
from failure_monitor.sources.rollout_set import RolloutSet
from testbed.synthetic import POLICY, synthetic_rollout


def add_rollouts(store: Path, seeds: Sequence[int], together: Any) -> None:
    """Add rollouts, one in a part, once all who wait are here."""
    rollout_store.MAX_PART_ROLLOUTS = 1
    rollouts = tuple(synthetic_rollout(seed) for seed in seeds)
    together.wait()
    rollout_store.add_to_store(store, RolloutSet(POLICY, rollouts))
