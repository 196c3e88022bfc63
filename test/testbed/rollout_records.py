# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A line of a rollout log of a rollout of which nothing is known yet."""

from __future__ import annotations

from failure_monitor.rollout_log.record import RolloutRecord

BLANK = RolloutRecord(
    rollout="first",
    robot="arm",
    monitor="/failure_monitor",
    bundle="ab" * 32,
    alpha=0.1,
    started=1.0,
    ended=1.0,
    decisions=0,
)
