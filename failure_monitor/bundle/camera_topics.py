# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of the cameras that an observation encoder sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from failure_monitor.bundle.description import BundleDescription
from failure_monitor.errors import UsageError


def camera_topics(
    cameras: Sequence[str], given: Sequence[str], description: BundleDescription
) -> Mapping[str, str]:
    """Return the topic of every camera, by its name, in the encoder's order.

    Args:
        cameras: the names of the encoder's cameras.
        given: what the parameter image_topics names, which may be nothing. Otherwise the topics
            are those of the recordings that the bundle was calibrated on, or else the cameras'
            names.
        description: of the bundle.

    Raises:
        UsageError: there are more or fewer topics than cameras.
    """
    topics = [topic for topic in given if topic]
    if topics and len(topics) != len(cameras):
        raise UsageError(
            f"image_topics names {len(topics)} topics, the encoder has {len(cameras)} cameras "
            f"({', '.join(cameras)}): give a topic for each, in this order"
        )
    if topics:
        return dict(zip(cameras, topics, strict=True))
    recorded = _recorded(description)
    return {camera: recorded.get(camera, camera) for camera in cameras}


def first_camera_topic(given: Sequence[str], description: BundleDescription | None = None) -> str:
    """Return the topic of the first camera; empty if none is known."""
    recorded = {} if description is None else _recorded(description)
    return next(filter(None, (*given, *recorded.values())), "")


def _recorded(description: BundleDescription) -> Mapping[str, str]:
    return {} if description.black_box is None else description.black_box.cameras
