# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of what a robot saw, for models of the second version of the ONNX contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import ACTIVE, BEGIN, SUCCESS, BagBuilder
from testbed.exported_second_version import PICK, PLACE, TASKS, export_second_version
from testbed.scenes import scenes
from testbed.seen_bags import MILLISECOND, TOPICS, with_histories, write_scene

from failure_monitor.decision import Rollout
from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.policy_models.models import ObservationEncoder, PolicySampler
from failure_monitor.policy_models.observation import Observation
from failure_monitor.policy_models.onnx_file import read_onnx_file
from failure_monitor.policy_models.replay import black_box_rollout
from failure_monitor.sources.reading_options import ReadingOptions
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import BlackBox

FRAME, SPACING = 50 * MILLISECOND, 100 * MILLISECOND
SEED, SAMPLES = 5, 3
TASK = "/rollout/task"


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> tuple[Path, Path]:
    return export_second_version(tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="module")
def black_box(paths) -> BlackBox:
    encoder, sampler = paths
    return BlackBox(
        encoder=encoder,
        sampler=sampler,
        cameras=TOPICS,
        samples=SAMPLES,
        seed=SEED,
        rate=10.0,
        tolerance=0.0,
    )


def moments(seed: int, begin: int, count: int = 9) -> dict[int, Observation]:
    return {begin + at * FRAME: seen for at, seen in enumerate(scenes(seed, count))}


def expected(paths, seen: dict[int, Observation], task: str) -> Rollout:
    encoder, sampler = (
        kind(read_onnx_file(path))
        for kind, path in zip((ObservationEncoder, PolicySampler), paths, strict=True)
    )
    # A decision at every other frame, each of this frame and the one a spacing before.
    decided = with_histories(seen, SPACING)[::2]
    return black_box_rollout(
        decided, encoder, sampler, name="", samples=SAMPLES, seed=SEED, task=task
    )


def check(rollout: Rollout, made: Rollout) -> None:
    np.testing.assert_allclose(rollout.stamps, made.stamps)
    np.testing.assert_array_equal(rollout.embeddings, made.embeddings)
    np.testing.assert_array_equal(rollout.chunks, made.chunks)
    assert rollout.task == made.task


def test_a_bag_gives_what_the_robot_computes(paths, black_box, tmp_path):
    seen = moments(1, BEGIN)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.text(TASK, PICK, BEGIN - 1)
        for stamp, observation in seen.items():
            write_scene(bag, observation, stamp)
    (rollout,) = read_rollouts([tmp_path / "bag"], black_box=black_box).rollouts
    check(rollout, expected(paths, seen, PICK))


@pytest.mark.parametrize("boundaries", ["auto", "outcomes", "pauses"])
def test_each_rollout_of_a_bag_begins_its_noise_anew(paths, black_box, tmp_path, boundaries):
    """What is handed on is not kept, so chunks are sampled before the bag is divided."""
    parts = [moments(1, BEGIN, 9), moments(2, BEGIN + 3_000 * MILLISECOND, 7)]
    with BagBuilder(tmp_path / "bag") as bag:
        bag.text(TASK, PLACE, BEGIN - 2)
        for part in parts:
            if boundaries == "auto":
                bag.flag(ACTIVE, True, min(part) - 1)
            for stamp, observation in part.items():
                write_scene(bag, observation, stamp)
            if boundaries == "auto":
                bag.flag(ACTIVE, False, max(part) + 1)
            bag.flag(SUCCESS, True, max(part) + 2)
    rollouts = read_rollouts(
        [tmp_path / "bag"],
        black_box=black_box,
        boundaries=boundaries,
        pause=1.0 if boundaries == "pauses" else None,
    ).rollouts
    assert len(rollouts) == 2
    for rollout, part in zip(rollouts, parts, strict=True):
        check(rollout, expected(paths, part, PLACE))


def test_the_task_may_follow_from_the_marker(paths, black_box, tmp_path):
    parts = {PICK: moments(1, BEGIN), PLACE: moments(2, BEGIN + 1_000 * MILLISECOND)}
    with BagBuilder(tmp_path / "bag") as bag:
        for task, part in parts.items():
            bag.text(ACTIVE, task, min(part) - 1)
            for stamp, observation in part.items():
                write_scene(bag, observation, stamp)
        bag.text(ACTIVE, "", max(part) + 1)
    rollouts = read_rollouts([tmp_path / "bag"], black_box=black_box).rollouts
    for rollout, (task, part) in zip(rollouts, parts.items(), strict=True):
        check(rollout, expected(paths, part, task))


