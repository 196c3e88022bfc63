# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy node that decides at 20 Hz, well or badly, by the words on `policy/script`.

nominal        decisions like those that the bundle was calibrated on
strange        observations unlike them
far            observations so far off that the network of scoring_model.py fails
nan            embeddings with a NaN
wrong_shape    one chunk too few
no_embedding   chunks alone
no_chunks      embeddings alone
ahead          stamps of a clock that is a minute ahead
behind         stamps of a clock that is a minute behind
set_back       stamps of a clock that is half a second behind
repeated       every decision a second time with the same stamp, and strange then
burst          three strange decisions at once after each other one
rare_embedding the embedding of one decision in fifteen alone
often          500 decisions a second
flood          as many decisions as can be published
silent         nothing
"""

import time
from itertools import cycle

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header, String

from failure_monitor.parameters.topics import ACTION_CHUNKS_TOPIC, EMBEDDING_TOPIC
from failure_monitor.ros.common.messages import action_chunks_message, embedding_message
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.tap import DecisionTap
from testbed.faults.scoring_model import FARTHEST
from testbed.synthetic import POLICY, synthetic_rollout

PERIOD = 0.05
OFTEN = 0.002
MINUTE, HALF_A_SECOND = 60.0, 0.5


class ScriptedPolicy(Node):
    """Publishes with the tap, as in the README."""

    def __init__(self) -> None:
        super().__init__("policy")
        self._tap = DecisionTap(self, action_names=POLICY.action_names)
        own = {publisher.topic_name: publisher for publisher in self.publishers}
        self._embeddings = own[self.resolve_topic_name(EMBEDDING_TOPIC)]
        self._chunks = own[self.resolve_topic_name(ACTION_CHUNKS_TOPIC)]
        self._decisions = cycle(list(synthetic_rollout(0).decisions()))
        self._script = {"nominal"}
        self._last_stamp = Time()
        self._count = 0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "policy/script", self._on_script, latched)
        self.create_timer(PERIOD, self._act, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_script(self, script: String) -> None:
        self._script = set(script.data.split())

    def _act(self) -> None:
        self._decide()
        if "repeated" in self._script:
            self._decide(is_strange=True, is_repeated=True)
        for _ in range(3 if "burst" in self._script else 0):
            self._decide(is_strange=True)
        end = time.monotonic() + 0.8 * PERIOD
        while "often" in self._script and time.monotonic() < end - OFTEN:
            time.sleep(OFTEN)
            self._decide()
        while "flood" in self._script and time.monotonic() < end:
            self._decide()

    def _decide(self, *, is_strange: bool = False, is_repeated: bool = False) -> None:
        decision = next(self._decisions)
        embedding, chunks = decision.embedding.copy(), decision.chunks
        if is_strange or "strange" in self._script:
            embedding += 10.0
        if "far" in self._script:
            embedding += 2 * FARTHEST
        if "nan" in self._script:
            embedding[0] = np.nan
        if "wrong_shape" in self._script:
            chunks = chunks[1:]
        if not is_repeated:
            self._last_stamp = self._stamp()
        header = Header(stamp=self._last_stamp)
        self._count += 1
        is_rare = "rare_embedding" in self._script and self._count % 15 != 0
        if is_rare or "no_embedding" in self._script:
            self._chunks.publish(action_chunks_message(chunks, POLICY.action_names, header))
        elif "no_chunks" in self._script:
            self._embeddings.publish(embedding_message(embedding, header))
        elif "silent" not in self._script:
            self._tap.publish(embedding, chunks, header.stamp)

    def _stamp(self) -> Time:
        lead = MINUTE * (("ahead" in self._script) - ("behind" in self._script))
        lead -= HALF_A_SECOND * ("set_back" in self._script)
        return (self.get_clock().now() + Duration(seconds=lead)).to_msg()


if __name__ == "__main__":
    run_node(ScriptedPolicy)
