# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A robot's node that asks a policy server at 20 Hz, and a server with nominal decisions.

As a program it is the server, which serves at a port until it is killed:
`python -m testbed.faults.served_policy server PORT`; else the node, whose server is at the port
in the environment.
"""

import os
import sys
import threading
from itertools import cycle

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from failure_monitor.policies.openpi.client import PolicyServerError, TappedClient
from failure_monitor.policies.openpi.messages import KEY
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.ros.common.run import run_node
from failure_monitor.ros.tap import DecisionTap
from testbed.faults.cell import POLICY_PERIOD
from testbed.policy_server import PolicyServer
from testbed.synthetic import POLICY, synthetic_rollout

PORT = "POLICY_SERVER_PORT"
ANSWER_TIMEOUT = 0.3


class NominalPolicy:
    """Answers as a WatchedPolicy does, with decisions like those of calibration."""

    def __init__(self) -> None:
        self._decisions = cycle(list(synthetic_rollout(0).decisions()))

    def infer(self, obs):
        decision = next(self._decisions)
        watched = {"embedding": decision.embedding, "chunks": decision.chunks}
        return {
            "actions": decision.chunks[0],
            KEY: {"request": obs[KEY]["request"], **watched},
        }


class ServedRobot(Node):
    """Connects, asks and publishes as docs/openpi.md has it."""

    def __init__(self) -> None:
        super().__init__("policy")
        self._client = TappedClient(
            "127.0.0.1",
            int(os.environ[PORT]),
            clock=self.get_clock().now,
            answer_timeout=ANSWER_TIMEOUT,
            first_answer_timeout=ANSWER_TIMEOUT,
            connect_timeout=ANSWER_TIMEOUT,
        )
        tap = DecisionTap(
            self, action_names=POLICY.action_names, description=self._client.description
        )
        self._client.on_decision = lambda decision, stamp: tap.publish(
            decision.embedding, decision.chunks, stamp
        )
        self.create_timer(POLICY_PERIOD, self._act, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _act(self) -> None:
        try:
            self._client.infer({"observation/state": np.zeros(3, np.float32)})
        except PolicyServerError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["server"]:
        metadata = {KEY: PolicyDescription(policy="pi0").to_json()}
        server = PolicyServer(NominalPolicy(), metadata, port=int(sys.argv[2]))
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        threading.Event().wait()
    run_node(ServedRobot)
