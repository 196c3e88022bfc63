# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Markers and overlay of a node: drawn while somebody looks; what is amiss with them is told."""

import threading
import time

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from testbed.synthetic import POLICY, synthetic_rollout
from visualization_msgs.msg import Marker, MarkerArray

from failure_monitor.decision import ScoreVerdict, Verdict
from failure_monitor.display.appearance import APPEARANCES
from failure_monitor.display.overlay import (
    BACKGROUND,
    BANNER,
    LINE,
    MARGIN,
    MAX_HEIGHT,
    MAX_LINES,
)
from failure_monitor.errors import UsageError
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.monitoring.alarm import AlarmState, AlarmStatus
from failure_monitor.monitoring.unfamiliarity import embedding_score
from failure_monitor.parameters.displays import DisplaysParameters
from failure_monitor.policy_models.models import ImageSize
from failure_monitor.ros.common.alarm_message import alarm_message
from failure_monitor.ros.common.messages import action_chunks_message
from failure_monitor.ros.common.parameters import load_parameters
from failure_monitor.ros.common.qos import heartbeat_qos
from failure_monitor.ros.displays.displays import Displays
from failure_monitor.ros.displays.heat_map import HeatMap
from failure_monitor.ros.displays.marker_parts import BARS, FAN, REASON, STATE

pytestmark = pytest.mark.ros

DECISION = next(synthetic_rollout(0).decisions())
GREEN = (10, 200, 30)


def picture(colour=GREEN, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def image(pixels: np.ndarray, encoding: str = "rgb8") -> Image:
    height, width = pixels.shape[:2]
    return Image(
        height=height, width=width, step=3 * width, encoding=encoding, data=pixels.tobytes()
    )


class Stage:
    """Displays, and a robot with a monitor, a camera and somebody who looks."""

    def __init__(self, bundle="", **parameters: object) -> None:
        settings = {
            "overlay.rate": 20.0,
            "markers.rate": 20.0,
            "overlay.image_topic": "camera",
            "monitor": "monitor",
            "bundle": bundle,
            **parameters,
        }
        given = [part for k, v in settings.items() if v for part in ("-p", f"{k}:={v}")]
        given += ["-p", "overlay.rate:=0.0"] if settings["overlay.rate"] == 0.0 else []
        rclpy.init(args=["--ros-args", *given])
        self.node, self.robot = Node("displays"), Node("robot")
        self.displays = Displays(self.node, load_parameters(self.node, DisplaysParameters))
        self.camera = self.robot.create_publisher(Image, "camera", qos_profile_sensor_data)
        self._alarm = self.robot.create_publisher(
            DiagnosticStatus, "monitor/alarm", heartbeat_qos(0.05, latched=True)
        )
        self._diagnostics = self.robot.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._chunks = self.robot.create_publisher(PointCloud2, "policy/action_chunks", 10)
        self.status: AlarmStatus | None = AlarmStatus(AlarmState.NOMINAL, "fine", permit=True)
        self.verdict: Verdict | None = None
        self.seen: list[Image] = []
        self.markers: list[list[Marker]] = []
        self._picture: Image | None = None

    def look(self, topic: str = "monitor/overlay", kind: type = Image):
        return self.robot.create_subscription(kind, topic, self.seen.append, 10)

    def open_rviz(self):
        return self.robot.create_subscription(
            MarkerArray, "monitor/markers", lambda array: self.markers.append(array.markers), 10
        )

    def film(self, message: Image | None) -> None:
        """Show this to the camera from now on."""
        self._picture = message

    def decide(self, level: float, index: int = 0, chunks=DECISION.chunks) -> None:
        """Have the policy decide, and the monitor score that."""
        self._chunks.publish(action_chunks_message(chunks, POLICY.action_names, Header()))
        scores = (ScoreVerdict("rnd_oe", level, level, 1.0),)
        self.verdict = Verdict(index, 1 + index, scores, "any", level)

    def report_bundle(self, folder: object) -> None:
        """Publish which bundle the monitor has loaded."""
        values = [KeyValue(key="bundle", value=str(folder))]
        status = DiagnosticStatus(name="monitor: scoring", values=values)
        self._diagnostics.publish(DiagnosticArray(status=[status]))

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._picture is not None:
                self.camera.publish(self._picture)
            if self.status is not None:
                self._alarm.publish(
                    alarm_message(
                        self.status, self.verdict, name="m", hardware_id="", decision_age=0.0
                    )
                )
            for node in (self.node, self.robot):
                for _ in range(4):
                    rclpy.spin_once(node, timeout_sec=0.003)

    def wait_for(self, condition, timeout: float = 20.0):
        end = time.monotonic() + timeout
        while not (result := condition()):
            assert time.monotonic() < end, self.words()
            self.spin(0.05)
        return result

    def words(self) -> str:
        return self.displays.diagnose(name="displays").message

    def wait_for_words(self, words: str) -> None:
        self.wait_for(lambda: words in self.words())

    def newest(self) -> np.ndarray:
        message = self.seen[-1]
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)

    def texts(self, namespace: str) -> list[str]:
        """What the newest markers of a namespace say."""
        return [m.text for m in self.markers[-1] if m.ns == namespace] if self.markers else []

    def namespaces(self) -> set[str]:
        return {m.ns for m in self.markers[-1] if m.action == Marker.ADD}

    def close(self) -> None:
        self.displays.stop()
        self.node.destroy_node()
        self.robot.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def stage(bundle_folder):
    stage = Stage(bundle_folder)
    yield stage
    stage.close()
    assert not [t for t in threading.enumerate() if t.name in ("overlay", "heat map")]


