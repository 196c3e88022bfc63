# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Markers come while somebody looks, and what is amiss with them is told."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from testbed.synthetic import POLICY, synthetic_rollout
from visualization_msgs.msg import Marker, MarkerArray

from failure_monitor.display.state_text import StateText
from failure_monitor.display.view import MonitorView, SampledChunks
from failure_monitor.errors import UsageError
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.score_history import ScoreHistory
from failure_monitor.ros.displays.frame_watch import MAX_WAIT, FrameWatch
from failure_monitor.ros.displays.marker_parts import BARS, CHOSEN, FAN, STATE, TRUST
from failure_monitor.ros.displays.marker_publisher import MarkerPublisher

RVIZ = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CHUNKS = next(synthetic_rollout(0).decisions()).chunks
SAMPLED = SampledChunks(POLICY.action_names, CHUNKS)


def levels(**scores: float) -> dict[str, float]:
    return {**scores, "rule": max(scores.values())}


class Stage:
    """A node with markers, and one that looks at them."""

    def __init__(self, **parameters: object) -> None:
        arguments = [
            part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")
        ]
        rclpy.init(args=["--ros-args", "-p", "markers.rate:=20.0", *arguments])
        self.node, self.rviz = Node("monitor"), Node("rviz")
        text = StateText(AlarmState.NOMINAL, "NOMINAL", "commands pass", ("fine",))
        self.view = MonitorView(text, ScoreHistory(10.0))
        self.asked = 0
        self.publisher = MarkerPublisher(self.node, "monitor/markers", self._look)
        self.publisher.policy = POLICY
        self.seen: list[list[Marker]] = []

    def _look(self) -> MonitorView:
        self.asked += 1
        return self.view

    def open_rviz(self):
        self.seen.clear()
        return self.rviz.create_subscription(
            MarkerArray, "monitor/markers", lambda array: self.seen.append(array.markers), RVIZ
        )

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for node in (self.node, self.rviz):
                rclpy.spin_once(node, timeout_sec=0.005)

    def wait_for(self, condition) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end
            self.spin(0.02)

    def close(self) -> None:
        self.node.destroy_node()
        self.rviz.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.close()


def keys(markers: list[Marker]) -> set[tuple[str, int]]:
    return {(marker.ns, marker.id) for marker in markers}


@pytest.mark.ros
def test_nothing_is_drawn_while_nobody_looks(stage):
    stage.spin(0.5)
    assert stage.asked == 0


@pytest.mark.ros
def test_everything_before_is_deleted_first_and_once(stage):
    stage.open_rviz()
    stage.wait_for(lambda: len(stage.seen) >= 3)
    first, *others = stage.seen
    assert first[0].action == Marker.DELETEALL
    assert STATE in {marker.ns for marker in first}
    assert all(marker.action == Marker.ADD for array in others for marker in array)


@pytest.mark.ros
@pytest.mark.law(11)
@pytest.mark.parametrize("rate", [0.5, 20.0])
def test_markers_outlive_a_late_successor_and_vanish_with_the_monitor(rate):
    stage = Stage(**{"markers.rate": rate})
    try:
        stage.open_rviz()
        stage.wait_for(lambda: stage.seen)
        lives = {
            marker.lifetime.sec + 1e-9 * marker.lifetime.nanosec
            for marker in stage.seen[0]
            if marker.action == Marker.ADD
        }
    finally:
        stage.close()
    # 0 would be for ever.
    assert all(1.5 / rate <= seconds <= 4 / rate for seconds in lives)
    assert lives


@pytest.mark.ros
def test_marker_that_is_no_longer_drawn_is_deleted_by_its_name(stage):
    stage.open_rviz()
    stage.view = replace(stage.view, levels=levels(ace=0.5, rnd_oe=0.7), sampled=SAMPLED)
    stage.wait_for(lambda: stage.seen and (FAN, 0) in keys(stage.seen[-1]))
    drawn = keys([m for m in stage.seen[-1] if m.action == Marker.ADD])
    stage.view = replace(stage.view, levels=levels(ace=0.5), sampled=None)
    stage.seen.clear()
    stage.wait_for(lambda: any(m.action == Marker.DELETE for a in stage.seen for m in a))
    [array] = [array for array in stage.seen if any(m.action == Marker.DELETE for m in array)]
    deleted = {(m.ns, m.id) for m in array if m.action == Marker.DELETE}
    assert deleted == drawn - keys([m for m in array if m.action == Marker.ADD])
    assert {(FAN, 0), (BARS, 2)} <= deleted


@pytest.mark.ros
def test_who_looks_later_does_not_first_see_what_was(stage):
    first = stage.open_rviz()
    stage.wait_for(lambda: stage.seen)
    stage.rviz.destroy_subscription(first)
    stage.wait_for(lambda: stage.publisher._publisher.get_subscription_count() == 0)
    asked = stage.asked
    stage.spin(0.3)
    assert stage.asked <= asked + 1
    stage.open_rviz()
    # The monitor does nothing meanwhile: what comes is what it left behind.
    end = time.monotonic() + 20
    while not stage.seen and time.monotonic() < end:
        rclpy.spin_once(stage.rviz, timeout_sec=0.05)
    assert [[marker.action for marker in array] for array in stage.seen] == [[Marker.DELETEALL]]


