# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The heat map of an encoder that looks at several observations and is told its task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.messages.observation_history import History
from failure_monitor.monitoring.unfamiliarity import (
    embedding_score,
    score_embedding,
    unfamiliarity,
)
from failure_monitor.policy_models.models import ImageSize
from failure_monitor.ros.displays.heat_map import HeatMap

pytestmark = pytest.mark.ros


class Encoder:
    """Embeds two pictures as the colours of their four quarters, of which six are left."""

    cameras = {"camera": ImageSize(48, 64)}  # noqa: RUF012
    joint_names = ()
    history = History(observations=2, spacing=0.1)

    def __init__(self) -> None:
        self.tasks: set[str] = set()

    def embed(self, images: Mapping[str, Any], joints: Any = None, task: str = "") -> Any:
        self.tasks.add(task)
        assert images["camera"].shape == (2, 48, 64, 3)
        seen = images["camera"].astype(np.float32).mean(axis=0)
        quarters = [half for rows in np.split(seen, 2) for half in np.split(rows, 2, axis=1)]
        return np.array([quarter.mean() for quarter in quarters] + [0, 0], np.float32) / 10


def seen(*pictures: np.ndarray) -> MatchedMessages:
    messages = [
        {"camera": Image(height=48, width=64, step=192, encoding="rgb8", data=one.tobytes())}
        for one in pictures
    ]
    return MatchedMessages(1, messages[-1], tuple(messages[:-1]))


def test_what_is_strange_in_all_pictures_is_covered_in_all(bundle: Bundle):
    encoder, score = Encoder(), embedding_score(bundle.scores)
    plain = np.zeros((48, 64, 3), np.uint8)
    strange, before = plain.copy(), plain.copy()
    strange[30:42, 8:24] = before[30:42, 8:24] = 255
    heat_map = HeatMap(encoder, score)
    try:
        heat_map.update(seen(plain, plain), 0, {score.name: 0.2}, task="pick", is_wanted=True)
        heat_map.update(seen(before, strange), 1, {score.name: 1.4}, task="pick", is_wanted=True)
        end = time.monotonic() + 20
        while (found := heat_map.latest(time.monotonic())) is None:
            assert not heat_map.problem
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        heat_map.stop()
    row, column = np.unravel_index(found.share.argmax(), found.share.shape)
    assert 30 <= 6 * (row + 0.5) <= 42
    assert 8 <= 8 * (column + 0.5) <= 24
    assert encoder.tasks == {"pick"}

    def novelty(covered: np.ndarray) -> float:
        both = {"camera": np.stack([covered, covered])}
        return score_embedding(score, encoder.embed(both), 1)

    expected = unfamiliarity(strange, plain, novelty, score=score.name)
    np.testing.assert_allclose(found.share, expected.share, atol=1e-6)
