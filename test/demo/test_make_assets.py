# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from failure_monitor.demo import make_assets, record_rollouts, train_policy


def test_a_task_is_trained_and_then_recorded_with_the_new_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained, recorded = [], []
    monkeypatch.setattr(train_policy, "train_task", lambda *arguments: trained.append(arguments))

    def record(*arguments: object, **named: object) -> record_rollouts.RecordedBags:
        recorded.append((*arguments, named))
        return record_rollouts.RecordedBags(bags=30, attempts=30)

    monkeypatch.setattr(record_rollouts, "record", record)

    def run(command: list[str]) -> subprocess.CompletedProcess:
        module = command[2].rpartition(".")[2]
        monkeypatch.setattr(sys, "argv", command[2:])
        {"train_policy": train_policy, "record_rollouts": record_rollouts}[module].main()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    old_bag = tmp_path / "bags" / "drawer-open-v3" / "rollout_0000"
    old_bag.mkdir(parents=True)
    make_assets.make_assets("drawer-open-v3", tmp_path / "models", tmp_path / "bags")
    models, bags = (tmp_path / kind / "drawer-open-v3" for kind in ("models", "bags"))
    assert trained[0][:2] == ("drawer-open-v3", models)
    assert recorded == [("drawer-open-v3", 30, bags, models, {"states_checkpoint": False})]
    assert not old_bag.exists()


def test_a_policy_that_cannot_be_trained_stops_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def run(command: list[str]) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match="1"):
        make_assets.make_assets("drawer-open-v3", tmp_path / "models", tmp_path / "bags")
