# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of decisions as a robot records them, for bags that benchmarks write."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND
"""Stamp of the first observation, in nanoseconds."""

LATENCY = SECOND // 20
"""Nanoseconds from an observation to its decision."""

EMBEDDINGS, CHUNKS = "/policy/embedding", "/policy/action_chunks"
CLOUD = "sensor_msgs/msg/PointCloud2"
FLOAT32 = 7
"""How a PointField calls the type."""


def header(stamp: int) -> Any:
    """Return a header with a stamp in nanoseconds."""
    time = TYPES.types["builtin_interfaces/msg/Time"](*divmod(stamp, SECOND))
    return TYPES.types["std_msgs/msg/Header"](time, "base")


def cloud_message(
    stamp: int, values: np.ndarray, height: int, width: int, named: list[tuple[str, int]]
) -> Any:
    """Return a PointCloud2 of float32 values with a field for each name and count."""
    field = TYPES.types["sensor_msgs/msg/PointField"]
    step = values.nbytes // (height * width)
    return TYPES.types[CLOUD](
        header=header(stamp),
        height=height,
        width=width,
        fields=[field(name, 4 * index, FLOAT32, n) for index, (name, n) in enumerate(named)],
        is_bigendian=False,
        point_step=step,
        row_step=step * width,
        data=values.reshape(-1).view(np.uint8),
        is_dense=True,
    )
