# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from rosbags.highlevel import AnyReader

from failure_monitor.demo.calibration_process import POSITION_NAMES
from failure_monitor.demo.make_assets import BAGS
from failure_monitor.demo.policy import MODELS, FlowPolicy
from failure_monitor.demo.record_rollouts import FIRST_SEED, TOPICS
from failure_monitor.demo.tasks import TASKS
from failure_monitor.sources.rollouts import read_rollouts

FORMAT = "policy/format"


def check_bag(bag: Path, topics: Sequence[str]) -> None:
    """Every topic is there, every frame follows the one before, decisions come in pairs."""
    with AnyReader([bag]) as reader:
        stamps: dict[str, list[int]] = {}
        values: dict[str, list[bool]] = {}
        for connection, _, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            if hasattr(message, "header"):
                stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                stamps.setdefault(connection.topic, []).append(stamp)
            elif hasattr(message.data, "dtype"):
                values.setdefault(connection.topic, []).append(
                    bool(np.isfinite(message.data).all())
                )
            else:
                values.setdefault(connection.topic, []).append(message.data)
    assert {*stamps, *values} == {f"/{topic}" for topic in topics}
    assert stamps["/policy/embedding"] == stamps["/policy/action_chunks"]
    assert set(stamps["/policy/embedding"]) <= set(stamps["/camera/image_raw/compressed"])
    assert len(stamps["/policy/embedding"]) >= 12
    # The chunk of the first frame is in it: a bag starts with its rollout.
    assert stamps["/policy/embedding"][0] == stamps["/camera/image_raw/compressed"][0]
    assert values["/rollout/active"] == [True, False]
    assert values["/rollout/success"] == [True]
    assert all(values["/policy/command"])


@pytest.mark.ros
@pytest.mark.slow
def test_recording_makes_bags_of_successful_rollouts(tmp_path: Path):
    command = [sys.executable, "-m", "failure_monitor.demo.record_rollouts"]
    arguments = ["--task", "drawer-open-v3", "--rollouts", "2", "--output", str(tmp_path)]
    done = subprocess.run(command + arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"seed {FIRST_SEED}: success" in done.stderr
    assert "Traceback" not in done.stderr
    bags = sorted(path for path in tmp_path.iterdir())
    assert [bag.name for bag in bags] == ["rollout_0000", "rollout_0001"]
    for bag in bags:
        check_bag(bag, TOPICS)
    read = read_rollouts(bags)
    assert read.stated_policy is not None
    assert read.stated_policy.checkpoint
    assert read.policy.action_kind == "delta"
    assert read.policy.position_names == tuple(POSITION_NAMES.split(","))
    assert read.policy.executed_actions == FlowPolicy(MODELS / "drawer-open-v3").h_exec


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_package_comes_with_whole_bags_of_every_task(task: str):
    bags = sorted((BAGS / task).iterdir())
    assert len(bags) >= 25
    for bag in bags[::6]:
        check_bag(bag, TOPICS)
    # So that no command needs to be told what the actions are.
    read = read_rollouts(bags[::6])
    policy = FlowPolicy(MODELS / task)
    assert read.stated_policy == policy.describe(states_checkpoint=False)
    assert replace(read.policy, waits=False) == policy.format


def test_models_and_bags_stay_small():
    folder = BAGS.parent
    bags = sum(path.stat().st_size for path in BAGS.rglob("*") if path.is_file())
    models = [path.stat().st_size for path in folder.glob("models/*/*.onnx")]
    assert bags < 22e6
    assert len(models) == 2 * len(TASKS)
    assert max(models) < 3e6


def test_models_say_what_they_are_for():
    for task in TASKS:
        for name in ("encoder", "sampler"):
            session = onnxruntime.InferenceSession(str(BAGS.parent / f"models/{task}/{name}.onnx"))
            about = session.get_modelmeta().custom_metadata_map
            assert json.loads(about["task"]) == task
        contract = json.loads(about["failure_monitor"])
        assert contract["executed_actions"] == 2
        assert contract["action_names"] == ["dx", "dy", "dz", "gripper"]
