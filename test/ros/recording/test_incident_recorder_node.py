# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What came before and after an alarm is in a bag; nothing that goes wrong ends the recorder."""

import base64
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import State
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from rosbags.interfaces import QosDurability
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String
from testbed.command_line import run_command
from testbed.repository import ROOT
from testbed.ros_graph import LATCHED, Observer, node_process, observing
from testbed.small_disk import fill, small_disk
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.sources.rollouts import read_rollouts

RECORDER = "failure_monitor.ros.recording.incident_recorder_node"
NAME = "incident_recorder"

pytestmark = pytest.mark.ros


class Robot(Observer):
    """A robot with a monitor, as the recorder hears them."""

    def __init__(self) -> None:
        super().__init__(POLICY.action_names)
        self.alarms = self.node.create_publisher(
            DiagnosticStatus, "failure_monitor/alarm", LATCHED
        )
        self.active = self.node.create_publisher(Bool, "rollout/active", LATCHED)
        self.words = self.node.create_publisher(String, "words", 10)
        self.diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.pictures = self.node.create_publisher(Image, "failure_monitor/overlay", 10)
        self.listen("/diagnostics", DiagnosticArray)
        self.say_alarm(DiagnosticStatus.OK)
        self.node.create_timer(0.05, lambda: self.alarms.publish(self.alarm))

    def say_alarm(self, level: bytes, message: str = "fine") -> None:
        """Say it from now on: an alarm is a heartbeat."""
        values = [KeyValue(key="level", value="1.25")]
        self.alarm = DiagnosticStatus(level=level, message=message, values=values)
        self.alarms.publish(self.alarm)

    def say_bundle(self, sha256: str, monitor: str = "failure_monitor") -> None:
        values = [KeyValue(key="bundle_sha256", value=sha256)]
        status = DiagnosticStatus(name=f"{monitor}: scoring", values=values)
        self.diagnostics.publish(DiagnosticArray(status=[status]))

    def show(self, value: int) -> None:
        pixels = np.full((4, 6, 3), value, np.uint8)
        self.pictures.publish(
            Image(height=4, width=6, step=18, encoding="rgb8", data=pixels.tobytes())
        )

    def wait_until_recorded(self, *publishers) -> None:
        """Until the recorder has heard the alarm, and subscribes to these."""
        self.wait_for(
            lambda: (
                "/failure_monitor/alarm" in self.values()
                and all(one.get_subscription_count() for one in publishers)
            ),
            "the recorder to listen",
        )
        self.spin(0.3)

    def status(self) -> DiagnosticStatus | None:
        """The recorder's newest words."""
        said = [
            status
            for array in self.received["/diagnostics"]
            for status in array.status
            if status.name == f"{NAME}: incidents"
        ]
        return said[-1] if said else None

    def values(self) -> dict[str, str]:
        status = self.status()
        return {} if status is None else {value.key: value.value for value in status.values}

    def wait_for_words(self, words: str) -> DiagnosticStatus:
        self.wait_for(
            lambda: (status := self.status()) is not None and words in status.message,
            f"'{words}' in the diagnostics",
        )
        return self.status()

    def wait_for_incidents(self, folder: Path, count: int = 1) -> list[Path]:
        self.wait_for(lambda: len(incidents(folder)) >= count, f"{count} incidents in {folder}")
        return incidents(folder)


def incidents(folder: Path) -> list[Path]:
    return sorted(folder.glob("incident_*"))


def said(bag: Path) -> dict[str, str]:
    """What the recorder says of a bag."""
    content = yaml.safe_load((bag / "metadata.yaml").read_text())
    return content["rosbag2_bagfile_information"]["custom_data"]


def words(bag: Path) -> list[str]:
    with Reader(bag) as reader:
        connections = [one for one in reader.connections if one.topic == "/words"]
        if not connections:
            return []
        return [
            deserialize_message(bytes(raw), String).data
            for _, _, raw in reader.messages(connections)
        ]


def offered_durability(bag: Path) -> dict[str, list[QosDurability]]:
    with Reader(bag) as reader:
        return {
            connection.topic: [one.durability for one in connection.ext.offered_qos_profiles]
            for connection in reader.connections
        }


def recorded_topics(bag: Path) -> set[str]:
    with Reader(bag) as reader:
        return {connection.topic for connection in reader.connections}