def shows(overlay: np.ndarray, colour) -> float:
    """The part of the overlay that has the colour."""
    return float((overlay == np.array(colour)).all(axis=2).mean())


def test_nothing_is_subscribed_to_or_drawn_while_nobody_looks(stage):
    stage.film(image(picture()))
    stage.spin(0.5)
    assert stage.camera.get_subscription_count() == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "overlay"]


def test_overlay_shows_the_camera_below_the_state_s_colour(stage):
    stage.look()
    stage.film(image(picture()))
    stage.wait_for(lambda: stage.seen and shows(stage.newest(), GREEN) > 0.5)
    assert shows(stage.newest()[:64], APPEARANCES[AlarmState.NOMINAL].colour) > 0.5
    stage.status = AlarmStatus(AlarmState.ALARM, "rnd_oe", permit=False)
    stage.decide(1.5)
    alarm = APPEARANCES[AlarmState.ALARM].colour
    stage.wait_for(lambda: shows(stage.newest()[:64], alarm) > 0.5)
    assert stage.words() == "everything is displayed"


def test_camera_is_left_alone_when_nobody_looks_any_more(stage):
    looking = stage.look()
    stage.film(image(picture()))
    stage.wait_for(lambda: stage.camera.get_subscription_count() == 1)
    stage.robot.destroy_subscription(looking)
    stage.wait_for(lambda: stage.camera.get_subscription_count() == 0)


