# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Small real bags for tests, written message by message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND
PERIOD = SECOND // 10
EMBEDDING = "/policy/embedding"
CHUNKS = "/policy/action_chunks"
SUCCESS = "/rollout/success"
ACTIVE = "/rollout/active"
ACTION_NAMES = ("dx", "dy", "gripper")
FLOAT32 = 7


class BagBuilder:
    """A bag being written; its time is in seconds since its begin."""

    def __init__(self, path: Path, storage: str = "mcap") -> None:
        plugin = StoragePlugin.MCAP if storage.startswith("mcap") else StoragePlugin.SQLITE3
        self.path = path
        self._writer = Writer(path, version=9, storage_plugin=plugin)
        if storage == "mcap":
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagBuilder:
        self._writer.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def topic(self, topic: str, message_type: str) -> None:
        self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=STORE)

    def write(self, topic: str, message: Any, received: int) -> None:
        self.write_bytes(
            topic,
            message.__msgtype__,
            bytes(STORE.serialize_cdr(message, message.__msgtype__)),
            received,
        )

    def write_bytes(self, topic: str, message_type: str, data: bytes, received: int) -> None:
        if topic not in self._connections:
            self.topic(topic, message_type)
        self._writer.write(self._connections[topic], received, data)

    def flag(self, topic: str, value: bool, received: int) -> None:
        self.write(topic, STORE.types["std_msgs/msg/Bool"](data=value), received)

    def embedding(
        self, values: NDArray[np.float32], stamp: int, received: int | None = None, **changes: Any
    ) -> None:
        fields = changes.pop("fields", [point_field("embedding", 0, count=values.size)])
        message = cloud(values, 1, 1, fields, stamp, **changes)
        self.write(EMBEDDING, message, stamp if received is None else received)

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
    types = STORE.types
    seconds, nanoseconds = divmod(stamp, SECOND)
    point_step = 4 * values.size // (height * width)
    content = {
        "header": types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds),
            frame_id="",
        ),
        "height": height,
        "width": width,
        "fields": fields,
        "is_bigendian": False,
        "point_step": point_step,
        "row_step": point_step * width,
        "data": np.frombuffer(values.astype(np.float32).tobytes(), dtype=np.uint8),
        "is_dense": True,
    }
    return types["sensor_msgs/msg/PointCloud2"](**(content | changes))


def decision_arrays(
    count: int, *, embedding_size: int = 6, samples: int = 4, horizon: int = 5, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings (count, E) and chunks (count, B, H, 3)."""
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
    """A bag of one whole rollout, a decision every 0.1 s."""
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
