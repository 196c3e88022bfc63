# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes rollouts as a LeRobotDataset: actions, positions, outcomes, decisions, cameras of bags.

A decision's executed actions are spread over the frames until the next decision, one each. Images
are those nearest in time on a bag's topics, decoded as they are read: a rollout's frames are never
in memory together.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.atomic_file import UnwritableError
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.joint_motion import JointMotion, alike
from failure_monitor.listed_names import list_names
from failure_monitor.messages.camera_image import image_size, read_camera_image
from failure_monitor.missing_package import missing_packages_named
from failure_monitor.schema import plain
from failure_monitor.sources.bag_files import bag_at, is_bag_file, is_bag_folder
from failure_monitor.sources.bag_messages import OpenBag, open_bag
from failure_monitor.sources.bag_metadata import TopicCount
from failure_monitor.sources.bag_recording import IMAGE_TYPES
from failure_monitor.sources.lerobot_episodes import CHUNKS, DECISION, EMBEDDING, SUCCESS_COLUMNS
from failure_monitor.sources.lerobot_joints import COMMAND_MEANS, JOINT_MEANS, JOINT_STATES
from failure_monitor.sources.lerobot_metadata import ACTION, STATE
from failure_monitor.sources.lerobot_writer import Column, DatasetWriter, VideoWriter
from failure_monitor.sources.message_decoder import MessageDecoder
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import SourceError
from failure_monitor.sources.storage import ROS1

CAMERA = "observation.images."
SUCCESS = SUCCESS_COLUMNS[0]
INTERVENTION = "intervention"
PLAIN_PARTS = ("compressed", "image_raw", "image", "image_rect", "image_color")
"""Parts at the end of a camera's topic that do not name it."""

MAX_SECONDS_APART = 1.0
"""Seconds that an image may be from its frame."""


