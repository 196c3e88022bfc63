# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The examples of scores from outside over DDS: recorded, calibrated on, evaluated, watched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.time import Time
from std_msgs.msg import Bool
from testbed.command_line import run_here
from testbed.outside_models import SCORES, rollout, scores_of
from testbed.ros_graph import Observer, node_process

from examples.external_scores.reward import RewardJudge
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.common.qos import DECISION_QOS, LATCHED_QOS
from failure_monitor.ros.tap import DecisionTap

pytestmark = pytest.mark.ros

RECORDER = "failure_monitor.ros.recording.record_node"
MONITOR = "failure_monitor.ros.monitor.node"
OUTCOME = "failure_monitor/outcome"
ACTIONS = ("x", "y", "z")
SUCCESSES = ("",) * 10
FAILURES = tuple(SCORES) * 3
PERIOD = 0.01


class Policy(Observer):
    """Publishes all four scores with its decisions, and judges its rollouts by the reward."""

    def __init__(self) -> None:
        super().__init__(ACTIONS)
        self.publish_no_embeddings()
        self.node.destroy_publisher(self.chunks)
        description = PolicyDescription(action_kind="position", extras=tuple(SCORES.values()))
        self.tap = DecisionTap(self.node, action_names=ACTIONS, description=description)
        self.judge = RewardJudge(self.node)
        self.recording = self.node.create_publisher(Bool, "recording", LATCHED_QOS)
        self.active = self.node.create_publisher(Bool, "rollout/active", DECISION_QOS)
        self.label = self.node.create_publisher(Bool, "rollout/label", DECISION_QOS)
        self.listen_to_monitor()
        self.listen(OUTCOME, DiagnosticStatus, LATCHED_QOS)

    def run(self, seed: int, fault: str) -> float:
        """Decide until the rollout is over; return the reward at its end."""
        for seen in rollout(seed, fault):
            stamp = Time(nanoseconds=self.next_stamp())
            self.tap.publish(seen.embedding, seen.chunks, stamp, extras=scores_of(seen))
            self.spin(PERIOD)
        return seen.reward

    def record(self, folder: Path) -> list[Path]:
        """Record a bag of successes and one of failures, each judged and labelled at its end."""
        self.recording.publish(Bool(data=False))
        topics = "['/policy/*', '/external_scores/*', '/judges/*', '/rollout/*']"
        settings = {"boundary_topic": "recording", "topics": topics, "tail": 0.2}
        with node_process(RECORDER, output=folder, **settings):
            wanted = [f"/external_scores/{name}" for name in SCORES.values()]
            wanted += ["/policy/embedding", "/policy/action_chunks", "/judges/reward/number"]
            wanted += ["/rollout/active", "/rollout/label", "/recording"]
            self.wait_for(lambda: all(map(self.node.count_subscribers, wanted)), "the recorder")
            bags = []
            for number, faults in enumerate((SUCCESSES, FAILURES)):
                self.recording.publish(Bool(data=True))
                self.spin(0.1)
                for index, fault in enumerate(faults):
                    self.active.publish(Bool(data=True))
                    self.spin(PERIOD)
                    reward = self.run(20000 + 100 * number + index, fault)
                    self.active.publish(Bool(data=False))
                    self.spin(PERIOD)
                    self.judge.publish(reward)
                    self.label.publish(Bool(data=not fault))
                    self.spin(PERIOD)
                self.recording.publish(Bool(data=False))
                bags.append(folder / f"rollout_{number:04d}")
                self.wait_for(bags[-1].exists, "the bag")
        return bags

    def outcome(self) -> dict[str, str]:
        said = self.received[OUTCOME]
        return read_key_values(said[-1].values) if said else {}


@pytest.fixture
def policy():
    rclpy.init()
    try:
        policy = Policy()
        yield policy
        policy.node.destroy_node()
    finally:
        rclpy.try_shutdown()


def run(*arguments: object) -> None:
    result = run_here(*arguments)
    assert result.exit_code == 0, result.stderr


def test_all_are_recorded_calibrated_evaluated_and_watched_live(policy, tmp_path):
    bags = policy.record(tmp_path / "bags")
    bundle, judge = tmp_path / "bundle", tmp_path / "reward.json"
    scores = ",".join(f"external:{name}" for name in SCORES.values())
    run(
        *("calibrate", bags[0], "--output", bundle, "--scores", scores, "--rule", "any"),
        *("--threshold", "time-varying", "--window", 2, "--executor", "serial"),
    )
    run("calibrate-judge", *bags, "--name", "reward", "--output", judge)
    run("evaluate", bundle, bags[1], "--judge", judge, "--json", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    overall = figures["metrics"]["overall"]
    assert (overall["n_failure"], overall["tpr"]) == (len(FAILURES), 1.0)
    assert figures["judge"]["failures"]["rollouts"] == len(FAILURES)

    settings = {"max_joint_state_age": 0.0, "max_decision_age": 20.0, "promise_folder": tmp_path}
    with node_process(MONITOR, bundle=bundle, judges=f"[{judge}]", **settings):
        policy.wait_for(policy.state, "an alarm message")
        for fault, score in SCORES.items():
            assert policy.trigger("failure_monitor/start_rollout").success
            reward = policy.run(20300, fault)
            policy.wait_for_state("ALARM")
            assert f"external:{score}" in policy.reason()
            assert policy.set_bool("failure_monitor/end_rollout", True).success
            policy.wait_for(lambda: policy.outcome().get("ended") == "true", "the end")
            policy.judge.publish(reward)
            # The reward alone sees that nothing is reached any more.
            word = "doubtful" if fault == "reward" else "accepted"
            policy.wait_for(
                lambda word=word: policy.outcome().get("judge.reward.word") == word, word
            )
            policy.wait_for(
                lambda: policy.trigger("failure_monitor/reset").success, "the reset to be accepted"
            )
