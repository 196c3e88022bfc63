# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings, action chunks and tokens as sensor_msgs/PointCloud2: layout, and how they are read.

PointCloud2 is the one stamped, self-describing container of named floats among the standard
messages. An embedding is a 1×1 cloud with one FLOAT32 field `embedding` of count E. A batch of
action chunks is a cloud of height B (samples) and width H (future actions) with one FLOAT32
field per action dimension, named after it. Tokens are a cloud of height 1 and width N with one
FLOAT32 field `token` of count F. The header's stamp is the observation's.

The readers accept any object with the attributes of PointCloud2, from rclpy or from a bag reader.
They import no ROS.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError

EMBEDDING_FIELD = "embedding"
TOKEN_FIELD = "token"
FLOAT32 = 7
"""PointField.FLOAT32."""


class PointCloudError(FailureMonitorError):
    """A PointCloud2 message that holds no embedding, action chunks or tokens."""


def read_embedding(message: Any) -> NDArray[np.float32]:
    """Return the embedding, float32 (E,), as a view on the message's data.

    Raises:
        PointCloudError: the message has another layout.
    """
    fields = [(field.name, field.datatype) for field in message.fields]
    if fields != [(EMBEDDING_FIELD, FLOAT32)] or (message.height, message.width) != (1, 1):
        raise PointCloudError(
            f"an embedding is a 1×1 cloud with one FLOAT32 field '{EMBEDDING_FIELD}', got "
            f"{message.height}×{message.width} with fields {_describe(message)}: publish it with "
            "DecisionTap, or in this layout"
        )
    size = message.fields[0].count
    return _read_floats(message, per_point=size).reshape(size)


def read_action_chunks(message: Any) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the names of the D action dimensions, and the chunks, float32 (B, H, D), as a view.

    Raises:
        PointCloudError: the message has another layout.
    """
    names = tuple(field.name for field in message.fields)
    dimensions = len(names)
    packed = all(
        (field.datatype, field.count, field.offset) == (FLOAT32, 1, 4 * index)
        for index, field in enumerate(message.fields)
    )
    if not names or not packed:
        raise PointCloudError(
            "action chunks are a cloud of packed FLOAT32 fields, one per action dimension, got "
            f"fields {_describe(message)}: publish them with DecisionTap, or in this layout"
        )
    floats = _read_floats(message, per_point=dimensions)
    return names, floats.reshape(message.height, message.width, dimensions)


def read_tokens(message: Any) -> NDArray[np.float32]:
    """Return the tokens, float32 (N, F), as a view on the message's data.

    Raises:
        PointCloudError: the message has another layout.
    """
    fields = [(field.name, field.datatype) for field in message.fields]
    if fields != [(TOKEN_FIELD, FLOAT32)] or message.height != 1:
        raise PointCloudError(
            f"tokens are a cloud of height 1 with one FLOAT32 field '{TOKEN_FIELD}', got "
            f"{message.height}×{message.width} with fields {_describe(message)}: publish them "
            "with DecisionTap, or in this layout"
        )
    size = message.fields[0].count
    return _read_floats(message, per_point=size).reshape(message.width, size)


def _read_floats(message: Any, per_point: int) -> NDArray[np.float32]:
    if bool(message.is_bigendian) != (sys.byteorder == "big"):
        raise PointCloudError(
            "the cloud's byte order is not this machine's (is_bigendian is "
            f"{bool(message.is_bigendian)}): publish it in the order of the machine that reads it"
        )
    points = message.height * message.width
    expected = (4 * per_point, 4 * per_point * message.width, 4 * per_point * points)
    got = (message.point_step, message.row_step, len(message.data))
    if got != expected or points * per_point == 0:
        raise PointCloudError(
            f"a {message.height}×{message.width} cloud of {per_point} floats per point has "
            "(point_step, row_step, bytes) = "
            f"{expected}, got {got}: the data are truncated, padded or empty; check the publisher"
        )
    return np.frombuffer(message.data, dtype=np.float32)


def _describe(message: Any) -> str:
    fields = [(f.name, f"type {f.datatype}", f"count {f.count}") for f in message.fields]
    return ", ".join(" ".join(field) for field in fields) or "none"
