# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy node that decides at 20 Hz, well or badly, as `policy/script` says.

nominal        decisions like those that the bundle was calibrated on
strange        observations unlike them
nan            embeddings with a NaN
wrong_shape    one chunk too few
no_embedding   chunks alone
no_chunks      embeddings alone
silent         nothing
"""

import sys
from itertools import cycle
from pathlib import Path

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header, String

from failure_monitor.ros.messages import action_chunks_message, embedding_message
from failure_monitor.ros.run import run_node
from failure_monitor.ros.tap import ACTION_CHUNKS_TOPIC, EMBEDDING_TOPIC, DecisionTap

sys.path.insert(0, str(Path(__file__).parents[1]))
from synthetic import POLICY, synthetic_rollout

PERIOD = 0.05


class ScriptedPolicy(Node):
    """Publishes with the tap, as the README says."""

    def __init__(self) -> None:
        super().__init__("policy")
        self._tap = DecisionTap(self, action_names=POLICY.action_names)
        own = {publisher.topic_name: publisher for publisher in self.publishers}
        self._embeddings = own[self.resolve_topic_name(EMBEDDING_TOPIC)]
        self._chunks = own[self.resolve_topic_name(ACTION_CHUNKS_TOPIC)]
        self._decisions = cycle(list(synthetic_rollout(0).decisions()))
        self._script = "nominal"
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "policy/script", self._on_script, latched)
        self.create_timer(PERIOD, self._decide, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_script(self, script: String) -> None:
        self._script = script.data

    def _decide(self) -> None:
        decision = next(self._decisions)
        embedding, chunks = decision.embedding.copy(), decision.chunks
        stamp = self.get_clock().now().to_msg()
        if self._script == "strange":
            embedding += 10.0
        elif self._script == "nan":
            embedding[0] = np.nan
        elif self._script == "wrong_shape":
            chunks = chunks[1:]
        header = Header(stamp=stamp)
        if self._script == "no_embedding":
            self._chunks.publish(action_chunks_message(chunks, POLICY.action_names, header))
        elif self._script == "no_chunks":
            self._embeddings.publish(embedding_message(embedding, header))
        elif self._script != "silent":
            self._tap.publish(embedding, chunks, stamp)


if __name__ == "__main__":
    run_node(ScriptedPolicy)
