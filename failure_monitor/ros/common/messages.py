# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Values as ROS messages, without the slow checks of rclpy."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from failure_monitor.messages.point_cloud import EMBEDDING_FIELD, TOKEN_FIELD


def embedding_message(embedding: NDArray[np.float32], header: Header) -> PointCloud2:
    """Return an observation embedding (E,) as a 1×1 cloud.

    The format is described in `failure_monitor.messages.point_cloud`.
    """
    field = PointField(
        name=EMBEDDING_FIELD, offset=0, datatype=PointField.FLOAT32, count=embedding.size
    )
    return _cloud(header, height=1, width=1, fields=[field], values=embedding)


def action_chunks_message(
    chunks: NDArray[np.float32], action_names: Sequence[str], header: Header
) -> PointCloud2:
    """Return action chunks (B, H, D) as a cloud of height B, width H and a field per dimension."""
    samples, horizon, _ = chunks.shape
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(action_names)
    ]
    return _cloud(header, height=samples, width=horizon, fields=fields, values=chunks)


def tokens_message(tokens: NDArray[np.float32], header: Header) -> PointCloud2:
    """Return tokens (N, F) as a cloud of height 1 and width N with one field of count F."""
    number, size = tokens.shape
    field = PointField(name=TOKEN_FIELD, offset=0, datatype=PointField.FLOAT32, count=size)
    return _cloud(header, height=1, width=number, fields=[field], values=tokens)


def _cloud(
    header: Header, height: int, width: int, fields: list[PointField], values: NDArray[np.float32]
) -> PointCloud2:
    point_step = 4 * values.size // (height * width)
    # rclpy takes array.array as it is; it would check bytes or a list value by value.
    data = array.array("B", np.ascontiguousarray(values, dtype=np.float32).tobytes())
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=fields,
        is_bigendian=False,
        point_step=point_step,
        row_step=point_step * width,
        data=data,
        is_dense=True,
    )


def stamp_message(nanoseconds: int) -> Time:
    """Return the stamp of a whole number of nanoseconds."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Time(sec=seconds, nanosec=rest)


def stamp_nanoseconds(stamp: Time) -> int:
    """Return a stamp as whole nanoseconds, which pair messages of one observation exactly."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
