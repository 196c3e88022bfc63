# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Small real bags for tests, written message by message."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import lz4.frame
import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
ROS1_STORE = get_typestore(Stores.ROS1_NOETIC)
SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND
PERIOD = SECOND // 10
EMBEDDING = "/policy/embedding"
CHUNKS = "/policy/action_chunks"
FORMAT = "/policy/format"
SUCCESS = "/rollout/success"
LABEL = "/rollout/label"
ACTIVE = "/rollout/active"
ACTION_NAMES = ("dx", "dy", "gripper")
FLOAT32 = 7


STORAGES = (
    "mcap",
    "mcap lz4",
    "mcap uncompressed",
    "mcap file",
    "mcap message",
    "sqlite3",
    "sqlite3 file",
    "sqlite3 message",
    "ros1",
    "ros1 lz4",
    "ros1 bz2",
)
"""The kinds of bags that can be written: how, and what is compressed how; mcap alone in zstd."""


class BagBuilder:
    """A bag being written: a rosbag2 folder, or for ROS 1 a file."""

    def __init__(self, path: Path, storage: str = "mcap") -> None:
        assert storage in STORAGES
        self.path = path
        self._is_ros1 = storage.startswith("ros1")
        self._store = ROS1_STORE if self._is_ros1 else STORE
        self._is_lz4 = storage == "mcap lz4"
        self._writer = ros1_writer(path, storage) if self._is_ros1 else writer(path, storage)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagBuilder:
        self._writer.open()
        if self._is_lz4:  # which rosbags reads, but does not write
            self._writer.storage.compression = "lz4"
            self._writer.storage.compressor = lz4.frame.compress
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def topic(self, topic: str, message_type: str) -> None:
        self._connections[topic] = self._writer.add_connection(
            topic, message_type, typestore=self._store
        )

    def write(self, topic: str, message: Any, received: int) -> None:
        message_type = message.__msgtype__
        if self._is_ros1:
            serialised = self._store.serialize_ros1(as_ros1(message), message_type)
        else:
            serialised = self._store.serialize_cdr(message, message_type)
        self.write_bytes(topic, message_type, bytes(serialised), received)

    def write_bytes(self, topic: str, message_type: str, data: bytes, received: int) -> None:
        if topic not in self._connections:
            self.topic(topic, message_type)
        self._writer.write(self._connections[topic], received, data)

    def flag(self, topic: str, value: bool, received: int) -> None:
        self.write(topic, STORE.types["std_msgs/msg/Bool"](data=value), received)

    def text(self, topic: str, value: str, received: int) -> None:
        self.write(topic, STORE.types["std_msgs/msg/String"](data=value), received)

    def number(self, topic: str, value: float, received: int) -> None:
        self.write(topic, STORE.types["std_msgs/msg/Float64"](data=value), received)

    def floats(self, topic: str, values: Sequence[float], received: int) -> None:
        layout = STORE.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        message = STORE.types["std_msgs/msg/Float64MultiArray"](layout, np.array(values, float))
        self.write(topic, message, received)

    def joint_state(
        self,
        topic: str,
        names: Sequence[str],
        positions: Sequence[float],
        stamp: int,
        received: int | None = None,
        *,
        velocities: Sequence[float] = (),
        efforts: Sequence[float] = (),
    ) -> None:
        message = STORE.types["sensor_msgs/msg/JointState"](
            header=header(stamp),
            name=list(names),
            position=np.array(positions, np.float64),
            velocity=np.array(velocities, np.float64),
            effort=np.array(efforts, np.float64),
        )
        self.write(topic, message, stamp if received is None else received)

    def embedding(
        self, values: NDArray[np.float32], stamp: int, received: int | None = None, **changes: Any
    ) -> None:
        fields = changes.pop("fields", [point_field("embedding", 0, count=values.size)])
        message = cloud(values, 1, 1, fields, stamp, **changes)
        self.write(EMBEDDING, message, stamp if received is None else received)

    def tokens(self, values: NDArray[np.float32], stamp: int) -> None:
        fields = [point_field("token", 0, count=values.shape[1])]
        self.write("/policy/tokens", cloud(values, 1, len(values), fields, stamp), stamp)

    def chunks(
        self,
        values: NDArray[np.float32],
        stamp: int,
        received: int | None = None,
        names: Sequence[str] = ACTION_NAMES,
        **changes: Any,
    ) -> None:
        fields = [point_field(name, 4 * index) for index, name in enumerate(names)]
        message = cloud(values, values.shape[0], values.shape[1], fields, stamp, **changes)
        self.write(CHUNKS, message, stamp if received is None else received)