@contextmanager
def recorder(folder: Path, **parameters: object):
    settings = {
        "topics": "[words, policy/*]",
        "still_topic": "failure_monitor/overlay",
        "seconds_before": 20.0,
        "seconds_after": 0.3,
        "least_free_megabytes": 0.0,
    }
    with node_process(RECORDER, output=folder, **{**settings, **parameters}) as process:
        yield process


@pytest.fixture
def robot():
    with observing(Robot) as robot:
        yield robot


def test_what_came_before_and_after_the_alarm_is_in_the_bag(robot, tmp_path):
    with recorder(tmp_path):
        robot.wait_until_recorded(robot.words, robot.diagnostics)
        robot.say_bundle("abc123")
        for word in ("before", "long before"):
            robot.words.publish(String(data=word))
        robot.spin(0.3)
        robot.say_alarm(DiagnosticStatus.ERROR, "rnd_oe 1.25 of its threshold")
        robot.spin(0.1)
        robot.words.publish(String(data="after"))
        [bag] = robot.wait_for_incidents(tmp_path)
        robot.words.publish(String(data="later"))
        robot.wait_for(lambda: robot.values().get("incidents_written") == "1", "the count")
        assert robot.values()["last_incident"] == str(bag)
    assert words(bag) == ["before", "long before", "after"]
    assert {"/failure_monitor/alarm", "/diagnostics"} <= recorded_topics(bag)
    incident = said(bag)
    assert incident["incident.cause"] == "ALARM"
    assert incident["incident.reason"] == "rnd_oe 1.25 of its threshold"
    assert incident["incident.source"] == "/failure_monitor/alarm"
    assert incident["incident.bundle_sha256"] == "abc123"
    assert json.loads(incident["incident.values"]) == {"level": "1.25"}
    assert incident["incident.end"] == "the time after the alarm was over"
    assert len(incidents(tmp_path)) == 1


@pytest.mark.parametrize(
    ("bundles", "before"),
    [
        ({"failure_monitor": "right", "leg/failure_monitor": "wrong"}, "right"),
        ({"leg/failure_monitor": "one", "arm/failure_monitor": "other"}, ""),
        ({"renamed": "only"}, "only"),
    ],
    ids=["of the one with the alarm", "nobody knows which", "of the only one"],
)
def test_bundle_is_that_of_the_monitor_that_raised_the_alarm(robot, tmp_path, bundles, before):
    with recorder(tmp_path):
        robot.wait_until_recorded(robot.diagnostics)
        for monitor, sha256 in bundles.items():
            robot.say_bundle(sha256, monitor)
        robot.spin(0.3)
        robot.say_alarm(DiagnosticStatus.ERROR)
        [bag] = robot.wait_for_incidents(tmp_path)
    assert said(bag)["incident.bundle_sha256"] == before


def test_nothing_is_written_without_an_alarm(robot, tmp_path):
    with recorder(tmp_path / "incidents"):
        robot.wait_until_recorded(robot.words)
        for level in (DiagnosticStatus.WARN, DiagnosticStatus.STALE, DiagnosticStatus.OK):
            robot.say_alarm(level)
            robot.spin(0.2)
        robot.wait_for(lambda: robot.values().get("recording") == "false", "diagnostics")
    assert not (tmp_path / "incidents").exists()


def test_stale_begins_an_incident_if_asked_for(robot, tmp_path):
    with recorder(tmp_path, record_stale=True):
        robot.wait_until_recorded()
        robot.say_alarm(DiagnosticStatus.STALE, "no decision")
        [bag] = robot.wait_for_incidents(tmp_path)
    assert said(bag)["incident.cause"] == "STALE"


def test_alarm_that_was_there_before_the_recorder_begins_none(robot, tmp_path):
    robot.say_alarm(DiagnosticStatus.ERROR)
    with recorder(tmp_path):
        robot.wait_until_recorded(robot.words)
        robot.spin(1.0)
        assert incidents(tmp_path) == []


def test_an_incident_holds_what_the_policy_stated_before_it(robot, tmp_path):
    stated = robot.node.create_publisher(String, "policy/format", LATCHED)
    stated.publish(String(data='{"policy": "act"}'))
    with recorder(tmp_path, topics="[words]", seconds_before=0.2):
        robot.wait_until_recorded(robot.words, stated)
        # Long enough for anything that is not latched to be forgotten.
        robot.spin(0.6)
        robot.say_alarm(DiagnosticStatus.ERROR, "lost")
        [bag] = robot.wait_for_incidents(tmp_path)
    with Reader(bag) as reader:
        connections = [one for one in reader.connections if one.topic == "/policy/format"]
        [(_, _, raw)] = reader.messages(connections)
    assert deserialize_message(bytes(raw), String).data == '{"policy": "act"}'


