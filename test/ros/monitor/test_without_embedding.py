# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy that publishes action chunks alone is watched; what comes or is missing is told."""

import dataclasses

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2
from testbed.ros_graph import node_process

from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
PARAMETERS = {
    "rollout_boundaries": "none",
    "max_joint_state_age": 0.0,
    "max_decision_age": 1.0,
}


@pytest.fixture(scope="module")
def plain(rollouts, policy):
    """Rollouts of the policy without its embedding, and its format."""
    given = [
        dataclasses.replace(rollout, embeddings=np.empty((len(rollout), 0), np.float32))
        for rollout in rollouts
    ]
    return given, dataclasses.replace(policy, embedding_size=0)


@pytest.fixture
def folder(plain, tmp_path):
    rollouts, policy = plain
    settings = CalibrationSettings(scores=("ace", "kinematics"), window=2, folds=3, jobs=1)
    save(calibrate(rollouts, policy, settings), tmp_path / "bundle")
    return tmp_path / "bundle"


def test_chunks_alone_are_scored_until_somebody_publishes_an_embedding(folder, plain, observer):
    decision = next(plain[0][0].decisions())
    observer.publish_no_embeddings()
    with node_process(MONITOR, bundle=folder, **PARAMETERS) as process:
        observer.wait_for_monitor_alarm()
        assert not observer.node.count_subscribers("/policy/embedding")
        observer.repeat_until(
            lambda: observer.decide(decision),
            lambda: observer.permitted() and observer.state() == "NOMINAL",
            "the permit",
        )
        assert int(observer.alarm_values()["unscored_decisions"]) == 0

        # Another policy, or a new version of this one.
        observer.node.create_publisher(PointCloud2, "policy/embedding", 10)
        observer.repeat_until(
            lambda: observer.decide(decision),
            lambda: "the bundle was calibrated without" in observer.reason(),
            "the reason",
        )
        observer.wait_for(lambda: not observer.permitted(), "the permit to be withdrawn")
        assert observer.state() == "STALE"
        assert process.is_running


def test_it_may_be_allowed(folder, plain, observer):
    decision = next(plain[0][0].decisions())
    with_embedding = dataclasses.replace(decision, embedding=np.ones(4, np.float32))
    with node_process(MONITOR, bundle=folder, **PARAMETERS, embedding_topic="''"):
        observer.wait_for(observer.chunks.get_subscription_count, "the monitor to subscribe")
        observer.repeat_until(
            lambda: observer.decide(with_embedding), observer.permitted, "the permit"
        )


def test_a_policy_that_stops_publishing_its_embedding_is_stale(
    rollouts, policy, observer, tmp_path
):
    settings = CalibrationSettings(scores=("ace", "kinematics"), window=2, folds=3, jobs=1)
    save(calibrate(rollouts, policy, settings), tmp_path / "bundle")
    decision = next(rollouts[0].decisions())
    with node_process(MONITOR, bundle=tmp_path / "bundle", **PARAMETERS):
        observer.wait_for_monitor_alarm()
        observer.repeat_until(lambda: observer.decide(decision), observer.permitted, "the permit")
        observer.publish_no_embeddings()
        observer.repeat_until(
            lambda: observer.decide(decision),
            lambda: observer.state() == "STALE" and "embedding" in observer.reason(),
            "the reason",
        )
        observer.wait_for(lambda: not observer.permitted(), "the permit to be withdrawn")
