# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the camera saw at some decisions of some rollouts, as small pictures.

Rollouts do not carry their images. Those that are needed are read from where the rollout came
from: in its bag, the frames whose stamps are nearest; in an archive with `jpeg_bytes`, the
decision's own. Nothing else is kept, however large the source is.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.messages.camera_image import image_size, read_camera_image
from failure_monitor.sources.bag_files import bag_at, is_bag_file, is_bag_folder
from failure_monitor.sources.bag_messages import OpenBag, open_bag
from failure_monitor.sources.bag_recording import IMAGE_TYPES
from failure_monitor.sources.message_decoder import MessageDecoder
from failure_monitor.sources.storage import ROS1

logger = logging.getLogger(__name__)

WIDTH = 176
"""Pixels across, to which wider pictures are scaled."""

JPEG_QUALITY = 80

MAX_SECONDS_APART = 1.0
"""Seconds that a frame may be from the decision that it is shown for."""

JPEG_BYTES, JPEG_OFFSET = "jpeg_bytes", "jpeg_offset"
"""An archive's arrays: all JPEGs in a row, and where that of each decision begins, (N + 1,)."""

Wanted = Mapping[int, Sequence[int]]
"""Decisions, by the place of their rollout."""


@dataclass(frozen=True, eq=False)
class CameraFrames:
    """Pictures of one rollout.

    Attributes:
        camera: what they come from: the topic, or the archive's array.
        jpegs: a JPEG for each decision that has one.
    """

    camera: str = ""
    jpegs: Mapping[int, bytes] = field(default_factory=dict)


def read_camera_frames(
    rollouts: Sequence[Rollout], wanted: Wanted, *, topic: str = ""
) -> dict[int, CameraFrames]:
    """Return the frames at some decisions; none for a rollout whose source has none.

    A source that can no longer be read gives a warning and no error, for pictures are there to
    help, and no reason to fail.

    Args:
        rollouts: the rollouts as they were read.
        wanted: the numbers of decisions, by the place of their rollout in `rollouts`.
        topic: the camera in bags; empty for the first by name that can be shown.

    Returns:
        Frames for every rollout in `wanted`, by its place.
    """
    found = {place: CameraFrames() for place in wanted}
    for source in dict.fromkeys(rollouts[place].source for place in wanted):
        of_source = {
            place: decisions
            for place, decisions in wanted.items()
            if rollouts[place].source == source
        }
        try:
            found |= _frames_of(Path(source), rollouts, of_source, topic)
        except Exception as error:  # damaged files fail in any of the readers
            logger.warning("%s: its camera frames cannot be shown: %s", source, error)
    return found


def _frames_of(
    source: Path, rollouts: Sequence[Rollout], wanted: Wanted, topic: str
) -> dict[int, CameraFrames]:
    if is_bag_folder(source) or is_bag_file(source):
        return _frames_in_bag(source, rollouts, wanted, topic)
    if source.suffix == ".npz" and source.is_file():
        return _frames_in_archive(source, rollouts, wanted)
    return {}


