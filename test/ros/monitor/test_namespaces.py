# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Several monitors in one domain, one of each arm: none hears or stops the other."""

import dataclasses

import pytest
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Bool, Header
from testbed.ros_graph import NodeProcess, Observer

from failure_monitor.ros.common.messages import action_chunks_message, embedding_message

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
ARMS = ("left", "right")


class TwoArms(Observer):
    """Plays the policies of two arms."""

    def __init__(self, policy) -> None:
        super().__init__(policy.action_names)
        self._names = policy.action_names
        self._publishers = {
            arm: [
                self.node.create_publisher(PointCloud2, f"{arm}/policy/{half}", 10)
                for half in ("embedding", "action_chunks")
            ]
            for arm in ARMS
        }
        self.listen("/diagnostics", DiagnosticArray)
        for arm in ARMS:
            self.listen(f"/{arm}/failure_monitor/alarm", DiagnosticStatus)
            self.listen(f"/{arm}/failure_monitor/permit", Bool)

    def is_connected(self, arm: str) -> bool:
        return all(p.get_subscription_count() for p in self._publishers[arm]) and bool(
            self.received[f"/{arm}/failure_monitor/alarm"]
        )

    def decide_for(self, arm: str, decision) -> None:
        stamp = self.next_stamp()
        header = Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9))
        embeddings, chunks = self._publishers[arm]
        embeddings.publish(embedding_message(decision.embedding, header))
        chunks.publish(action_chunks_message(decision.chunks, self._names, header))

    def permits(self, arm: str) -> bool:
        permits = self.received[f"/{arm}/failure_monitor/permit"]
        return bool(permits) and permits[-1].data

    def state_of(self, arm: str) -> str:
        values = self.received[f"/{arm}/failure_monitor/alarm"][-1].values
        return {value.key: value.value for value in values}["state"]


def test_each_arm_has_its_own_alarm(bundle_folder, policy, rollouts):
    decision = next(rollouts[0].decisions())
    strange = dataclasses.replace(decision, embedding=decision.embedding + 5)
    rclpy.init()
    arms = TwoArms(policy)
    processes = [
        NodeProcess(
            MONITOR,
            *("-r", f"__ns:=/{arm}", "-p", f"bundle:={bundle_folder}"),
            *("-p", "max_joint_state_age:=0.0", "-p", "max_decision_age:=20.0"),
            *("-p", "rollout_boundaries:=none"),
        )
        for arm in ARMS
    ]
    try:
        for arm in ARMS:
            arms.wait_for(lambda arm=arm: arms.is_connected(arm), f"the monitor of the {arm} arm")
        arms.decide_for("left", decision)
        arms.wait_for(lambda: arms.permits("left"), "the left arm's permit")
        assert not arms.permits("right")
        arms.decide_for("right", decision)
        arms.wait_for(lambda: arms.permits("right"), "the right arm's permit")
        arms.decide_for("left", strange)
        arms.wait_for(lambda: arms.state_of("left") == "ALARM", "the left arm's alarm")
        arms.wait_for(lambda: not arms.permits("left"), "the left arm's stop")
        arms.spin(0.3)
        assert arms.permits("right")
        assert arms.state_of("right") == "NOMINAL"
        arms.wait_for(
            lambda: (
                {f"{arm}/failure_monitor: {what}" for arm in ARMS for what in ("alarm", "scoring")}
                <= {
                    status.name
                    for array in arms.received["/diagnostics"]
                    for status in array.status
                }
            ),
            "diagnostics that tell the arms apart",
        )
    finally:
        for process in processes:
            process.end()
        arms.node.destroy_node()
        rclpy.try_shutdown()
