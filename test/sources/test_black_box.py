# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bags in which the policy published nothing, or half: its exported models do the rest.

The demo's bags hold both what the robot saw and what its policy published, so that what the
models make of the one can be held against the other.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from testbed.bags import join_bags

from failure_monitor import demo
from failure_monitor.decision import Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.executors import process_executor
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import BlackBox, Topics

DEMO = Path(demo.__file__).parent
TASK = "drawer-open-v3"
BAG = DEMO / "bags" / TASK / "rollout_0000"
ENCODER, SAMPLER = (DEMO / "models" / TASK / f"{name}.onnx" for name in ("encoder", "sampler"))
CAMERA = "/camera/image_raw/compressed"

SEEN = BlackBox(encoder=ENCODER, cameras={"camera": CAMERA})
SAMPLED = BlackBox(sampler=SAMPLER)
BOTH = replace(SEEN, sampler=SAMPLER)


@pytest.fixture(scope="module")
def published() -> Rollout:
    return read_one(BlackBox())


def read_one(black_box: BlackBox, bag: Path = BAG, **options) -> Rollout:
    (rollout,) = read_rollouts([bag], black_box=black_box, **options).rollouts
    return rollout


def copied(path: Path, change: Callable[[str, bytes], bytes | None], shift: int = 0) -> Path:
    """The demo's bag with its messages changed, or left out where `change` gives None."""
    types = get_typestore(Stores.ROS2_JAZZY)
    with (
        Reader(BAG) as source,
        Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as copy,
    ):
        connections: dict[int, Any] = {}
        for connection, received, data in source.messages():
            changed = change(connection.topic, data)
            if changed is None:
                continue
            if connection.id not in connections:
                connections[connection.id] = copy.add_connection(
                    connection.topic, connection.msgtype, typestore=types
                )
            copy.write(connections[connection.id], received + shift, changed)
    return path


def copy_without(path: Path, *topics: str) -> Path:
    return copied(path, lambda topic, data: None if topic in topics else data)


def test_the_encoder_stands_in_for_embeddings(published: Rollout, tmp_path: Path) -> None:
    rollout = read_one(SEEN, copy_without(tmp_path / "bag", "/policy/embedding"))
    np.testing.assert_array_equal(rollout.stamps, published.stamps)
    np.testing.assert_allclose(rollout.embeddings, published.embeddings, atol=1e-4)
    np.testing.assert_array_equal(rollout.chunks, published.chunks)
    assert rollout.success is published.success


def test_the_sampler_stands_in_for_action_chunks(published: Rollout, tmp_path: Path) -> None:
    bag = copy_without(tmp_path / "bag", "/policy/action_chunks")
    rollouts = read_rollouts([bag], black_box=replace(SAMPLED, samples=256))
    (rollout,) = rollouts.rollouts
    np.testing.assert_array_equal(rollout.embeddings, published.embeddings)
    assert rollout.chunks.shape == (len(published), 256, *published.chunks.shape[2:])
    # Other samples of the same distribution.
    difference = rollout.chunks.mean(axis=1) - published.chunks.mean(axis=1)
    assert np.abs(difference).max() < 5 * published.chunks.std(axis=1).max() / np.sqrt(64)
    assert rollouts.policy.action_names == ("dx", "dy", "dz", "gripper")
    assert rollouts.policy.action_kind == "delta"
    assert rollouts.policy.executed_actions == 2


def test_both_models_stand_in_for_the_policy(published: Rollout, tmp_path: Path) -> None:
    bag = copy_without(tmp_path / "bag", "/policy/embedding", "/policy/action_chunks")
    every = read_one(BOTH, bag)
    assert np.diff(every.stamps) == pytest.approx(0.05, abs=0.005)  # a frame of the camera
    assert every.embeddings.shape[1:] == published.embeddings.shape[1:]
    rollout = read_one(replace(BOTH, rate=10.0), bag)
    np.testing.assert_allclose(rollout.stamps, published.stamps, atol=1e-6)
    np.testing.assert_allclose(rollout.embeddings, published.embeddings, atol=1e-4)