def _small_jpeg(message: Any) -> bytes:
    """Return the picture in a message, scaled and compressed."""
    height, width = image_size(message)
    scale = min(1.0, WIDTH / width)
    size = max(1, round(scale * height)), max(1, round(scale * width))
    picture = cv2.cvtColor(read_camera_image(message, *size), cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return bytes(jpeg.tobytes())


# Bags


class _Nearest:
    """Keeps of a topic's messages those whose stamps are nearest to some times."""

    def __init__(
        self, decoder: MessageDecoder, message_type: str, stamps: NDArray[np.float64]
    ) -> None:
        self.messages: list[bytes | None] = [None] * len(stamps)
        self._decoder = decoder
        self._message_type = message_type
        self._stamps = stamps
        self._apart = np.full(len(stamps), MAX_SECONDS_APART)

    def take(self, received: int, serialised: bytes) -> None:
        stamp = 1e-9 * self._decoder.decode_stamp(serialised, self._message_type)
        apart = np.abs(self._stamps - stamp)
        for index in np.flatnonzero(apart < self._apart):
            self._apart[index] = apart[index]
            self.messages[index] = bytes(serialised)


def _frames_in_bag(
    path: Path, rollouts: Sequence[Rollout], wanted: Wanted, topic: str
) -> dict[int, CameraFrames]:
    with open_bag(bag_at(path)) as bag:
        return _frames_on(bag, rollouts, wanted, topic)


def _frames_on(
    bag: OpenBag, rollouts: Sequence[Rollout], wanted: Wanted, topic: str
) -> dict[int, CameraFrames]:
    cameras = [
        recorded
        for recorded in bag.summary().topics
        if recorded.message_type in IMAGE_TYPES
        and recorded.messages
        and topic in ("", recorded.name)
    ]
    shown = [(place, decision) for place, decisions in wanted.items() for decision in decisions]
    stamps = np.array([rollouts[place].stamps[decision] for place, decision in shown])
    problem: Exception | None = None
    for camera in cameras:
        name, message_type = camera.name, camera.message_type
        decoder = MessageDecoder(ros1=camera.encoding == ROS1)
        nearest = _Nearest(decoder, message_type, stamps)
        try:
            bag.read({name: nearest.take})
            jpegs = [
                None if message is None else _small_jpeg(decoder.decode(message, message_type))
                for message in nearest.messages
            ]
        except Exception as error:  # such as a depth camera's encoding: the next may do
            problem = error
            continue
        if any(jpegs):
            return {place: _collected(name, place, shown, jpegs) for place in wanted}
    if problem is not None:
        raise problem
    return {}


def _collected(
    camera: str, place: int, shown: Sequence[tuple[int, int]], jpegs: Sequence[bytes | None]
) -> CameraFrames:
    own = {
        decision: jpeg
        for (its_place, decision), jpeg in zip(shown, jpegs, strict=True)
        if its_place == place and jpeg is not None
    }
    return CameraFrames(camera, own)


# Archives


def _frames_in_archive(
    path: Path, rollouts: Sequence[Rollout], wanted: Wanted
) -> dict[int, CameraFrames]:
    with np.load(path, allow_pickle=False) as arrays:
        if not {JPEG_BYTES, JPEG_OFFSET} <= set(arrays.files):
            return {}
        offsets = arrays[JPEG_OFFSET]
        # What tells rollouts apart: embeddings, or the executed chunks where there are none.
        has_embeddings = "obs_embedding" in arrays.files
        decided = arrays["obs_embedding"] if has_embeddings else arrays["action_chunks"][:, 0]
        starts, lengths = arrays["episode_start"], arrays["episode_length"]
    found = {}
    with zipfile.ZipFile(path) as archive, archive.open(f"{JPEG_BYTES}.npy") as stored:
        begin = _begin_of_data(stored)
        for place, decisions in wanted.items():
            own = rollouts[place]
            seen = own.embeddings if has_embeddings else own.chunks[:, 0]
            row = _first_row(seen, decided.astype(np.float32), starts, lengths)
            if row is None:
                continue
            jpegs = {}
            for decision in decisions:
                first, end = (int(at) for at in offsets[row + decision : row + decision + 2])
                if 0 <= first < end:
                    stored.seek(begin + first)
                    jpegs[decision] = _rescaled(stored.read(end - first))
            found[place] = CameraFrames(f"the archive's {JPEG_BYTES}", jpegs)
    return found


def _begin_of_data(stored: Any) -> int:
    """Return where the bytes of a stored array begin, once it is found to be one of bytes."""
    version = np.lib.format.read_magic(stored)
    read_header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(stored)
    if dtype != np.uint8 or len(shape) != 1:
        raise ValueError(f"{JPEG_BYTES} is {dtype} {shape}, expected uint8 of one dimension")
    return int(stored.tell())


def _first_row(
    seen: NDArray[np.float32],
    of_all: NDArray[np.float32],
    starts: NDArray[np.integer[Any]],
    lengths: NDArray[np.integer[Any]],
) -> int | None:
    """Return the row where a rollout's decisions begin, found by what is known of each of them."""
    for start in starts[lengths == len(seen)]:
        if np.array_equal(of_all[start : start + len(seen)], seen):
            return int(start)
    return None


def _rescaled(jpeg: bytes) -> bytes:
    return _small_jpeg(SimpleNamespace(data=jpeg, format="jpeg"))