def writer(path: Path, storage: str) -> Writer:
    plugin = StoragePlugin.MCAP if storage.startswith("mcap") else StoragePlugin.SQLITE3
    bag = Writer(path, version=9, storage_plugin=plugin)
    modes = {
        "mcap": CompressionMode.STORAGE,
        "file": CompressionMode.FILE,
        "message": CompressionMode.MESSAGE,
    }
    mode = modes.get(storage.rpartition(" ")[2])
    if mode is not None:
        bag.set_compression(mode, CompressionFormat.ZSTD)
    return bag


def ros1_writer(path: Path, storage: str) -> Ros1Writer:
    bag = Ros1Writer(path)
    compression = storage.removeprefix("ros1").strip().upper()
    if compression:
        bag.set_compression(Ros1Writer.CompressionFormat[compression])
    return bag


def as_ros1(message: Any) -> Any:
    """Return the message of ROS 1, where headers count."""
    if not hasattr(message, "__msgtype__"):
        return message
    fields = {
        name: [as_ros1(item) for item in value] if isinstance(value, list) else as_ros1(value)
        for name, value in vars(message).items()
    }
    if message.__msgtype__ == "std_msgs/msg/Header":
        fields["seq"] = 7
    return ROS1_STORE.types[message.__msgtype__](**fields)


def join_bags(path: Path, parts: Sequence[Path]) -> Path:
    """Join bags of several files each into one split bag."""
    path.mkdir()
    whole = None
    for number, part in enumerate(parts):
        [file] = (file for file in part.iterdir() if file.name != "metadata.yaml")
        name = f"{path.name}_{number}.{file.name.partition('.')[2]}"
        shutil.copy(file, path / name)
        info = yaml.safe_load((part / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        info["relative_file_paths"] = [name]
        if whole is None:
            whole = info
            continue
        whole["relative_file_paths"].append(name)
        whole["message_count"] += info["message_count"]
        for topic in info["topics_with_message_count"]:
            same = [
                known
                for known in whole["topics_with_message_count"]
                if known["topic_metadata"] == topic["topic_metadata"]
            ]
            if same:
                same[0]["message_count"] += topic["message_count"]
            else:
                whole["topics_with_message_count"].append(topic)
    text = yaml.safe_dump({"rosbag2_bagfile_information": whole})
    (path / "metadata.yaml").write_text(text)
    return path


def header(stamp: int) -> Any:
    seconds, nanoseconds = divmod(stamp, SECOND)
    time = STORE.types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return STORE.types["std_msgs/msg/Header"](stamp=time, frame_id="base")


def point_field(name: str, offset: int, count: int = 1, datatype: int = FLOAT32) -> Any:
    return STORE.types["sensor_msgs/msg/PointField"](
        name=name, offset=offset, datatype=datatype, count=count
    )


def cloud(
    values: NDArray[np.float32],
    height: int,
    width: int,
    fields: list[Any],
    stamp: int,
    **changes: Any,
) -> Any:
    point_step = 4 * values.size // (height * width)
    content = {
        "header": header(stamp),
        "height": height,
        "width": width,
        "fields": fields,
        "is_bigendian": False,
        "point_step": point_step,
        "row_step": point_step * width,
        "data": np.frombuffer(values.astype(np.float32).tobytes(), dtype=np.uint8),
        "is_dense": True,
    }
    return STORE.types["sensor_msgs/msg/PointCloud2"](**(content | changes))


def decision_arrays(
    count: int, *, embedding_size: int = 6, samples: int = 4, horizon: int = 5, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return embeddings (count, E) and chunks (count, B, H, 3)."""
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(count, embedding_size)).astype(np.float32),
        random.normal(size=(count, samples, horizon, len(ACTION_NAMES))).astype(np.float32),
    )


def write_bag(
    path: Path,
    decisions: int = 8,
    *,
    storage: str = "mcap",
    success: bool | None = True,
    seed: int = 0,
    **sizes: int,
) -> Path:
    """Write a bag of one whole rollout, a decision every 0.1 s."""
    embeddings, chunks = decision_arrays(decisions, seed=seed, **sizes)
    end = BEGIN + decisions * PERIOD
    with BagBuilder(path, storage) as bag:
        bag.flag(ACTIVE, True, BEGIN - 1)
        for index in range(decisions):
            bag.embedding(embeddings[index], BEGIN + index * PERIOD)
            bag.chunks(chunks[index], BEGIN + index * PERIOD)
        bag.flag(ACTIVE, False, end)
        if success is not None:
            bag.flag(SUCCESS, success, end + 1)
    return path