def test_the_same_seed_gives_the_same_chunks() -> None:
    one, again, other = (read_one(replace(BOTH, seed=seed)).chunks for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_nothing_is_computed_between_rollouts() -> None:
    marked, whole = (
        read_rollouts([BAG], black_box=BOTH, boundaries=kind) for kind in ("auto", "bag")
    )
    assert len(marked.rollouts[0]) < len(whole.rollouts[0])
    assert left_out(marked) == 0


def test_a_rollout_begins_with_a_decision_whatever_came_before(tmp_path: Path) -> None:
    """The demo's bag twice: the second rollout begins less than a period after the first."""
    shift = 1_700_000_000  # nanoseconds from the first marker of one to that of the other

    def later(topic: str, data: bytes) -> bytes:
        if topic not in (CAMERA, "/joint_states"):
            return data
        seconds, nanoseconds = struct.unpack_from("<iI", data, 4)
        stamp = seconds * 1_000_000_000 + nanoseconds + shift
        return data[:4] + struct.pack("<iI", *divmod(stamp, 1_000_000_000)) + data[12:]

    first = copied(tmp_path / "first", lambda topic, data: data)
    second = copied(tmp_path / "second", later, shift)
    twice = join_bags(tmp_path / "twice", [first, second])
    slow = replace(BOTH, rate=1.0)
    one, other = read_rollouts([twice], black_box=slow).rollouts
    assert len(one) == len(other)
    np.testing.assert_allclose(other.stamps - one.stamps, 1e-9 * shift, atol=1e-6)


def left_out(rollouts: RolloutSet) -> int:
    return rollouts.receptions[rollouts.rollouts[0].sha256].left_out


def test_joints_may_be_measured_positions_as_well() -> None:
    topics = Topics(positions="/joint_states")
    with pytest.raises(FailureMonitorError, match="has no joint nothing") as refused:
        read_one(BOTH, topics=topics, measured_names=("nothing",))
    there = str(refused.value).partition("only ")[2].partition(":")[0].split(", ")
    rollout = read_one(BOTH, topics=topics, measured_names=tuple(there[:3]))
    assert rollout.positions.shape == (len(rollout), 3)


def test_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_executor, "MIN_SECONDS_FOR_PROCESSES", -1.0)
    for name in ("rollout_0000", "rollout_0001"):
        shutil.copytree(BAG.with_name(name), tmp_path / name)
    alone, together = (
        read_rollouts([tmp_path], black_box=BOTH, jobs=jobs).rollouts for jobs in (1, 2)
    )
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.chunks, other.chunks)


