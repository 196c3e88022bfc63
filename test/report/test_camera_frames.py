# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Camera frames of single decisions, found again where their rollout came from."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from testbed.bags import BEGIN, PERIOD, STORE, BagBuilder, decision_arrays, header, write_bag

from failure_monitor.report.camera_frames import WIDTH, CameraFrames, read_camera_frames
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollouts import read_rollouts

CAMERA = "/camera/image_raw"
DECISIONS = 8
STEP = 12
"""By which a frame is lighter than the one before, two frames to a decision."""


def image(grey: int, stamp: int, *, height: int = 24, width: int = 32) -> Any:
    pixels = np.full((height, width, 3), grey, np.uint8)
    return STORE.types["sensor_msgs/msg/Image"](
        header=header(stamp),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=pixels.reshape(-1),
    )


def compressed(grey: int, stamp: int, *, width: int = 32) -> Any:
    _, jpeg = cv2.imencode(".jpg", np.full((24, width, 3), grey, np.uint8))
    return STORE.types["sensor_msgs/msg/CompressedImage"](
        header=header(stamp), format="jpeg", data=jpeg.reshape(-1)
    )


def depth(stamp: int) -> Any:
    return STORE.types["sensor_msgs/msg/Image"](
        header=header(stamp),
        height=2,
        width=2,
        encoding="16UC1",
        is_bigendian=0,
        step=4,
        data=np.zeros(8, np.uint8),
    )


def bag_with_camera(
    path: Path,
    make: Any,
    *,
    topic: str = CAMERA,
    seed: int = 0,
    storage: str = "mcap",
    **more: Any,
) -> Path:
    """Two frames for every decision, 4 ms late; `more` are further topics and their messages."""
    embeddings, chunks = decision_arrays(DECISIONS, seed=seed)
    with BagBuilder(path, storage) as bag:
        for index in range(DECISIONS):
            stamp = BEGIN + index * PERIOD
            bag.embedding(embeddings[index], stamp)
            bag.chunks(chunks[index], stamp)
            for frame, later in ((2 * index, 4_000_000), (2 * index + 1, 54_000_000)):
                bag.write(topic, make(STEP * frame, stamp + later), stamp + later)
                for name, message in more.items():
                    bag.write(f"/{name}", message(stamp + later), stamp + later)
    return path


def greys(frames: CameraFrames) -> dict[int, int]:
    """The mean grey of each picture, by decision."""
    return {
        decision: round(float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 0).mean()))
        for decision, jpeg in frames.jpegs.items()
    }


@pytest.mark.parametrize("make", [image, compressed])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "ros1"])
def test_the_frame_nearest_to_a_decision_is_found_in_its_bag(
    tmp_path: Path, make: Any, storage: str
) -> None:
    name = "rollout.bag" if storage == "ros1" else "rollout"
    rollouts = read_rollouts(
        [bag_with_camera(tmp_path / name, make, storage=storage)], boundaries="bag"
    ).rollouts
    frames = read_camera_frames(rollouts, {0: (0, 3, 7)})[0]
    assert frames.camera == CAMERA
    assert greys(frames) == pytest.approx({0: 0, 3: 6 * STEP, 7: 14 * STEP}, abs=1)


def test_several_rollouts_of_several_bags_get_their_own_frames(tmp_path: Path) -> None:
    for seed, darker in ((0, 0), (1, 5)):
        bag_with_camera(
            tmp_path / f"rollout_{seed}",
            lambda grey, stamp, darker=darker: image(max(0, grey - darker), stamp),
            seed=seed,
        )
    rollouts = read_rollouts([tmp_path], boundaries="bag").rollouts
    frames = read_camera_frames(rollouts, {0: (4,), 1: (4,)})
    assert greys(frames[0]) == pytest.approx({4: 8 * STEP}, abs=1)
    assert greys(frames[1]) == pytest.approx({4: 8 * STEP - 5}, abs=1)


def test_a_camera_that_cannot_be_shown_makes_room_for_the_next(tmp_path: Path) -> None:
    bag = bag_with_camera(tmp_path / "rollout", image, a_depth_camera=depth)
    rollouts = read_rollouts([bag], boundaries="bag").rollouts
    assert read_camera_frames(rollouts, {0: (1,)})[0].camera == CAMERA