def test_another_alarm_prolongs_the_incident(robot, tmp_path):
    with recorder(tmp_path, seconds_after=1.5):
        robot.wait_until_recorded(robot.words)
        robot.say_alarm(DiagnosticStatus.ERROR, "the first")
        robot.spin(1.0)
        robot.say_alarm(DiagnosticStatus.OK)
        robot.spin(0.1)
        robot.say_alarm(DiagnosticStatus.ERROR, "the second")
        robot.spin(1.0)
        robot.words.publish(String(data="2 s after the first"))
        [bag] = robot.wait_for_incidents(tmp_path)
    assert words(bag) == ["2 s after the first"]
    assert said(bag)["incident.reason"] == "the first"


def test_somebody_may_ask_for_a_bag(robot, tmp_path):
    with recorder(tmp_path):
        robot.wait_until_recorded(robot.words)
        robot.words.publish(String(data="odd"))
        robot.spin(0.2)
        answer = robot.trigger(f"/{NAME}/record")
        assert answer.success
        [bag] = robot.wait_for_incidents(tmp_path)
    assert words(bag) == ["odd"]
    assert said(bag)["incident.cause"] == "REQUEST"


def test_bag_in_the_making_is_finished_when_the_recorder_ends(robot, tmp_path):
    with recorder(tmp_path, seconds_after=600.0) as process:
        robot.wait_until_recorded(robot.words)
        robot.words.publish(String(data="word"))
        robot.spin(0.2)
        robot.say_alarm(DiagnosticStatus.ERROR)
        robot.wait_for(lambda: robot.values().get("recording") == "true", "a recording")
        code, output = process.end()
    assert code == 0, output
    [bag] = incidents(tmp_path)
    assert words(bag) == ["word"]
    assert said(bag)["incident.end"] == "the recorder was ended"


# Rollouts


def run_rollout(robot: Robot, seed: int, *, alarm: bool) -> None:
    robot.active.publish(Bool(data=True))
    robot.spin(0.2)
    rollout = synthetic_rollout(seed)
    for index, decision in enumerate(rollout.decisions()):
        robot.decide(decision)
        robot.spin(0.03)
        if alarm and index == len(rollout) - 1:
            robot.say_alarm(DiagnosticStatus.ERROR, "an alarm")
    robot.spin(0.1)


def run_to_incident(robot: Robot, folder: Path, **parameters: object) -> Path:
    """A rollout that ends by itself, and one that raises an alarm."""
    with recorder(folder, **parameters):
        robot.active.publish(Bool(data=False))
        robot.wait_until_recorded(robot.active, robot.chunks, robot.embeddings)
        run_rollout(robot, 40, alarm=False)
        robot.active.publish(Bool(data=False))
        robot.spin(0.2)
        run_rollout(robot, 41, alarm=True)
        [bag] = robot.wait_for_incidents(folder)
    return bag


