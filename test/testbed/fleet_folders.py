# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of a fleet, as robots' monitors and incident recorders leave them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from failure_monitor.rollout_log.log_file import log_path
from failure_monitor.rollout_log.record import RolloutRecord, rollout_name
from failure_monitor.schema import plain

BUNDLE = "ab" * 32
BEGIN = 1_764_000_000.0
"""A day in November 2025."""

RECORD = RolloutRecord(
    rollout="",
    robot="",
    monitor="/failure_monitor",
    bundle=BUNDLE,
    alpha=0.1,
    started=BEGIN,
    ended=BEGIN + 20,
    decisions=40,
    level=0.5,
    score="phase_knn",
    claim="success",
)


def rollouts(
    count: int,
    *,
    alarm_rate: float = 0.1,
    seed: int = 0,
    minutes: float = 10.0,
    like: RolloutRecord = RECORD,
    calibration_rollouts: int = 30,
) -> list[RolloutRecord]:
    """Return rollouts of one robot, all of which succeeded, in order of time."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        started = BEGIN + 60 * minutes * number
        is_alarm = bool(generator.random() < alarm_rate)
        found.append(
            replace(
                like,
                rollout=rollout_name(started + seed / 1000, number),
                started=started,
                ended=started + 20,
                level=1.5 if is_alarm else 0.5,
                rollouts_below=int(generator.integers(calibration_rollouts + 1)),
                alarm=5.0 if is_alarm else None,
                alarms=int(is_alarm),
                stopped=is_alarm,
            )
        )
    return found


def write_log(folder: Path, records: Iterable[RolloutRecord]) -> Path:
    """Write a log at once, as the monitor does line by line."""
    written = [*records]
    path = log_path(folder, written[0].monitor, written[0].bundle)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(plain(record), ensure_ascii=False) + "\n" for record in written]
    path.write_bytes("".join(lines).encode(errors="backslashreplace"))
    return path


def write_incident(folder: Path, name: str, **stated: str) -> Path:
    """Write what the recorder states of an incident's bag."""
    path = folder / name
    path.mkdir(parents=True)
    information = {"custom_data": {f"incident.{key}": text for key, text in stated.items()}}
    (path / "metadata.yaml").write_text(
        yaml.safe_dump({"rosbag2_bagfile_information": information})
    )
    return path