@dataclass(frozen=True, eq=False)
class _Frames:
    """The frames of a rollout.

    Attributes:
        rollout: The rollout.
        decided: At which frames its decisions were taken, (T,).
        count: How many there are.
        fps: How many there are per second.
    """

    rollout: Rollout
    decided: NDArray[np.int64]
    count: int
    fps: float

    @classmethod
    def of(cls, rollout: Rollout, policy: PolicyFormat, fps: float) -> _Frames:
        decided = np.round((rollout.stamps - rollout.stamps[0]) * fps).astype(np.int64)
        # No decision is lost where two are less than a frame apart.
        places = np.arange(len(decided))
        decided = np.maximum.accumulate(decided - places) + places
        last = min(policy.executed_actions or 1, policy.horizon)
        return cls(rollout, decided, int(decided[-1]) + last, fps)

    @property
    def times(self) -> NDArray[np.float64]:
        """When each frame is, in seconds, as the rollout's stamps."""
        return np.asarray(self.rollout.stamps[0] + np.arange(self.count) / self.fps)

    @property
    def decisions(self) -> NDArray[np.int64]:
        """The number of the decision that each frame executes."""
        return np.searchsorted(self.decided, np.arange(self.count), side="right") - 1

    def actions(self) -> NDArray[np.float32]:
        """Return executed actions, the last of a chunk until the next decision."""
        chunks, decisions = self.rollout.chunks[:, 0], self.decisions
        steps = np.arange(self.count) - self.decided[decisions]
        return np.asarray(chunks[decisions, np.minimum(steps, chunks.shape[1] - 1)])

    def at_decisions(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of decisions, at their frames; 0 elsewhere."""
        result = np.zeros((self.count, *values.shape[1:]), values.dtype)
        result[self.decided] = values
        return result

    def between(self, positions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return positions at decisions, and in straight lines between them."""
        frames = np.arange(self.count)
        return np.stack(
            [np.interp(frames, self.decided, column) for column in positions.T], axis=1
        ).astype(np.float32)


@missing_packages_named()
def write_lerobot_dataset(
    folder: Path, rollout_set: RolloutSet, cameras: Mapping[str, str] | None = None
) -> None:
    """Write rollouts as a dataset of version 3.0, whole or not at all.

    Args:
        folder: A folder that does not exist, or is empty.
        rollout_set: The rollouts.
        cameras: The topics of the cameras, by name; None for all that every bag has.

    Raises:
        SourceError: The folder holds something, or a camera is missing.
        UnwritableError: The dataset cannot be written.
        MissingPackageError: A package that writes it is not installed.
    """
    import av  # noqa: F401
    import pyarrow  # noqa: F401

    reject_used_folder(folder)
    fps = _frame_rate(rollout_set)
    frames = [_Frames.of(rollout, rollout_set.policy, fps) for rollout in rollout_set.rollouts]
    with _written_whole(folder) as partial:
        _write(partial, rollout_set, frames, fps, cameras)


def reject_used_folder(folder: Path) -> None:
    """Reject a folder that already holds something.

    Raises:
        SourceError: It does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SourceError(
            f"{folder} already exists: name a new folder, or remove what is in this one"
        )


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    target = Path(os.path.realpath(folder))
    partial = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        raise UnwritableError(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _frame_rate(rollout_set: RolloutSet) -> float:
    """Return the rate of actions: as the policy states it, or by the times of its decisions."""
    stated = rollout_set.policy.control_period
    if stated is not None:
        return 1 / stated
    gaps = np.concatenate([np.diff(rollout.stamps) for rollout in rollout_set.rollouts])
    if not len(gaps) or not np.median(gaps) > 0:
        raise SourceError(
            "the rollouts have one decision each, so nobody knows how many frames a second has: "
            "state '--control-period'"
        )
    return (rollout_set.policy.executed_actions or 1) / float(np.median(gaps))


def _write(
    folder: Path,
    rollout_set: RolloutSet,
    frames: Sequence[_Frames],
    fps: float,
    cameras: Mapping[str, str] | None,
) -> None:
    topics = _common_cameras(rollout_set.rollouts) if cameras is None else cameras
    images = _Images(topics, rollout_set.rollouts)
    rollouts = rollout_set.rollouts
    joints = alike([rollout.joints for rollout in rollouts], [len(each) for each in rollouts])
    columns = _columns(rollout_set) | _joint_columns(joints[0])
    writer = DatasetWriter(folder, fps, columns, images.sizes)
    for each, motion in zip(frames, joints, strict=True):
        images.write(each, writer)
        values = _values(each, rollout_set) | _joint_values(each, motion)
        writer.add(values, each.rollout.task)
    stated = rollout_set.stated_policy
    writer.finish(
        {
            "version": 1,
            "stated_policy": None if stated is None else plain(stated),
            "groups": [rollout.group for rollout in rollout_set.rollouts],
            "sources": [rollout.source for rollout in rollout_set.rollouts],
        }
    )


def _columns(rollout_set: RolloutSet) -> dict[str, Column]:
    policy, rollouts = rollout_set.policy, rollout_set.rollouts
    columns = {ACTION: Column("float32", (len(policy.action_names),), policy.action_names)}
    names = policy.position_names or policy.action_names
    if all(rollout.positions is not None for rollout in rollouts):
        columns[STATE] = Column("float32", (len(names),), names)
    if any(rollout.success is not None for rollout in rollouts):
        # NaN, which a bool cannot be, stands for an outcome that nobody knows.
        known = all(rollout.success is not None for rollout in rollouts)
        columns[SUCCESS] = Column("bool" if known else "float32", (1,))
    if any(rollout.interventions is not None for rollout in rollouts):
        columns[INTERVENTION] = Column("bool", (1,))
    if policy.embedding_size:
        columns[EMBEDDING] = Column("float32", (policy.embedding_size,))
    return columns | {
        DECISION: Column("bool", (1,)),
        CHUNKS: Column("float32", policy.chunk_shape),
    }


def _joint_columns(joints: JointMotion) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    if joints.names:
        for name in (JOINT_STATES, JOINT_MEANS):
            columns[name] = Column("float64", (len(joints.names),), joints.names)
    if joints.command_names:
        columns[COMMAND_MEANS] = Column(
            "float64", (len(joints.command_names),), joints.command_names
        )
    return columns


def _joint_values(frames: _Frames, joints: JointMotion) -> dict[str, NDArray[Any]]:
    values = {JOINT_STATES: joints.states, JOINT_MEANS: joints.means}
    if joints.commands is not None:
        values[COMMAND_MEANS] = joints.commands
    return {name: frames.at_decisions(known) for name, known in values.items()}


def _values(frames: _Frames, rollout_set: RolloutSet) -> dict[str, NDArray[Any]]:
    rollout = frames.rollout
    decided = np.zeros(frames.count, bool)
    decided[frames.decided] = True
    success = np.zeros(frames.count, np.float32)
    if rollout.success is None:
        success[:] = np.nan
    else:
        success[-1] = rollout.success
    values = {
        ACTION: frames.actions(),
        SUCCESS: success,
        INTERVENTION: np.zeros(frames.count, bool),
        DECISION: decided,
        EMBEDDING: frames.at_decisions(rollout.embeddings),
        CHUNKS: frames.at_decisions(rollout.chunks),
    }
    if rollout.positions is not None:
        values[STATE] = frames.between(rollout.positions)
    if rollout.interventions is not None:
        values[INTERVENTION] = rollout.interventions[frames.decisions]
    return values


# Cameras


def _common_cameras(rollouts: Sequence[Rollout]) -> dict[str, str]:
    """Return the cameras that the bags of all rollouts have; none where one is of no bag."""
    sources = dict.fromkeys(rollout.source for rollout in rollouts)
    common: set[str] | None = None
    for source in sources:
        if not _is_bag(Path(source)):
            return {}
        with _opened(Path(source)) as bag:
            there = {topic.name for topic in _image_topics(bag)}
        common = there if common is None else common & there
    return _named(sorted(common or ()))


def _named(topics: Sequence[str]) -> dict[str, str]:
    """Return topics by the names of their cameras: by all of the topic where two are alike."""
    short: dict[str, str] = {}
    for topic in topics:
        parts = topic.strip("/").split("/")
        while len(parts) > 1 and parts[-1] in PLAIN_PARTS:
            parts.pop()
        name = "_".join(parts)
        short[re.sub(r"\W", "_", topic.strip("/")) if name in short else name] = topic
    return short


def _is_bag(path: Path) -> bool:
    return is_bag_folder(path) or is_bag_file(path)


@contextmanager
def _opened(path: Path) -> Iterator[OpenBag]:
    import av

    try:
        with open_bag(bag_at(path)) as bag:
            yield bag
    except (FailureMonitorError, OSError, av.FFmpegError):
        raise
    except Exception as error:  # a damaged bag fails in any of rosbags' parsers
        reason = " ".join(str(error).split())
        raise SourceError(
            f"the images of {path} cannot be read ({reason}): leave the bag out, or its cameras"
        ) from None


def _image_topics(bag: OpenBag) -> list[TopicCount]:
    return [t for t in bag.summary().topics if t.message_type in IMAGE_TYPES and t.messages]


class _Images:
    """The cameras of rollouts in bags."""

    def __init__(self, topics: Mapping[str, str], rollouts: Sequence[Rollout]) -> None:
        """Look at the first image of each.

        Raises:
            SourceError: A rollout is of no bag, or a bag lacks a camera.
        """
        self._topics = topics
        self.sizes: dict[str, tuple[int, int]] = {}
        """Height and width by column: of the first image, made even."""
        if not topics:
            return
        strange = [r.name for r in rollouts if not _is_bag(Path(r.source))]
        if strange:
            raise SourceError(
                f"{list_names(strange)} come from no bag, and have no images: name no camera"
            )
        with _opened(Path(rollouts[0].source)) as bag:
            for name, topic in topics.items():
                self.sizes[CAMERA + name] = _first_size(bag, _recorded(bag, topic))

    def write(self, frames: _Frames, writer: DatasetWriter) -> None:
        """Write the videos of one rollout.

        Raises:
            SourceError: A camera is missing, or has no image near a frame.
            CameraImageError: A message holds no image.
        """
        if not self._topics:
            return
        with _opened(Path(frames.rollout.source)) as bag, ExitStack() as stack:
            streams = []
            for name, topic in self._topics.items():
                video = stack.enter_context(writer.video(CAMERA + name))
                streams.append(
                    _Stream(_recorded(bag, topic), frames, video, self.sizes[CAMERA + name])
                )
            bag.read({stream.topic.name: stream.take for stream in streams})
            for stream in streams:
                stream.finish()


def _recorded(bag: OpenBag, topic: str) -> TopicCount:
    there = {each.name: each for each in _image_topics(bag)}
    if topic not in there:
        raise SourceError(
            f"a bag has no images on {topic}, only on {list_names(there) or 'none'}: name another "
            "camera, or none"
        )
    return there[topic]


class _SizeFoundError(Exception):
    """The size of the first image is known: nothing more need be read."""


def _first_size(bag: OpenBag, topic: TopicCount) -> tuple[int, int]:
    decoder = MessageDecoder(ros1=topic.encoding == ROS1)
    size = (0, 0)

    def take(received: int, serialised: bytes) -> None:
        nonlocal size
        size = image_size(decoder.decode(serialised, topic.message_type))
        raise _SizeFoundError

    with suppress(_SizeFoundError):
        bag.read({topic.name: take})
    # Videos have even sizes.
    return max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)


class _Stream:
    """Images of one topic, of which those nearest to the frames are written."""

    def __init__(
        self, topic: TopicCount, frames: _Frames, video: VideoWriter, size: tuple[int, int]
    ) -> None:
        self.topic = topic
        self._decoder = MessageDecoder(ros1=topic.encoding == ROS1)
        self._times, self._frames = frames.times, frames
        self._video, self._size = video, size
        self._next = 0
        self._before: tuple[float, bytes] | None = None
        self._image: tuple[float, NDArray[np.uint8]] | None = None

    def take(self, received: int, serialised: bytes) -> None:
        """Write all frames that are nearer to the image before than to this one."""
        stamp = 1e-9 * self._decoder.decode_stamp(serialised, self.topic.message_type)
        if self._before is not None:
            middle = (self._before[0] + stamp) / 2
            while self._next < len(self._times) and self._times[self._next] < middle:
                self._write_before()
        self._before = stamp, bytes(serialised)

    def finish(self) -> None:
        """Write the frames after the last image."""
        while self._next < len(self._times):
            self._write_before()

    def _write_before(self) -> None:
        wanted = self._times[self._next]
        if self._before is None or abs(self._before[0] - wanted) > MAX_SECONDS_APART:
            raise SourceError(
                f"{self._frames.rollout.name}: {self.topic.name} has no image within "
                f"{MAX_SECONDS_APART:g} s of its frame {self._next}: name another camera, or "
                "leave the rollout out"
            )
        stamp, serialised = self._before
        if self._image is None or self._image[0] != stamp:
            message = self._decoder.decode(serialised, self.topic.message_type)
            self._image = stamp, read_camera_image(message, *self._size)
        self._video.add(self._image[1])
        self._next += 1
