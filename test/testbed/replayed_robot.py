# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles calibrated from bags, and a robot that publishes what a bag holds, at a bag's stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from std_msgs.msg import Header

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.ros.common.messages import action_chunks_message, embedding_message
from failure_monitor.scores import registry
from failure_monitor.scores.base.score import Score
from failure_monitor.sources.rollout_set import RolloutSet
from testbed.bags import BEGIN, PERIOD, SECOND
from testbed.ros_graph import Observer
from testbed.synthetic import POLICY, synthetic_rollout

EMBEDDING, CHUNKS = "/policy/embedding", "/policy/action_chunks"
PARAMETERS = {
    "rollout_boundaries": "none",
    "max_joint_state_age": 0.0,
    "max_decision_age": 10.0,
    # Stamps here are of no clock.
    "max_plan_age": 0.0,
}


def known(score: type[Score]) -> Iterator[None]:
    """Make a score known for a while: other tests go over all scores of the registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.SCORES, score.name, score)
        yield


def calibrated_from_bags(
    folder: Path,
    write_bag: Callable[[Path, int], Path],
    read: Callable[..., RolloutSet],
    *scores: str,
    window: int = 1,
) -> tuple[Bundle, RolloutSet]:
    """Return the bundle of nine successes, and what was read of their bags."""
    known = read(*(write_bag(folder / f"rollout_{seed}", seed) for seed in range(9)))
    settings = CalibrationSettings(scores=scores, window=window, folds=3, jobs=1)
    rollouts = [replace(rollout, success=True) for rollout in known.rollouts]
    return calibrate(rollouts, known.policy, settings), known


class ReplayedRobot(Observer):
    """Publishes what a bag holds, or decisions of its own.

    Attributes:
        publishers: of every topic.
        stamp: of its next decision, in nanoseconds.
    """

    def __init__(self, topics: Mapping[str, type]) -> None:
        """Publish these topics, by their types, beside those of the policy."""
        super().__init__(POLICY.action_names)
        self._measured = {
            topic: self.node.create_publisher(kind, topic, 100) for topic, kind in topics.items()
        }
        self.publishers: dict[str, Any] = {
            **self._measured,
            EMBEDDING: self.embeddings,
            CHUNKS: self.chunks,
        }
        self.listen_to_monitor()
        self.stamp = BEGIN
        self.decision = next(synthetic_rollout(0).decisions())

    def wait_until_there(self) -> None:
        self.wait_for_monitor_alarm()
        for topic, publisher in self._measured.items():
            self.wait_for(publisher.get_subscription_count, f"the monitor to subscribe to {topic}")

    def publish(self, topic: str, message: object) -> None:
        if topic == EMBEDDING:
            # What came before it has come by then: topics keep no order among one another.
            self.spin(0.1)
        self.publishers[topic].publish(message)
        self.spin(0.02)

    def replay(self, bag: Path) -> Iterator[str]:
        """Publish the messages of a bag as they were received; yield each topic after it."""
        with Reader(bag) as reader:
            for connection, _, data in reader.messages():
                kind = self.publishers[connection.topic].msg_type
                self.publish(connection.topic, deserialize_message(bytes(data), kind))
                yield connection.topic

    def header(self, ahead: int = 0) -> Header:
        """Return one of the next decision's stamp, or so many nanoseconds ahead of it."""
        seconds, rest = divmod(self.stamp + ahead, SECOND)
        return Header(stamp=Time(sec=seconds, nanosec=rest))

    def decide_next(self) -> None:
        """Publish a decision, with the next stamp."""
        header = self.header()
        self.publish(EMBEDDING, embedding_message(self.decision.embedding, header))
        chunks = action_chunks_message(self.decision.chunks, POLICY.action_names, header)
        self.publish(CHUNKS, chunks)
        self.stamp += PERIOD