@pytest.mark.parametrize(
    ("black_box", "sentence"),
    [
        (replace(BOTH, cameras={}), "needs the cameras camera, topics were named for none"),
        (replace(BOTH, cameras={"wrist": CAMERA}), "topics were named for wrist"),
        (BlackBox(cameras={"camera": CAMERA}), "needs the cameras none"),
        (replace(BOTH, cameras={"camera": "/nothing"}), "has no topic /nothing"),
        (replace(BOTH, joints="/nothing"), "has no topic /nothing"),
        (replace(BOTH, cameras={"camera": "/joint_states"}), "has two meanings"),
        (replace(BOTH, cameras={"camera": "/policy/command"}), "expected a sensor_msgs/msg/Image"),
        (replace(BOTH, encoder=SAMPLER), "mixed up"),
        (replace(BOTH, encoder=Path("nowhere.onnx")), "cannot read the ONNX model nowhere.onnx"),
        (replace(BOTH, sampler=BAG / "metadata.yaml"), "is no ONNX model"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(black_box: BlackBox, sentence: str) -> None:
    with pytest.raises(FailureMonitorError) as refused:
        read_one(black_box)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_frames_that_never_match_are_told(tmp_path: Path) -> None:
    def delay_joints(topic: str, data: bytes) -> bytes:
        if topic != "/joint_states":
            return data
        (seconds,) = struct.unpack_from("<i", data, 4)
        return data[:4] + struct.pack("<i", seconds + 10) + data[8:]

    bag = copied(tmp_path / "bag", delay_joints)
    with pytest.raises(FailureMonitorError, match=r"no observation .* had none of 'joints'"):
        read_one(BOTH, bag)


def stamped_later(seconds: int, *topics: str, frames: int | None = None):
    """Change stamps of some topics, and leave out all frames but the first ones."""
    seen = 0

    def change(topic: str, data: bytes) -> bytes | None:
        nonlocal seen
        seen += topic == CAMERA
        if topic == CAMERA and frames is not None and seen > frames:
            return None
        if topic not in topics:
            return data
        (stamp,) = struct.unpack_from("<i", data, 4)
        return data[:4] + struct.pack("<i", stamp + seconds) + data[8:]

    return change


@pytest.mark.parametrize("frames", [3, 10])
def test_few_frames_of_another_clock_are_told_as_that(tmp_path: Path, frames: int) -> None:
    bag = copied(tmp_path / "bag", stamped_later(1000, "/joint_states", frames=frames))
    with pytest.raises(FailureMonitorError) as refused:
        read_one(BOTH, bag)
    assert f"{frames} of {frames} messages of 'camera' had none of 'joints'" in str(refused.value)
    assert "stamped by another clock" in str(refused.value)


def test_action_chunks_of_another_clock_are_told_as_that(tmp_path: Path) -> None:
    bag = copied(tmp_path / "bag", stamped_later(1000, "/policy/action_chunks"))
    with pytest.raises(FailureMonitorError) as refused:
        read_one(SEEN, bag)
    assert f"the frames on {CAMERA} have stamps 1000 s from those on" in str(refused.value)
    assert "another clock" in str(refused.value)


@pytest.mark.parametrize("topics", [(CAMERA,), ("/joint_states",), (CAMERA, "/joint_states")])
def test_a_clock_of_cameras_or_joints_that_was_set_back_is_refused(
    tmp_path: Path, topics: tuple[str, ...]
) -> None:
    frames = 0

    def set_back(topic: str, data: bytes) -> bytes:
        nonlocal frames
        frames += topic == CAMERA
        if topic not in topics or frames < 17:
            return data
        (stamp,) = struct.unpack_from("<i", data, 4)
        return data[:4] + struct.pack("<i", stamp - 2) + data[8:]

    bag = copied(tmp_path / "bag", set_back)
    with pytest.raises(FailureMonitorError) as refused:
        read_one(BOTH, bag)
    assert re.search(r", message \d+: the stamps go back by \d\.\d+ s", str(refused.value))
    assert "was set back" in str(refused.value)
    assert len(read_one(BlackBox(), bag)) == 17  # which needs neither


def test_a_joint_state_that_is_wrong_is_named_by_its_own_topic(tmp_path: Path) -> None:
    number = 0

    def break_one(topic: str, data: bytes) -> bytes:
        nonlocal number
        if topic != "/joint_states":
            return data
        number += 1
        return b"\0\1\0\0" + data[4:12] + b"\xff" * 8 if number > 29 else data

    bag = copied(tmp_path / "bag", break_one)
    with pytest.raises(FailureMonitorError) as refused:
        read_one(BOTH, bag)
    place = re.match(re.escape(str(bag)) + r", /joint_states, message (\d+): ", str(refused.value))
    assert place, refused.value
    assert 29 <= int(place[1]) < 60


def test_a_damaged_picture_is_named_with_its_message(tmp_path: Path) -> None:
    def blacken(topic: str, data: bytes) -> bytes:
        return data[:200] + bytes(len(data) - 200) if topic == CAMERA else data

    bag = copied(tmp_path / "bag", blacken)
    with pytest.raises(FailureMonitorError) as refused:
        read_one(BOTH, bag)
    assert str(refused.value).startswith(f"{bag}, {CAMERA}, message ")
    assert "camera 'camera': the compressed image" in str(refused.value)
