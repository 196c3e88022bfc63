# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts, and bags with cameras, that become LeRobotDatasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.sources.rollout_set import RolloutSet
from testbed.bags import ACTIVE, BEGIN, PERIOD, STORE, SUCCESS, BagBuilder, decision_arrays, header

IMAGE_PERIOD = PERIOD // 4
NAMES = ("x", "y")


def rollout(name: str, *, decisions: int = 6, seed: int = 0, **changes: object) -> Rollout:
    rng = np.random.default_rng(seed)
    chunks = rng.normal(size=(decisions, 1, 5, 2)) + 0.05 * rng.normal(size=(decisions, 3, 5, 2))
    settings = {
        "stamps": 100.0 + 0.4 * np.arange(decisions),
        "embeddings": rng.normal(size=(decisions, 7)).astype(np.float32),
        "chunks": chunks.astype(np.float32),
        "success": True,
        "sha256": str(seed),
        "task": "Becher füllen",
    }
    return Rollout(name, **(settings | changes))


def rollout_set(*rollouts: Rollout, **changes: object) -> RolloutSet:
    policy = PolicyFormat(7, 3, 5, NAMES, executed_actions=4, control_period=0.1)
    return RolloutSet(policy, rollouts, **changes)


def write_camera_bag(path: Path, *, seed: int = 0, topics: Sequence[str] = ("/front/image_raw",)):
    """A bag of 6 decisions, and of images at four times their rate, brighter by 5 each."""
    embeddings, chunks = decision_arrays(6, seed=seed)
    with BagBuilder(path) as bag:
        bag.flag(ACTIVE, True, BEGIN - 1)
        for index in range(6):
            bag.embedding(embeddings[index], BEGIN + index * PERIOD)
            bag.chunks(chunks[index], BEGIN + index * PERIOD)
        for index in range(-2, 24):
            stamp = BEGIN + index * IMAGE_PERIOD
            for topic in topics:
                bag.write(topic, image(stamp, 20 + 5 * index), stamp + 1000)
        bag.flag(SUCCESS, False, BEGIN + 6 * PERIOD)
        bag.flag(ACTIVE, False, BEGIN + 6 * PERIOD + 1)
    return path


def image(stamp: int, brightness: int):
    return STORE.types["sensor_msgs/msg/Image"](
        header=header(stamp),
        height=33,
        width=48,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * 48,
        data=np.full(33 * 48 * 3, brightness, np.uint8),
    )
