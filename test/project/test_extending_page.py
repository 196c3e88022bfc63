# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What docs/extending.md shows works as it stands there."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Float64
from testbed.pages import blocks
from testbed.repository import ROOT
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.errors import FailureMonitorError
from failure_monitor.monitoring.stop_debt import CommandError
from failure_monitor.ros.commands import stop
from failure_monitor.ros.commands.command_type import check_numbers
from failure_monitor.scores.registry import SCORES
from failure_monitor.sources.found_sources import SOURCE_KINDS
from failure_monitor.sources.rollouts import read_rollouts


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """What the page's code defines."""
    names: dict[str, Any] = {"__name__": "shown"}
    for code in blocks((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"), "python"):
        exec(code, names)
    return names


def test_the_score_calibrates_and_watches(shown, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(SCORES, "chunk_length", shown["ChunkLength"])
    rollouts = [synthetic_rollout(seed) for seed in range(10)]
    settings = CalibrationSettings(scores=("chunk_length",), window=1, folds=2, jobs=1)
    save(calibrate(rollouts, POLICY, settings), tmp_path / "bundle")
    bundle = load(tmp_path / "bundle")
    far = synthetic_rollout(20)
    far = type(far)(**{**vars(far), "chunks": 3 * far.chunks})
    assert bundle.levels(synthetic_rollout(21)).max() < bundle.levels(far).max()
    monitor = bundle.monitor()
    verdicts = [monitor.update(decision) for decision in far.decisions()]
    assert any(verdict.calls_for_alarm for verdict in verdicts)
    assert "it wants to move unusually far" in " ".join(verdict.reason for verdict in verdicts)


def write_table(path: Path, rollout: Any) -> None:
    with path.open("w", newline="") as file:
        embedding = [f"embedding_{index}" for index in range(rollout.embeddings.shape[1])]
        chunk = [f"chunk_{step}_{name}" for step in range(5) for name in POLICY.action_names]
        writer = csv.writer(file)
        writer.writerow(["stamp", *embedding, *chunk])
        for stamp, values, chunks in zip(
            rollout.stamps, rollout.embeddings, rollout.chunks, strict=True
        ):
            writer.writerow([stamp, *values, *chunks[0].ravel()])


def test_the_source_reads_what_was_written(shown, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(SOURCE_KINDS, "table", shown["CsvRollout"]())
    written = synthetic_rollout(3)
    write_table(tmp_path / "one.csv", written)
    read = read_rollouts([tmp_path])
    [rollout] = read.rollouts
    np.testing.assert_array_equal(rollout.embeddings, written.embeddings)
    np.testing.assert_array_equal(rollout.chunks, written.chunks[:, :1])
    assert read.policy.action_names == POLICY.action_names
    (tmp_path / "two.csv").write_text("time\n1\n")
    with pytest.raises(FailureMonitorError, match=r"two\.csv: there is no row with a column"):
        read_rollouts([tmp_path / "two.csv"])


def test_the_command_type_is_checked_slowed_and_stopped(shown):
    kind = shown["Float64Commands"]()
    assert shown["ABILITIES"].can_be_scaled
    with pytest.raises(CommandError, match="NaN"):
        check_numbers(kind, Float64(data=float("nan")))
    assert kind.scaled(Float64(data=0.5), 0.5) == Float64(data=0.25)
    assert stop.zero(kind, Float64(data=0.5), 1.0).command(1.0) == Float64()
    slowing = stop.decelerate(kind, Float64(data=-1.0), (0.5,), 10.0)
    assert slowing.command(11.0) == Float64(data=-0.5)
    assert slowing.command(slowing.settled).data == 0.0
    assert slowing.settled == pytest.approx(12.0)
