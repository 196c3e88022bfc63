# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts that become a LeRobotDataset, and what is read of it again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from testbed.command_line import run_here
from testbed.exported_rollouts import NAMES, rollout, rollout_set, write_camera_bag

from failure_monitor.decision import PolicyFormat
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.lerobot_export import write_lerobot_dataset
from failure_monitor.sources.lerobot_frames import FrameReader
from failure_monitor.sources.lerobot_metadata import read_metadata
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    positions = np.linspace(0, 1, 12).reshape(6, 2).astype(np.float32)
    helped = np.arange(6) == 3
    written = rollout_set(
        rollout("one", positions=positions, interventions=helped, group="dark"),
        rollout("two", seed=1, positions=positions, success=False),
        rollout("three", seed=2, positions=positions, success=None, decisions=4),
        stated_policy=PolicyDescription(policy="act", control_period=0.1, executed_actions=4),
    )
    three = written.rollouts[2]
    written = rollout_set(
        *written.rollouts[:2],
        rollout("three", seed=2, positions=positions[:4], success=None, decisions=4),
        stated_policy=written.stated_policy,
    )
    write_lerobot_dataset(tmp_path / "set", written)
    again = read_rollouts([tmp_path / "set"])
    assert again.policy == written.policy
    assert again.stated_policy == written.stated_policy
    assert [each.success for each in again.rollouts] == [True, False, None]
    assert [each.group for each in again.rollouts] == ["dark", "", ""]
    assert [each.task for each in again.rollouts] == ["Becher füllen"] * 3
    for before, after in zip(written.rollouts, again.rollouts, strict=True):
        np.testing.assert_array_equal(after.chunks, before.chunks)
        np.testing.assert_array_equal(after.embeddings, before.embeddings)
        np.testing.assert_allclose(after.stamps, before.stamps - 100, atol=1e-9)
        np.testing.assert_allclose(after.positions, before.positions)
    assert again.rollouts[0].interventions.tolist() == helped.tolist()
    assert not again.rollouts[1].has_intervention
    assert len(three) == 4


def test_frames_have_the_actions_that_were_executed(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    one = rollout("one")
    write_lerobot_dataset(tmp_path / "set", rollout_set(one))
    (table,) = (tmp_path / "set" / "data").rglob("*.parquet")
    actions = np.array(pq.read_table(table).column("action").to_pylist())
    np.testing.assert_allclose(actions, one.chunks[:, 0, :4].reshape(24, 2))
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["fps"] == 10
    assert info["features"]["action"]["names"] == ["x", "y"]


def test_decisions_of_uneven_times_are_all_kept(tmp_path: Path) -> None:
    stamps = 100 + np.array([0, 0.4, 0.41, 0.42, 1.9, 2.0])
    write_lerobot_dataset(tmp_path / "set", rollout_set(rollout("one", stamps=stamps)))
    (again,) = read_rollouts([tmp_path / "set"], executed_actions=4).rollouts
    np.testing.assert_allclose(again.stamps, [0, 0.4, 0.5, 0.6, 1.9, 2.0], atol=1e-9)


def test_images_are_those_nearest_in_time(tmp_path: Path) -> None:
    bag = write_camera_bag(tmp_path / "bag")
    read_set = read_rollouts([bag], executed_actions=2)
    write_lerobot_dataset(tmp_path / "set", read_set)
    metadata = read_metadata(tmp_path / "set")
    assert list(metadata.cameras) == ["observation.images.front"]
    with FrameReader(metadata, metadata.cameras) as reader:
        (episode,) = metadata.episodes
        frames = [images["observation.images.front"] for images in reader.frames(episode)]
    # Two actions a decision: a frame each 0.05 s, and every second image.
    assert len(frames) == 12
    assert frames[0].shape == (32, 48, 3)
    brightness = [frame.mean() for frame in frames]
    np.testing.assert_allclose(brightness, 20 + 10 * np.arange(12), atol=3)


def test_cameras_are_named_and_must_be_there(tmp_path: Path) -> None:
    bag = write_camera_bag(tmp_path / "bag", topics=("/front/image_raw", "/wrist/image_raw"))
    read_set = read_rollouts([bag])
    write_lerobot_dataset(tmp_path / "one", read_set, {"top": "/wrist/image_raw"})
    assert list(read_metadata(tmp_path / "one").cameras) == ["observation.images.top"]
    write_lerobot_dataset(tmp_path / "none", read_set, {})
    assert not read_metadata(tmp_path / "none").cameras
    with pytest.raises(SourceError, match="no images on /rear, only on /front/image_raw"):
        write_lerobot_dataset(tmp_path / "two", read_set, {"top": "/rear"})
    with pytest.raises(SourceError, match="one come from no bag"):
        write_lerobot_dataset(tmp_path / "two", rollout_set(rollout("one")), {"top": "/rear"})
    assert not (tmp_path / "two").exists()
    assert not list(tmp_path.glob(".two*")), "what was begun is removed"


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_lerobot_dataset(tmp_path / "set", rollout_set(rollout("one")))
    with pytest.raises(SourceError, match="already exists"):
        write_lerobot_dataset(tmp_path / "set", rollout_set(rollout("one")))


def test_a_single_decision_has_no_rate(tmp_path: Path) -> None:
    policy = PolicyFormat(7, 3, 5, NAMES)
    with pytest.raises(SourceError, match="--control-period"):
        write_lerobot_dataset(tmp_path / "set", RolloutSet(policy, (rollout("one", decisions=1),)))


def test_the_command_writes_a_dataset_that_commands_read(tmp_path: Path) -> None:
    for index in range(2):
        write_camera_bag(tmp_path / "bags" / f"bag_{index}", seed=index)
    folder = tmp_path / "set"
    ran = run_here("archive", tmp_path / "bags", "--lerobot", folder)
    assert ran.exit_code == 0, ran.output
    assert f"wrote {folder}" in ran.stdout
    shown = run_here("inspect", folder)
    assert shown.exit_code == 0, shown.output
    assert "set/episode_000001" in shown.stdout
    ran = run_here("archive", folder, "--output", tmp_path / "set.npz")
    assert ran.exit_code == 0, ran.output
    assert len(read_rollouts([tmp_path / "set.npz"]).rollouts) == 2
    refused = run_here("archive", tmp_path / "bags", "--lerobot", folder)
    assert refused.exit_code == 1
    assert "already exists" in refused.stderr
    refused = run_here("archive", tmp_path / "bags")
    assert refused.exit_code == 2
    assert "--lerobot FOLDER" in refused.stderr