def test_the_task_may_be_named_for_all_bags(paths, black_box, tmp_path):
    seen = moments(1, BEGIN)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.text(TASK, "whatever the bag states", BEGIN - 1)
        for stamp, observation in seen.items():
            write_scene(bag, observation, stamp)
    (rollout,) = read_rollouts([tmp_path / "bag"], black_box=black_box, task=PLACE).rollouts
    check(rollout, expected(paths, seen, PLACE))


def test_a_label_does_not_name_another_task_than_the_encoder_was_told(black_box, tmp_path):
    with BagBuilder(tmp_path / "bag") as bag:
        bag.text(TASK, PICK, BEGIN - 1)
        for stamp, observation in moments(1, BEGIN).items():
            write_scene(bag, observation, stamp)
    labels = tmp_path / "labels.csv"
    for task, fault in ((PICK, ""), (PLACE, "labelled as of the task 'put it down'")):
        labels.write_text(f"rollout,outcome,group,task\nbag,success,,{task}\n")
        reading = ReadingOptions(black_box=black_box, labels=labels)
        if fault:
            with pytest.raises(FailureMonitorError, match=fault):
                reading.read([tmp_path / "bag"])
        else:
            reading.read([tmp_path / "bag"])


@pytest.mark.parametrize(
    ("stated", "received", "fault"),
    [
        ("", BEGIN - 1, r"holds the tokens of .*the rollout states no task"),
        ("fly", BEGIN - 1, r"holds the tokens of .*'fly'"),
        (PLACE, BEGIN + 3 * FRAME + 1, r"of the task 'put it down', and .* 'pick it up'"),
    ],
)
def test_a_task_that_is_unknown_or_late_is_refused(black_box, tmp_path, stated, received, fault):
    seen = moments(1, BEGIN)
    with BagBuilder(tmp_path / "bag") as bag:
        if received > BEGIN:
            bag.text(TASK, PICK, BEGIN - 1)
        for stamp, observation in seen.items():
            write_scene(bag, observation, stamp)
            if stamp <= received < stamp + FRAME or (stamp == BEGIN and received < BEGIN):
                bag.text(TASK, stated, received)
    with pytest.raises(FailureMonitorError, match=fault):
        read_rollouts([tmp_path / "bag"], black_box=black_box)


def test_a_model_of_one_task_needs_none_to_be_stated(black_box, tmp_path):
    encoder, _ = export_second_version(tmp_path / "one", tasks=TASKS[:1])
    with BagBuilder(tmp_path / "bag") as bag:
        for stamp, observation in moments(1, BEGIN).items():
            write_scene(bag, observation, stamp)
    only = replace(black_box, encoder=encoder)
    (rollout,) = read_rollouts([tmp_path / "bag"], black_box=only).rollouts
    assert len(rollout) == 5


def test_a_sampler_without_noise_takes_no_number_of_samples(black_box, tmp_path):
    _, sampler = export_second_version(tmp_path / "none", is_deterministic=True)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.text(TASK, PICK, BEGIN - 1)
        for stamp, observation in moments(1, BEGIN).items():
            write_scene(bag, observation, stamp)
    one = replace(black_box, sampler=sampler, samples=None)
    (rollout,) = read_rollouts([tmp_path / "bag"], black_box=one).rollouts
    assert rollout.chunks.shape[:2] == (5, 1)
    with pytest.raises(UsageError, match=r"'--samples 3'.*takes no noise"):
        read_rollouts([tmp_path / "bag"], black_box=replace(one, samples=3))


def test_a_sampler_that_needs_its_encoder_is_refused_without(black_box, tmp_path):
    lone = BlackBox(sampler=black_box.sampler)
    with BagBuilder(tmp_path / "bag") as bag:
        write_scene(bag, moments(1, BEGIN)[BEGIN], BEGIN)
    with pytest.raises(FailureMonitorError, match="only its encoder returns"):
        read_rollouts([tmp_path / "bag"], black_box=lone)
