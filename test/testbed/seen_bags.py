# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of a robot that sees the scenes of `testbed.scenes`, whose policy publishes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from failure_monitor.policy_models.observation import Observation
from testbed.bags import STORE, BagBuilder, header
from testbed.scenes import CAMERAS, JOINTS

MILLISECOND = 1_000_000
TOPICS = {name: f"/{name}" for name in CAMERAS}


def write_scene(bag: BagBuilder, seen: Observation, stamp: int) -> None:
    """Write what is seen: the joints first, so that the camera's image completes it."""
    bag.joint_state("/joint_states", JOINTS, [float(one) for one in seen.joints], stamp)
    for name in reversed(CAMERAS):
        bag.write(TOPICS[name], image(seen.images[name], stamp), stamp)


def image(pixels: np.ndarray, stamp: int) -> Any:
    height, width, _ = pixels.shape
    return STORE.types["sensor_msgs/msg/Image"](
        header=header(stamp),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def with_histories(
    moments: Mapping[int, Observation], spacing: int, kept: int = 2
) -> list[Observation]:
    """Return the observations as an encoder of several takes them.

    Args:
        moments: what was seen, by stamp; stamps lie evenly.
        spacing: nanoseconds between the observations that are taken.
        kept: how many are taken.
    """
    first = min(moments)
    seen = []
    for stamp in moments:
        at = [max(first, stamp - back * spacing) for back in range(kept - 1, -1, -1)]
        images = {name: np.stack([moments[one].images[name] for one in at]) for name in CAMERAS}
        seen.append(Observation(stamp, images, np.stack([moments[one].joints for one in at])))
    return seen