def test_the_camera_can_be_named(tmp_path: Path) -> None:
    bag = bag_with_camera(
        tmp_path / "rollout", image, another=lambda stamp: compressed(200, stamp)
    )
    rollouts = read_rollouts([bag], boundaries="bag").rollouts
    assert greys(read_camera_frames(rollouts, {0: (1,)}, topic="/another")[0])[1] == 200
    assert read_camera_frames(rollouts, {0: (1,)}, topic=CAMERA)[0].camera == CAMERA


def test_large_pictures_are_scaled_down_and_keep_their_shape(tmp_path: Path) -> None:
    bag = bag_with_camera(
        tmp_path / "rollout", lambda grey, stamp: image(grey, stamp, height=480, width=640)
    )
    rollouts = read_rollouts([bag], boundaries="bag").rollouts
    (jpeg,) = read_camera_frames(rollouts, {0: (2,)})[0].jpegs.values()
    height, width = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 0).shape
    assert (height, width) == (WIDTH * 3 // 4, WIDTH)


def test_a_frame_of_another_time_is_not_shown(tmp_path: Path) -> None:
    bag = bag_with_camera(
        tmp_path / "rollout", lambda grey, stamp: image(grey, stamp + 100 * PERIOD)
    )
    rollouts = read_rollouts([bag], boundaries="bag").rollouts
    assert read_camera_frames(rollouts, {0: (1,)})[0].jpegs == {}


def test_a_bag_without_a_camera_has_no_frames(tmp_path: Path) -> None:
    rollouts = read_rollouts([write_bag(tmp_path / "rollout")]).rollouts
    assert read_camera_frames(rollouts, {0: (0, 1)})[0].jpegs == {}


def test_a_bag_that_cannot_be_read_any_more_is_told_and_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone, there = (
        bag_with_camera(tmp_path / f"rollout_{seed}", image, seed=seed) for seed in (0, 1)
    )
    rollouts = read_rollouts([tmp_path], boundaries="bag").rollouts
    (gone / "metadata.yaml").write_text("{")
    with caplog.at_level(logging.WARNING):
        frames = read_camera_frames(rollouts, {0: (1,), 1: (1,)})
    assert f"{gone}: its camera frames cannot be shown" in caplog.text
    assert frames[0].jpegs == {}
    assert list(frames[1].jpegs) == [1]
    shutil.rmtree(there)
    assert read_camera_frames(rollouts, {1: (1,)})[1].jpegs == {}


# Archives


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three rollouts of the same length and stamps, with a picture for each decision."""
    for seed in range(3):
        write_bag(tmp_path / "bags" / f"rollout_{seed}", DECISIONS, seed=seed)
    plain = tmp_path / "plain.npz"
    write_archive(plain, read_rollouts([tmp_path / "bags"]))
    pictures = [
        cv2.imencode(".jpg", np.full((24, 32, 3), 10 * row, np.uint8))[1].reshape(-1)
        for row in range(3 * DECISIONS)
    ]
    with np.load(plain) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name not in ("source", "sha256")}
    path = tmp_path / "with_frames.npz"
    np.savez_compressed(
        path,
        **kept,
        jpeg_bytes=np.concatenate(pictures),
        jpeg_offset=np.cumsum([0, *(len(picture) for picture in pictures)]),
    )
    return path


def test_an_archive_gives_the_frames_of_the_very_rollout(archive: Path) -> None:
    rollouts = read_rollouts([archive]).rollouts
    frames = read_camera_frames(rollouts, {2: (3, 0), 1: (7,)})
    assert greys(frames[2]) == pytest.approx({3: 190, 0: 160}, abs=1)
    assert greys(frames[1]) == pytest.approx({7: 150}, abs=1)


def test_an_archive_without_pictures_of_bags_that_are_there_gives_theirs(tmp_path: Path) -> None:
    bag = bag_with_camera(tmp_path / "rollout", image)
    write_archive(tmp_path / "rollouts.npz", read_rollouts([bag], boundaries="bag"))
    rollouts = read_rollouts([tmp_path / "rollouts.npz"]).rollouts
    assert greys(read_camera_frames(rollouts, {0: (3,)})[0]) == pytest.approx({3: 72}, abs=1)


def test_wrong_offsets_in_an_archive_do_no_harm(
    archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with np.load(archive) as arrays:
        content: dict[str, Any] = dict(arrays)
    content["jpeg_offset"] = content["jpeg_offset"] + 3
    np.savez_compressed(archive, **content)
    rollouts = read_rollouts([archive]).rollouts
    assert read_camera_frames(rollouts, {0: (0,)})[0].jpegs == {}
    assert "its camera frames cannot be shown" in caplog.text