def test_compressed_overlay_is_the_same_picture(stage):
    stage.look("monitor/overlay/compressed", CompressedImage)
    stage.film(image(picture()))
    stage.wait_for(lambda: stage.seen)
    stage.spin(0.5)
    decoded = cv2.imdecode(np.frombuffer(stage.seen[-1].data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape[1] == 640
    middle = decoded[decoded.shape[0] // 2, 320, ::-1].astype(int)
    assert np.abs(middle - GREEN).max() < 20


def test_compressed_camera_keeps_its_proportions(bundle_folder):
    stage = Stage(bundle_folder, **{"overlay.image_topic": "camera/compressed"})
    try:
        _, jpeg = cv2.imencode(".png", picture(height=90, width=160)[..., ::-1])
        stage.camera = stage.robot.create_publisher(
            CompressedImage, "camera/compressed", qos_profile_sensor_data
        )
        stage.look()
        stage.film(CompressedImage(format="png", data=jpeg.tobytes()))
        stage.wait_for(lambda: stage.seen and shows(stage.newest(), GREEN) > 0.3)
        assert (stage.newest() == np.array(GREEN)).all(axis=2).sum() == 640 * 360
    finally:
        stage.close()


def test_curves_reach_back_over_seconds_and_end_with_the_rollout(stage):
    stage.open_rviz()
    for index, level in enumerate((0.2, 0.4)):
        stage.decide(level, index)
        stage.spin(0.3)
    view = stage.displays._view()
    assert view.history.seconds == 10.0
    assert view.history.curve("rnd_oe", time.monotonic())[:, 1].tolist() == [0.2, 0.4]
    assert view.levels == {"rnd_oe": 0.4, "rule": 0.4}
    stage.wait_for(lambda: FAN in stage.namespaces())
    stage.verdict = None
    stage.spin(0.3)
    view = stage.displays._view()
    assert len(view.history.curve("rnd_oe", time.monotonic())) == 0
    assert (view.levels, view.sampled) == ({}, None)
    # Of a rollout that began unseen, too.
    stage.decide(0.3, 7)
    stage.spin(0.3)
    stage.decide(0.1, 0)
    stage.spin(0.3)
    assert stage.displays._view().history.curve("rnd_oe", time.monotonic())[:, 1].tolist() == [0.1]


def test_bundle_is_that_of_the_monitor_unless_another_is_named(bundle_folder):
    stage = Stage()
    try:
        stage.open_rviz()
        stage.decide(0.5)
        stage.wait_for(lambda: stage.markers and BARS in stage.namespaces())
        assert FAN not in stage.namespaces()
        stage.report_bundle(bundle_folder)
        stage.wait_for(lambda: FAN in stage.namespaces())
        stage.report_bundle("/nowhere")
        stage.wait_for_words("chunks are not drawn: the bundle /nowhere lacks")
    finally:
        stage.close()


# A monitor that is silent


@pytest.mark.law(11)
def test_monitor_that_falls_silent_is_shown_as_such_within_a_second(stage):
    stage.look()
    stage.open_rviz()
    stage.decide(0.5)
    green = APPEARANCES[AlarmState.NOMINAL].colour
    stage.wait_for(lambda: stage.seen and shows(stage.newest()[:64], green) > 0.5)
    stage.wait_for(lambda: BARS in stage.namespaces())
    stage.film(image(picture()))
    stage.wait_for(lambda: stage.words() == "everything is displayed")
    stage.status = None
    stage.spin(0.95)
    assert shows(stage.newest()[:64], APPEARANCES[AlarmState.STALE].colour) > 0.5
    assert stage.texts(STATE) == ["(?) NO WORD FROM THE MONITOR"]
    assert stage.texts(REASON)[0].startswith("no message on 'monitor/alarm' for 1 s")
    assert {BARS, FAN} & stage.namespaces() == set()
    assert "no message on 'monitor/alarm'" in stage.words()


@pytest.mark.law(11)
def test_without_any_monitor_nothing_is_well(stage):
    stage.status = None
    stage.look()
    stage.wait_for(lambda: stage.seen)
    assert shows(stage.newest()[:64], APPEARANCES[AlarmState.STALE].colour) > 0.5
    stage.wait_for_words("no message on 'monitor/alarm' so far")


# What goes wrong


def test_camera_that_is_silent_is_told_in_the_picture_and_in_words(stage):
    stage.look()
    stage.wait_for(lambda: stage.seen)
    stage.wait_for_words("no picture was received on 'camera'")
    stage.film(image(picture()))
    stage.wait_for(lambda: stage.words() == "everything is displayed")
    stage.film(None)
    stage.wait_for_words("no picture on 'camera' for ")
    stage.wait_for(lambda: shows(stage.newest(), GREEN) == 0)


def test_without_a_camera_the_state_is_shown_all_the_same(bundle_folder):
    stage = Stage(bundle_folder, **{"overlay.image_topic": ""})
    try:
        stage.look()
        stage.wait_for(lambda: stage.seen)
        assert shows(stage.newest()[:64], APPEARANCES[AlarmState.NOMINAL].colour) > 0.5
        stage.wait_for_words("no camera is known: set 'overlay.image_topic'")
    finally:
        stage.close()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (image(picture(), "thermal"), "the image's encoding is 'thermal'"),
        (Image(height=0, width=0, encoding="rgb8"), "it is empty"),
        (Image(height=9, width=9, step=27, encoding="rgb8", data=b"x"), "is truncated or padded"),
    ],
    ids=["encoding", "empty", "cut"],
)
def test_picture_that_cannot_be_read_is_told(stage, message, words):
    stage.look()
    stage.film(message)
    stage.wait_for_words(words)
    stage.film(image(picture()))
    # The fault may be known before its overlay is received.
    stage.wait_for(lambda: stage.seen and shows(stage.newest(), GREEN) > 0.5)
    assert stage.words() == "everything is displayed"


def test_scores_at_infinity_and_thousands_of_samples_are_drawn(stage):
    stage.open_rviz()
    stage.look()
    chunks = np.random.default_rng(0).normal(size=(5000, 16, 3)).astype(np.float32)
    for level in (np.inf, -np.inf, np.nan):
        stage.decide(level, chunks=chunks)
        stage.spin(0.2)
        stage.seen.clear()
        stage.markers.clear()
        stage.wait_for(lambda: stage.seen and stage.markers and FAN in stage.namespaces())


def test_overlay_may_be_turned_off(bundle_folder):
    stage = Stage(bundle_folder, **{"overlay.rate": 0.0})
    try:
        stage.look()
        stage.spin(1.0)
        assert stage.seen == []
    finally:
        stage.close()


def test_overlay_that_is_turned_off_asks_for_no_opencv(bundle_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "failure_monitor.display.overlay", None)
    stage = Stage(bundle_folder, **{"overlay.rate": 0.0})
    try:
        stage.wait_for(lambda: stage.words() == "everything is displayed")
    finally:
        stage.close()


def test_topic_that_is_none_is_refused_by_its_parameter(bundle_folder):
    try:
        with pytest.raises(
            UsageError, match=r"'overlay.image_topic' is 'a b', not a valid topic name"
        ):
            Stage(bundle_folder, **{"overlay.image_topic": "a b"})
    finally:
        rclpy.try_shutdown()


def test_without_opencv_the_rest_goes_on(bundle_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "failure_monitor.display.overlay", None)
    stage = Stage(bundle_folder)
    try:
        stage.open_rviz()
        stage.wait_for(lambda: stage.markers)
        assert "there is no overlay: the Python package" in stage.words()
        status = stage.displays.diagnose(name="arm/displays")
        assert status.level == DiagnosticStatus.WARN
        assert status.name == "arm/displays: displays"
    finally:
        stage.close()


# Unfamiliar places


class Encoder:
    """Embeds a picture as the colours of its four quarters, of which six numbers are left."""

    cameras = {"camera": ImageSize(48, 64)}  # noqa: RUF012
    joint_names = ()
    history = None

    def __init__(self) -> None:
        self.runs = 0
        self.fault = ""

    def embed(self, images, joints=None, task="") -> np.ndarray:
        self.runs += 1
        if self.fault:
            raise RuntimeError(self.fault)
        seen = images["camera"].astype(np.float32)
        quarters = [half for rows in np.split(seen, 2) for half in np.split(rows, 2, axis=1)]
        return np.array([quarter.mean() for quarter in quarters] + [0, 0], np.float32) / 10


class Seen:
    """Stands for the observations of the encoder's camera: the newest is that of any stamp."""

    def __init__(self) -> None:
        self.newest: MatchedMessages | None = None

    def at(self, stamp: int) -> MatchedMessages | None:
        return self.newest

    def destroy(self) -> None:
        self.newest = None


@pytest.fixture
def encoder_stage(bundle, bundle_folder):
    stage = Stage(bundle_folder)
    stage.encoder, stage.observed = Encoder(), Seen()
    stage.spin(0.3)
    # A bundle with such an encoder would have to be calibrated with it.
    stage.displays._heat_map = HeatMap(stage.encoder, embedding_score(bundle.scores))
    stage.displays._observations = stage.observed
    yield stage
    stage.close()


def see(stage: Stage, level: float, pixels: np.ndarray) -> None:
    """Have the policy decide on a picture."""
    stage.observed.newest = MatchedMessages(stamp=1, messages={"camera": image(pixels)})
    stage.decide(level, 0 if stage.verdict is None else stage.verdict.index + 1)
    stage.spin(0.3)


def foreign() -> np.ndarray:
    pixels = picture(0)
    pixels[30:42, 8:24] = 255
    return pixels


def places(stage: Stage) -> np.ndarray | None:
    found = stage.displays._view().unfamiliarity
    return None if found is None else found.share


def caption(overlay: np.ndarray) -> np.ndarray:
    """Where the overlay says what is outlined."""
    end = BANNER + MAX_LINES * LINE + MARGIN + MAX_HEIGHT
    return overlay[end - LINE : end]


def test_unfamiliar_place_is_found_once_somebody_looks(encoder_stage):
    stage = encoder_stage
    see(stage, 0.2, picture(0))
    see(stage, 1.4, foreign())
    stage.spin(0.5)
    assert stage.encoder.runs == 0
    stage.look()
    stage.film(image(foreign()))
    stage.wait_for(lambda: stage.displays._overlay.has_subscriber)
    see(stage, 1.4, foreign())
    stage.wait_for(lambda: places(stage) is not None)
    share = places(stage)
    row, column = np.unravel_index(share.argmax(), share.shape)
    assert 30 <= 6 * (row + 0.5) <= 42
    assert 8 <= 8 * (column + 0.5) <= 24
    # And told in the picture, on a ground that the picture itself has not.
    stage.wait_for(lambda: stage.seen and shows(caption(stage.newest()), BACKGROUND) > 0.5)
    # And gone when the picture is familiar again.
    see(stage, 0.2, picture(0))
    assert places(stage) is None
    stage.wait_for(lambda: shows(caption(stage.newest()), BACKGROUND) == 0)


def test_without_a_familiar_picture_nothing_is_compared(encoder_stage):
    stage = encoder_stage
    stage.look()
    stage.wait_for(lambda: stage.displays._overlay.has_subscriber)
    see(stage, 1.4, foreign())
    stage.spin(0.5)
    assert stage.encoder.runs == 0


def test_encoder_that_fails_is_told_and_asked_again(encoder_stage):
    stage = encoder_stage
    stage.look()
    stage.film(image(picture(0)))
    stage.wait_for(lambda: stage.displays._overlay.has_subscriber)
    stage.encoder.fault = "out of memory"
    see(stage, 0.2, picture(0))
    see(stage, 1.4, foreign())
    stage.wait_for_words("unfamiliar places: RuntimeError: out of memory")
    stage.encoder.fault = ""
    see(stage, 1.4, foreign())
    stage.wait_for(lambda: places(stage) is not None)
    assert stage.words() == "everything is displayed"