@pytest.mark.ros
def test_chunk_and_horizon_that_the_policy_was_told_are_those_that_are_marked(stage):
    stage.open_rviz()
    stage.view = replace(
        stage.view, levels=levels(ace=0.5), sampled=replace(SAMPLED, chosen=2, trusted=1)
    )
    stage.wait_for(lambda: stage.seen and (TRUST, 1) in keys(stage.seen[-1]))
    by_key = {(marker.ns, marker.id): marker for marker in stage.seen[-1]}
    horizon = CHUNKS.shape[1]
    assert by_key[TRUST, 1].text == f"1 of {horizon} trusted"
    # Deltas: the first step of the chosen sample leads from where chunks begin.
    start, end = by_key[CHOSEN, 0].points
    assert (end.x - start.x, end.y - start.y) == pytest.approx(CHUNKS[2, 0, :2].tolist())


@pytest.mark.ros
def test_chunks_of_joints_are_left_out(stage):
    stage.open_rviz()
    joints = replace(POLICY, action_names=("shoulder", "elbow", "gripper"), position_names=())
    stage.publisher.policy = joints
    sampled = replace(SAMPLED, names=joints.action_names)
    stage.view = replace(stage.view, levels=levels(ace=0.5), sampled=sampled)
    stage.wait_for(lambda: stage.seen and (BARS, 0) in keys(stage.seen[-1]))
    assert FAN not in {marker.ns for marker in stage.seen[-1]}
    assert stage.publisher.problem() == ""


@pytest.mark.ros
def test_chunks_of_another_policy_than_the_bundle_s_are_told(stage):
    stage.open_rviz()
    sampled = replace(SAMPLED, names=("a", "b", "c"))
    stage.view = replace(stage.view, levels=levels(ace=0.5), sampled=sampled)
    stage.wait_for(lambda: "the chunks have the actions a, b, c" in stage.publisher.problem())


@pytest.mark.ros
def test_axes_that_are_no_actions_are_told():
    stage = Stage(**{"markers.axes": "[dx, elbow]"})
    try:
        stage.open_rviz()
        stage.view = replace(stage.view, levels=levels(ace=0.5), sampled=SAMPLED)
        stage.wait_for(lambda: "the axes dx, elbow are not" in stage.publisher.problem())
        stage.wait_for(lambda: stage.seen and (BARS, 0) in keys(stage.seen[-1]))
    finally:
        stage.close()


@pytest.mark.ros
def test_chunks_that_lead_nowhere_are_told(stage):
    stage.open_rviz()
    sampled = replace(SAMPLED, chunks=1e6 + CHUNKS)
    stage.view = replace(stage.view, levels=levels(ace=float("inf")), sampled=sampled)
    stage.wait_for(lambda: "no sampled chunk leads to a position" in stage.publisher.problem())
    stage.wait_for(lambda: stage.seen and (BARS, 0) in keys(stage.seen[-1]))


@pytest.mark.ros
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("markers.frame", "''", "'markers.frame' is empty: name a frame"),
        ("markers.panel", "[1.0, 2.0]", "'markers.panel' is .*1.0, 2.0.*, expected x, y and z"),
        ("markers.start", "[0.0, 0.0, .nan]", "'markers.start' is .* expected x, y and z"),
        ("markers.rate", "0.0", "markers.rate"),
    ],
)
def test_parameter_that_cannot_be_drawn_with_is_refused(name, value, sentence):
    try:
        with pytest.raises(UsageError, match=sentence):
            Stage(**{name: value}).close()
    finally:
        rclpy.try_shutdown()


# Frames


def transform(parent: str, child: str) -> SimpleNamespace:
    header = SimpleNamespace(frame_id=parent)
    return SimpleNamespace(transforms=[SimpleNamespace(header=header, child_frame_id=child)])


class Listener:
    """Stands for a node, and for transforms that are installed."""

    def __init__(self, monkeypatch) -> None:
        self.subscribed: list[str] = []
        monkeypatch.setattr(
            "failure_monitor.ros.displays.frame_watch._transform_message", lambda: "TFMessage"
        )

    def create_subscription(self, kind, topic, hear, qos) -> str:
        self.subscribed.append(topic)
        return topic

    def destroy_subscription(self, topic: str) -> None:
        self.subscribed.remove(topic)


def test_frame_that_no_transform_tells_of_is_named(monkeypatch):
    watch = FrameWatch(Listener(monkeypatch), "tool0")
    assert watch.problem(0.0) == ""
    watch.start(0.0)
    watch.add_transforms(transform("/world", "base_link"))
    assert watch.problem(MAX_WAIT / 2) == ""
    assert "the frame 'tool0' of the markers, only base_link, world" in watch.problem(MAX_WAIT)


def test_frame_that_is_found_is_listened_for_no_more(monkeypatch):
    listener = Listener(monkeypatch)
    watch = FrameWatch(listener, "tool0")
    watch.start(0.0)
    assert listener.subscribed == ["/tf", "/tf_static"]
    watch.add_transforms(transform("base_link", "tool0"))
    assert listener.subscribed == []
    assert watch.problem(100.0) == ""


def test_without_transforms_installed_nothing_is_missed(monkeypatch):
    monkeypatch.setattr(
        "failure_monitor.ros.displays.frame_watch._transform_message", lambda: None
    )
    watch = FrameWatch(None, "tool0")
    watch.start(0.0)
    assert watch.problem(100.0) == ""
