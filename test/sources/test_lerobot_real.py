# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobotDatasets that LeRobot itself writes and loads, and its policies replayed over them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from testbed.exported_rollouts import rollout, rollout_set, write_camera_bag
from testbed.lerobot_datasets import WrittenEpisode, write_dataset
from testbed.lerobot_policies import (
    ACTIONS,
    CAMERA,
    IMAGE,
    JOINTS,
    LeRobotPolicy,
    act_policy,
    diffusion_policy,
)

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policies.checkpoint import checkpoint_hash
from failure_monitor.sources.lerobot_export import write_lerobot_dataset
from failure_monitor.sources.lerobot_frames import FrameReader
from failure_monitor.sources.lerobot_metadata import read_metadata
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import BlackBox, DatasetOptions, Topics

pytestmark = pytest.mark.lerobot

LENGTH = 25


def save(folder: Path, run: LeRobotPolicy) -> Path:
    """Save a checkpoint as LeRobot does."""
    for part in (run.policy, run.preprocessor, run.postprocessor):
        part.save_pretrained(str(folder))
    return folder


def scene(index: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The joints and the image at a frame; what an arm sees does not depend on what it does."""
    rng = np.random.default_rng(index)
    joints = rng.normal(size=JOINTS) + 0.1 * np.sin(number / 5 + np.arange(JOINTS))
    rows = np.arange(IMAGE[1])[:, None, None] + 3 * number + 40 * index
    image = 128 + 100 * np.sin(rows / 9 + np.arange(3)) * np.ones((1, IMAGE[2], 1))
    return joints.astype(np.float32), image.astype(np.uint8)


def acted(run: LeRobotPolicy, index: int) -> WrittenEpisode:
    """An episode in which the policy acted."""
    torch.manual_seed(index)
    run.policy.reset()
    scenes = [scene(index, number) for number in range(LENGTH)]
    actions = []
    for joints, image in scenes:
        pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        batch = run.preprocessor({"observation.state": torch.from_numpy(joints), CAMERA: pixels})
        with torch.inference_mode():
            actions.append(run.postprocessor(run.policy.select_action(batch))[0].numpy())
    return WrittenEpisode(
        index,
        {
            "action": np.array(actions, np.float32),
            "observation.state": np.array([joints for joints, _ in scenes]),
        },
        images={CAMERA: np.stack([image for _, image in scenes])},
    )


def record(folder: Path, run: LeRobotPolicy, **changes: Any) -> Path:
    """A dataset of the policy's own rollouts, with frames that lose nothing."""
    written = [acted(run, index) for index in range(3)]
    names = {"action": {"dtype": "float32", "shape": [len(ACTIONS)], "names": list(ACTIONS)}}
    return write_dataset(folder, written, camera_dtype="image", features=names, **changes)


def replay(folder: Path, checkpoint: Path, **options: Any) -> RolloutSet:
    return read_rollouts(
        [folder],
        Topics(tokens=options.pop("tokens", "")),
        black_box=BlackBox(samples=options.pop("samples", None)),
        dataset=DatasetOptions(policy=checkpoint, **options),
    )


def refusal(folder: Path, checkpoint: Path) -> str:
    with pytest.raises(FailureMonitorError) as refused:
        replay(folder, checkpoint)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_policy_without_noise_is_replayed_as_it_acted(tmp_path: Path) -> None:
    run = act_policy()
    folder = record(tmp_path / "eval_cups", run)
    read_set = replay(folder, save(tmp_path / "act", run))
    assert read_set.policy.chunk_shape == (1, 12, 3)
    assert read_set.policy.executed_actions == 5
    assert read_set.policy.control_period == pytest.approx(0.1)
    assert read_set.stated_policy is not None
    assert read_set.stated_policy.policy == "act"
    assert read_set.stated_policy.checkpoint == checkpoint_hash(tmp_path / "act")
    for index, each in enumerate(read_set.rollouts):
        np.testing.assert_allclose(each.stamps, np.arange(0, LENGTH, 5) / 10)
        recorded = acted(run, index).columns["action"]
        np.testing.assert_array_equal(each.chunks[:, 0, :5].reshape(LENGTH, 3), recorded)


def test_a_replay_gives_the_tokens_of_the_network_where_they_are_wanted(tmp_path: Path) -> None:
    run = act_policy()
    folder, checkpoint = record(tmp_path / "eval_cups", run), save(tmp_path / "act", run)
    for each in replay(folder, checkpoint, tokens="/policy/tokens").rollouts:
        assert each.tokens is not None
        chunks = run.policy.model.action_head(torch.from_numpy(each.tokens)).detach()
        own = [run.postprocessor(chunk[None])[0].numpy() for chunk in chunks]
        np.testing.assert_allclose(own, each.chunks[:, 0], rtol=0, atol=1e-4)
    assert all(each.tokens is None for each in replay(folder, checkpoint).rollouts)


def test_a_policy_with_noise_is_replayed_from_the_same_noise_each_time(tmp_path: Path) -> None:
    run = diffusion_policy()
    folder = record(tmp_path / "eval_cups", run)
    checkpoint = save(tmp_path / "diffusion", run)
    once, again = (replay(folder, checkpoint, samples=6) for _ in range(2))
    assert once.policy.samples == 6
    for one, other in zip(once.rollouts, again.rollouts, strict=True):
        np.testing.assert_array_equal(one.chunks, other.chunks)
        np.testing.assert_array_equal(one.embeddings, other.embeddings)
        assert one.sha256 == other.sha256


@pytest.mark.parametrize("policy", [act_policy, diffusion_policy])
def test_demonstrations_are_refused_unless_the_user_insists(tmp_path: Path, policy: Any) -> None:
    run = policy()
    written = [acted(run, index) for index in range(2)]
    for each in written:
        # A person goes another way.
        each.columns["action"] += np.linspace(20, 60, LENGTH, dtype=np.float32)[:, None]
    folder = write_dataset(tmp_path / "cups", written, camera_dtype="image")
    checkpoint = save(tmp_path / "policy", run)
    assert "demonstrations are not" in refusal(folder, checkpoint)
    assert replay(folder, checkpoint, accepts_teleoperated=True).rollouts


def test_what_cannot_be_told_apart_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy with noise may imitate demonstrations too well; LeRobot's names tell them apart."""
    run = diffusion_policy()
    checkpoint = save(tmp_path / "diffusion", run)
    caplog.set_level(logging.WARNING)
    replay(record(tmp_path / "eval_cups", run), checkpoint)
    assert "demonstrations" not in caplog.text
    replay(record(tmp_path / "cups", run), checkpoint)
    assert "cups" in caplog.text
    assert "demonstrations" in caplog.text


def test_a_policy_of_other_observations_is_refused(tmp_path: Path) -> None:
    run = act_policy()
    checkpoint = save(tmp_path / "act", run)
    folder = record(tmp_path / "eval_cups", run)
    for name, wrong, reason in (
        (CAMERA, None, f"takes {CAMERA}"),
        ("observation.state", np.zeros((LENGTH, 2), np.float32), "of the shape (3,)"),
        ("action", np.zeros((LENGTH, 2), np.float32), "of the shape (3,)"),
    ):
        written = acted(run, 0)
        if wrong is None:
            written.images = {"observation.images.wrist": written.images[CAMERA]}
        else:
            written.columns[name] = wrong
        other = write_dataset(tmp_path / name / "eval_cups", [written], camera_dtype="image")
        assert reason in refusal(other, checkpoint)
    assert "name the folder of a checkpoint" in refusal(folder, tmp_path)
    (checkpoint / "policy_preprocessor.json").rename(tmp_path / "kept.json")
    assert "of a LeRobot before 0.4" in refusal(folder, checkpoint)
    (tmp_path / "kept.json").rename(checkpoint / "policy_preprocessor.json")
    (checkpoint / "model.safetensors").write_bytes(b"none")
    assert "cannot load the checkpoint" in refusal(folder, checkpoint)


def test_what_lerobot_writes_is_read(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    names = ["height", "width", "channels"]
    features = {
        "action": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
        "observation.images.front": {"dtype": "video", "shape": (48, 64, 3), "names": names},
        "observation.images.wrist": {"dtype": "image", "shape": (48, 64, 3), "names": names},
        "failure_monitor.embedding": {"dtype": "float32", "shape": (5,), "names": None},
        "failure_monitor.action_chunks": {"dtype": "float32", "shape": (2, 4, 2), "names": None},
    }
    dataset = LeRobotDataset.create("me/cups", 10, features, root=tmp_path / "cups")
    for index in range(3):
        for number in range(12):
            image = np.full((48, 64, 3), 20 * index + 5 * number, np.uint8)
            vector = np.full(2, number, np.float32)
            dataset.add_frame(
                {
                    "action": vector,
                    "observation.state": vector,
                    "observation.images.front": image,
                    "observation.images.wrist": image,
                    "failure_monitor.embedding": np.full(5, number, np.float32),
                    "failure_monitor.action_chunks": np.full((2, 4, 2), number, np.float32),
                    "task": f"Größe {index}",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    metadata = read_metadata(tmp_path / "cups")
    assert [episode.tasks for episode in metadata.episodes] == [
        (f"Größe {index}",) for index in range(3)
    ]
    with FrameReader(metadata, metadata.cameras) as reader:
        for episode in metadata.episodes:
            for number, images in enumerate(reader.frames(episode)):
                for image in images.values():
                    assert image.mean() == pytest.approx(20 * episode.index + 5 * number, abs=3)


def test_what_is_written_is_loaded_by_lerobot(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    read_set = read_rollouts(
        [write_camera_bag(tmp_path / f"bag{seed}", seed=seed) for seed in range(2)],
        executed_actions=2,
    )
    write_lerobot_dataset(tmp_path / "cups", read_set)
    dataset = LeRobotDataset("me/cups", root=tmp_path / "cups", video_backend="pyav")
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (2, 24, 20)
    assert dataset.meta.names["action"] == ["dx", "dy", "gripper"]
    for number in (0, 5, 12, 23):
        frame = dataset.hf_dataset[number]
        each = read_set.rollouts[number // 12]
        decision, step = divmod(number % 12, 2)
        np.testing.assert_allclose(frame["action"], each.chunks[decision, 0, step])
        assert bool(frame["failure_monitor.decision"]) is (step == 0)
        assert bool(frame["next.success"]) is False
    np.testing.assert_allclose(
        dataset.hf_dataset[0]["failure_monitor.action_chunks"], read_set.rollouts[0].chunks[0]
    )
    assert dataset.meta.stats["action"]["mean"].shape == (3,)
    video = dataset.root / dataset.meta.get_video_file_path(1, "observation.images.front")
    assert video.is_file()


def test_tasks_and_outcomes_are_loaded_by_lerobot(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    written = rollout_set(rollout("one"), rollout("two", seed=1, success=None, task="drehen"))
    write_lerobot_dataset(tmp_path / "cups", written)
    dataset = LeRobotDataset("me/cups", root=tmp_path / "cups")
    assert [dataset[number]["task"] for number in (0, 24)] == ["Becher füllen", "drehen"]
    success = [float(dataset[number]["next.success"]) for number in (22, 23, 47)]
    assert success[:2] == [0, 1]
    assert np.isnan(success[2])
