# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A reward from outside: a score of every decision, and a judge of the whole rollout.

tap.publish(embedding, chunks, stamp, extras=reward_score(reward))      at every decision
judge.publish(reward)                                                   at a rollout's end
"""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Float64

from failure_monitor.parameters.topics import judge_topic


def reward_score(reward: float, *, best: float = 1.0) -> dict[str, float]:
    """Return what is missing to the best reward, which is larger where things go worse."""
    return {"missing_reward": best - reward}


class RewardJudge:
    """Publishes what a reward model says of the end of a rollout: higher is better."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(Float64, judge_topic("reward"), 10)

    def publish(self, reward: float) -> None:
        """Judge the rollout that has just ended, before the next starts."""
        self._publisher.publish(Float64(data=reward))
