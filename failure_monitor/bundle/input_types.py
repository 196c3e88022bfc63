# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The message types of the monitor's inputs that may be of several: as they were recorded.

Bundles from before these types were kept, and topics that no recording had, go by their names.
"""

from __future__ import annotations

from failure_monitor.bundle.description import BundleDescription

IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
FLOAT64, FLOAT32 = "std_msgs/msg/Float64", "std_msgs/msg/Float32"
NUMBERS = (FLOAT64, FLOAT32)

COMPRESSED = "/compressed"
"""Ending of topics of sensor_msgs/CompressedImage, as image_transport names them."""


def image_type(topic: str, description: BundleDescription | None) -> str:
    """Return the type of a camera's topic.

    A topic that was not recorded is of CompressedImage, too, where all cameras that were recorded
    are, and not all of their names end with /compressed.
    """
    types = {} if description is None else description.message_types
    if topic in types:
        return types[topic]
    cameras = {name: kind for name, kind in types.items() if kind not in NUMBERS}
    are_compressed = set(cameras.values()) == {COMPRESSED_IMAGE}
    is_name_unusual = are_compressed and not all(name.endswith(COMPRESSED) for name in cameras)
    return COMPRESSED_IMAGE if is_name_unusual or topic.endswith(COMPRESSED) else IMAGE


def number_type(topic: str, description: BundleDescription | None) -> str:
    """Return the type of an external score's topic."""
    return FLOAT64 if description is None else description.message_types.get(topic, FLOAT64)