def test_labelled_incident_is_evaluated_and_calibrates(robot, tmp_path, bundle_folder):
    bag = run_to_incident(robot, tmp_path / "incidents")
    refused = run_command("evaluate", bundle_folder, bag)
    assert refused.returncode == 1
    assert "no outcome" in refused.stderr

    done = run_command("label", bag, "--outcome", "success")
    assert done.returncode == 0, done.stderr
    assert "is a success; it was recorded for ALARM: an alarm" in done.stdout
    assert "begins later" not in done.stdout

    # The rollout before, of another seed, is not in it.
    [rollout] = read_rollouts([bag]).rollouts
    assert rollout.success is True
    assert (rollout.embeddings == synthetic_rollout(41).embeddings).all()
    assert (rollout.chunks == synthetic_rollout(41).chunks).all()

    done = run_command("evaluate", bundle_folder, bag, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    [evaluated] = json.loads((tmp_path / "out.json").read_text())["rollouts"]
    assert (evaluated["success"], evaluated["decisions"]) == (True, len(rollout))


def test_bag_says_whether_it_begins_with_its_rollout(robot, tmp_path):
    bag = run_to_incident(robot, tmp_path, seconds_before=0.2)
    assert said(bag)["incident.begins_with_rollout"] == "false"
    # It says that a rollout runs, though that was said before the window.
    [rollout] = read_rollouts([bag]).rollouts
    assert 0 < len(rollout) < len(synthetic_rollout(41))
    done = run_command("label", bag, "--outcome", "failure")
    assert "begins later than its rollout did" in done.stdout


def test_next_rollout_ends_the_incident_of_the_one_before(robot, tmp_path):
    with recorder(tmp_path, seconds_after=600.0):
        robot.active.publish(Bool(data=False))
        robot.wait_until_recorded(robot.active, robot.chunks, robot.embeddings)
        run_rollout(robot, 41, alarm=True)
        robot.active.publish(Bool(data=False))
        robot.spin(0.2)
        robot.active.publish(Bool(data=True))
        [bag] = robot.wait_for_incidents(tmp_path)
    assert said(bag)["incident.end"] == "the next rollout began"
    [rollout] = read_rollouts([bag]).rollouts
    assert len(rollout) == len(synthetic_rollout(41))


# Stills


def test_still_is_the_first_picture_behind_the_alarm(robot, tmp_path):
    cv2 = pytest.importorskip("cv2")
    with recorder(tmp_path, seconds_after=1.0):
        robot.wait_until_recorded(robot.pictures)
        robot.show(10)
        robot.spin(0.2)
        robot.say_alarm(DiagnosticStatus.ERROR)
        robot.spin(0.3)
        for value in (20, 30):
            robot.show(value)
            robot.spin(0.1)
        [bag] = robot.wait_for_incidents(tmp_path)
    still = cv2.imread(str(bag / "still.png"))
    assert still.shape == (4, 6, 3)
    assert (still == 20).all()
    assert len(read_topic(bag, "/failure_monitor/overlay")) == 3


def test_without_a_picture_behind_it_the_still_is_the_last_before(robot, tmp_path):
    robot.camera = robot.node.create_publisher(CompressedImage, "camera", qos_profile_sensor_data)
    with recorder(tmp_path, still_topic="camera"):
        robot.wait_until_recorded(robot.camera)
        for picture in (b"old", b"new"):
            robot.camera.publish(CompressedImage(format="jpeg", data=picture))
            robot.spin(0.1)
        robot.say_alarm(DiagnosticStatus.ERROR)
        [bag] = robot.wait_for_incidents(tmp_path)
    assert (bag / "still.jpg").read_bytes() == b"new"


def test_picture_that_is_none_costs_the_still_and_no_more(robot, tmp_path):
    with recorder(tmp_path):
        robot.wait_until_recorded(robot.pictures)
        robot.pictures.publish(Image(height=4, width=6, step=18, encoding="thermal"))
        robot.spin(0.2)
        robot.say_alarm(DiagnosticStatus.ERROR)
        [bag] = robot.wait_for_incidents(tmp_path)
        robot.wait_for_words("the image's encoding is 'thermal'")
    assert not list(bag.glob("still*"))
    assert "/failure_monitor/overlay" in recorded_topics(bag)


def read_topic(bag: Path, topic: str) -> list[bytes]:
    with Reader(bag) as reader:
        connections = [one for one in reader.connections if one.topic == topic]
        return [bytes(raw) for _, _, raw in reader.messages(connections)]


# Memory


def test_flood_is_held_within_the_memory_budget_and_told(robot, tmp_path):
    with recorder(tmp_path, memory_megabytes=0.2):
        robot.wait_until_recorded(robot.words)
        for number in range(300):
            robot.words.publish(String(data=f"{number:04d} {'x' * 2000}"))
            robot.spin(0.002)
        robot.wait_for_words("raise 'memory_megabytes', or record less")
        # What is latched, here the last alarm, is held beyond the budget.
        assert 0 < int(robot.values()["held_bytes"]) <= 200_000 + 1_000
        robot.say_alarm(DiagnosticStatus.ERROR)
        [bag] = robot.wait_for_incidents(tmp_path)
    kept = [int(word[:4]) for word in words(bag)]
    assert kept[-1] == 299
    assert 50 < len(kept) < 100


def test_message_that_exceeds_the_memory_is_dropped_and_counted(robot, tmp_path):
    with recorder(tmp_path, memory_megabytes=0.1):
        robot.wait_until_recorded(robot.words)
        robot.words.publish(String(data="x" * 200_000))
        robot.wait_for_words(
            "1 messages were dropped for lack of memory: raise 'memory_megabytes'"
        )


# Disk


def test_oldest_incident_is_removed_for_a_new_one(robot, tmp_path):
    old = tmp_path / "incident_0000_20260102T030405Z"
    labelled = tmp_path / "incident_0001_20260102T030405Z"
    for path in (old, labelled):
        path.mkdir()
        (path / "data").write_bytes(bytes(8_000_000))
    (labelled / "outcome.mcap").write_bytes(b"")
    with recorder(tmp_path, disk_megabytes=16.0):
        robot.wait_until_recorded()
        robot.say_alarm(DiagnosticStatus.ERROR)
        robot.wait_for(lambda: not old.exists(), "the oldest to go")
        bags = robot.wait_for_incidents(tmp_path, 2)
    assert labelled in bags
    assert bags[-1].name.startswith("incident_0002_")


def test_incident_that_exceeds_the_disk_is_cut_and_stays_readable(robot, tmp_path):
    with recorder(tmp_path, disk_megabytes=10.0, seconds_after=3.0):
        robot.wait_until_recorded(robot.words)
        # Random, so that it does not shrink.
        noise = [base64.b64encode(os.urandom(375_000)).decode() for _ in range(60)]
        robot.say_alarm(DiagnosticStatus.ERROR)
        for word in noise:
            robot.words.publish(String(data=word))
            robot.spin(0.01)
        [bag] = robot.wait_for_incidents(tmp_path)
        robot.wait_for_words("is cut short")
    assert 1 <= len(words(bag)) < 60
    assert said(bag)["incident.end"] == "the disk had no room for more"
    assert sum(path.stat().st_size for path in bag.iterdir()) < 11_000_000


def test_disk_that_is_nearly_full_is_told_before_there_is_an_incident(robot, tmp_path):
    with recorder(tmp_path, least_free_megabytes=1e9) as process:
        robot.wait_until_recorded()
        status = robot.wait_for_words("MB free, must keep 1000000000 MB")
        assert status.level == DiagnosticStatus.WARN
        robot.say_alarm(DiagnosticStatus.ERROR)
        robot.wait_for_words("1 incidents were lost or incomplete")
        assert process.is_running
    assert incidents(tmp_path) == []


def test_incident_after_one_that_was_lost_is_recorded_whatever_time_the_first_had_left(
    robot, tmp_path
):
    with small_disk(tmp_path / "disk", megabytes=12) as disk:
        filler = fill(disk)
        with recorder(disk / "incidents", seconds_after=600.0):
            robot.wait_until_recorded(robot.words)
            robot.say_alarm(DiagnosticStatus.ERROR)
            robot.wait_for_words("1 incidents were lost or incomplete")
            robot.wait_for(lambda: robot.values()["recording"] == "false", "the loss to be before")
            filler.unlink()
            robot.wait_for(lambda: robot.trigger(f"{NAME}/record").success, "room")
            robot.words.publish(String(data="after"))
            robot.spin(0.5)
        [bag] = incidents(disk / "incidents")
        assert words(bag) == ["after"]


def test_read_only_disk_is_told_and_used_again_when_it_is_mended(robot, tmp_path):
    with small_disk(tmp_path / "disk", megabytes=20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with recorder(disk / "incidents"):
            robot.wait_until_recorded()
            robot.wait_for_words("disk' is not a writable folder")
            robot.say_alarm(DiagnosticStatus.ERROR)
            robot.wait_for_words("1 incidents were lost or incomplete, the last: ")
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            robot.spin(0.5)
            robot.say_alarm(DiagnosticStatus.OK)
            robot.spin(0.2)
            robot.say_alarm(DiagnosticStatus.ERROR)
            robot.wait_for_incidents(disk / "incidents")


def test_full_disk_loses_the_incident_and_no_more(robot, tmp_path):
    # Room enough when it is looked at, none when it is written: others write too.
    with small_disk(tmp_path / "disk", megabytes=12) as disk, recorder(disk) as process:
        robot.wait_until_recorded(robot.words)
        robot.words.publish(String(data="word"))
        robot.spin(0.2)
        robot.say_alarm(DiagnosticStatus.ERROR)
        robot.wait_for_incidents(disk)
        fill = disk / "others"
        fill.write_bytes(bytes(11_000_000))
        robot.say_alarm(DiagnosticStatus.OK)
        robot.spin(0.3)
        robot.say_alarm(DiagnosticStatus.ERROR)
        robot.wait_for_words("lost or incomplete")
        assert process.is_running
        fill.unlink()
        robot.say_alarm(DiagnosticStatus.OK)
        robot.spin(1.5)
        robot.say_alarm(DiagnosticStatus.ERROR)
        robot.wait_for(lambda: robot.values().get("incidents_written") == "2", "the next one")


# Topics


def test_topic_that_changes_its_type_is_told_and_both_are_in_the_bag(robot, tmp_path):
    with recorder(tmp_path, topics="[thing]"):
        first = robot.node.create_publisher(String, "thing", 10)
        robot.wait_until_recorded(first)
        first.publish(String(data="word"))
        robot.spin(0.3)
        robot.node.destroy_publisher(first)
        other = OtherProcess(Bool, "thing")
        try:
            robot.wait_for_words(
                "'/thing' was a std_msgs/msg/String and is now a std_msgs/msg/Bool"
            )
            robot.spin(1.0)
            robot.say_alarm(DiagnosticStatus.ERROR)
            [bag] = robot.wait_for_incidents(tmp_path)
        finally:
            other.end()
    with Reader(bag) as reader:
        types = {one.msgtype for one in reader.connections if one.topic == "/thing"}
    assert types == {"std_msgs/msg/String", "std_msgs/msg/Bool"}


class OtherProcess:
    """Publishes true, ten times a second, until it is ended: one process, one type per topic."""

    CODE = """
import rclpy, sys, time
from std_msgs.msg import Bool
rclpy.init()
node = rclpy.create_node("other")
publisher = node.create_publisher(Bool, sys.argv[1], 10)
while rclpy.ok():
    publisher.publish(Bool(data=True))
    rclpy.spin_once(node, timeout_sec=0.1)
"""

    def __init__(self, kind: type, topic: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.CODE, topic], stderr=subprocess.DEVNULL
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def test_patterns_match_and_every_type_is_recorded(robot, tmp_path):
    joints = robot.node.create_publisher(JointState, "arm/joints", qos_profile_sensor_data)
    states = robot.node.create_publisher(State, "arm/state", LATCHED)
    states.publish(State(label="active"))
    with recorder(tmp_path, topics="[arm/*]"):
        robot.wait_until_recorded(joints, states)
        joints.publish(JointState(name=["elbow"]))
        robot.spin(0.3)
        robot.say_alarm(DiagnosticStatus.ERROR)
        [bag] = robot.wait_for_incidents(tmp_path)
    assert {"/arm/joints", "/arm/state"} <= recorded_topics(bag)
    offered = offered_durability(bag)
    assert offered["/arm/state"] == [QosDurability.TRANSIENT_LOCAL]
    assert offered["/arm/joints"] == [QosDurability.VOLATILE]
    assert "/words" not in recorded_topics(bag)


def test_absent_monitor_is_told(tmp_path):
    rclpy.init()
    try:
        listener = Observer([])
        listener.listen("/diagnostics", DiagnosticArray)
        with recorder(tmp_path, alarm_topics="[nowhere/alarm]"):
            listener.wait_for(
                lambda: any(
                    "'/nowhere/alarm' has no publisher" in status.message
                    for array in listener.received["/diagnostics"]
                    for status in array.status
                ),
                "a word about the alarm",
            )
        listener.node.destroy_node()
    finally:
        rclpy.try_shutdown()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        pytest.param({}, "the parameter 'output' is empty: name a folder", id="folder"),
        pytest.param(
            {"output": "x", "alarm_topics": "['']"},
            "the parameter 'alarm_topics' is empty: name the alarm topic of a monitor",
            id="alarm",
        ),
        pytest.param(
            {"output": "x", "topics": "['a b']"},
            "the parameter 'topics' is 'a b', not a valid topic name",
            id="topic",
        ),
    ],
)
def test_without_what_it_needs_it_ends_with_one_sentence(parameters, sentence):
    with node_process(RECORDER, **parameters) as process:
        process._process.wait(timeout=20)
        code, output = process.end()
    assert code == 2
    assert sentence in output
    assert "Traceback" not in output


def test_parameter_file_lists_every_parameter_at_its_default(tmp_path):
    from failure_monitor.ros.recording.incident_recorder_node import IncidentRecorderNode

    content = yaml.safe_load((ROOT / "config" / "incident_recorder.yaml").read_text())["/**"][
        "ros__parameters"
    ]
    rclpy.init(args=["--ros-args", "-p", f"output:={tmp_path}"])
    try:
        node = IncidentRecorderNode()
        declared = {
            name: parameter.value
            for name, parameter in node.get_parameters_by_prefix("").items()
            if name in content
        }
        assert len(declared) == len(content)
        assert declared == {**content, "output": str(tmp_path)}
        node.destroy_node()
        assert "incidents" not in {thread.name for thread in threading.enumerate()}
    finally:
        rclpy.try_shutdown()
