# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What says where rollouts begin and end divides bags, and no message of it ends a recorder."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from std_msgs.msg import Bool, Float64, Int32, String
from testbed.ros_graph import LATCHED, Observer, node_process, observing

RECORD = "failure_monitor.ros.recording.record_node"
INCIDENTS = "failure_monitor.ros.recording.incident_recorder_node"
NO_MESSAGE = b"\x00\x01\x00\x00"
"""The head of a message, and nothing behind it."""

pytestmark = pytest.mark.ros


@pytest.fixture
def robot():
    with observing(Observer, action_names=["dx"]) as robot:
        yield robot


def reporter(robot, kind: type, topic: str = "rollout/active", qos=10):
    """Return what publishes on a topic, once a recorder listens."""
    publisher = robot.node.create_publisher(kind, topic, qos)

    def report(*values) -> None:
        robot.wait_for(publisher.get_subscription_count, "the recorder")
        for value in values:
            publisher.publish(value if isinstance(value, bytes) else kind(data=value))
            robot.spin(0.15)

    return report


def reports(bag, kind: type) -> list[bool | str]:
    with Reader(bag) as reader:
        chosen = [one for one in reader.connections if one.topic == "/rollout/active"]
        return [
            deserialize_message(bytes(raw), kind).data for _, _, raw in reader.messages(chosen)
        ]


@pytest.mark.parametrize(
    ("kind", "said", "bags"),
    [
        (
            String,
            ["", "pick", "pick", "", "", "place", "pick", "pick", ""],
            [["pick", "pick", ""], ["place"], ["pick", "pick", ""]],
        ),
        (
            Bool,
            [False, True, True, True, False, False, True, False],
            [[True, True, True, False], [True, False]],
        ),
    ],
)
def test_a_rollout_is_a_bag_however_often_it_is_reported(robot, tmp_path, kind, said, bags):
    with node_process(RECORD, output=tmp_path, tail=0.1) as recorder:
        reporter(robot, kind)(*said)
        robot.wait_for(lambda: len(list(tmp_path.glob("rollout_*"))) == len(bags), "the bags")
        code, output = recorder.end()
    assert code == 0, output
    assert [reports(bag, kind) for bag in sorted(tmp_path.glob("rollout_*"))] == bags


def test_an_unreadable_report_is_named_and_the_next_rollout_is_recorded(robot, tmp_path):
    with node_process(RECORD, output=tmp_path, tail=0.1) as recorder:
        reporter(robot, Bool)(True, NO_MESSAGE, False, True, False)
        robot.wait_for(lambda: len(list(tmp_path.glob("rollout_*"))) == 2, "the bags")
        code, output = recorder.end()
    assert code == 0, output
    assert "'/rollout/active' cannot be read as a std_msgs/msg/Bool" in output
    assert "Traceback" not in output
    assert reports(tmp_path / "rollout_0000", Bool) == [True, False]


def test_a_topic_that_reports_no_rollouts_is_named_and_one_that_then_does_is_followed(
    robot, tmp_path
):
    with node_process(RECORD, output=tmp_path, tail=0.1) as recorder:
        wrong = robot.node.create_publisher(Int32, "rollout/active", 10)
        robot.wait_for(wrong.get_subscription_count, "the recorder")
        wrong.publish(Int32(data=1))
        robot.spin(0.3)
        robot.node.destroy_publisher(wrong)
        reporter(robot, Bool)(True, False)
        robot.wait_for(lambda: list(tmp_path.glob("rollout_*")), "the bag")
        code, output = recorder.end()
    assert code == 0, output
    assert (
        "'/rollout/active' is a std_msgs/msg/Int32, expected a std_msgs/msg/Bool or a "
        "std_msgs/msg/String" in output
    )


def test_a_bag_that_cannot_be_written_is_lost_and_the_next_is_not(robot, tmp_path):
    folder = tmp_path / "bags"
    with node_process(RECORD, output=folder, tail=0.1) as recorder:
        report = reporter(robot, Bool)
        report(False)
        folder.rename(tmp_path / "elsewhere")
        folder.write_text("in the way")
        report(True, False)
        robot.spin(0.3)
        folder.unlink()
        folder.mkdir()
        report(True, False)
        robot.wait_for(lambda: list(folder.glob("rollout_*")), "the bag")
        code, output = recorder.end()
    assert code == 0, output
    assert "the bag of this rollout is lost" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"output": "/proc/none"}, "'output' is '/proc/none', where no folder can be made"),
        ({"output": "/dev/null"}, "'output' is '/dev/null', where no folder can be made"),
        ({"output": ".", "prefix": "a/b"}, "the parameter 'output' is empty"),
        ({"output": "/tmp", "prefix": "a/b"}, "the parameter 'prefix' is 'a/b'"),
        ({"output": "/tmp", "tail": -1.0}, "tail out of range"),
        ({"output": "/tmp", "boundary_topic": "a b"}, "'boundary_topic' is 'a b', not a valid"),
    ],
)
def test_parameters_with_which_no_bag_can_be_written_end_it_with_a_sentence(given, words):
    with node_process(RECORD, **given) as recorder:
        code, output = recorder.wait()
    assert code == 2
    assert words in output
    assert "Traceback" not in output


def test_incidents_are_recorded_after_messages_that_are_none_and_end_with_the_task(
    robot, tmp_path
):
    given = {"output": tmp_path, "topics": "[data]", "least_free_megabytes": 0.0}
    alarms = robot.node.create_publisher(DiagnosticStatus, "failure_monitor/alarm", LATCHED)
    data = robot.node.create_publisher(Float64, "data", 10)

    def say_alarm(*levels: bytes) -> None:
        for level in levels:
            alarms.publish(DiagnosticStatus(level=level))
            robot.spin(0.2)

    with node_process(INCIDENTS, **given) as recorder:
        robot.wait_for(
            lambda: alarms.get_subscription_count() and data.get_subscription_count(),
            "the recorder",
        )
        report = reporter(robot, String)
        report("", "pick", NO_MESSAGE)
        data.publish(Float64(data=1.0))
        alarms.publish(NO_MESSAGE + b"\xff\xff\xff\x7f")
        say_alarm(DiagnosticStatus.OK, DiagnosticStatus.ERROR)
        report("pick", "place")
        robot.wait_for(lambda: list(tmp_path.glob("incident_*")), "the incident")
        code, output = recorder.end()
    assert code == 0, output
    assert "'/failure_monitor/alarm' cannot be read as a diagnostic_msgs/msg/DiagnosticStatus" in (
        output
    )
    assert "'/rollout/active' cannot be read as a std_msgs/msg/String" in output
    assert "Traceback" not in output
    (incident,) = tmp_path.glob("incident_*")
    assert "the next rollout began" in (incident / "metadata.yaml").read_text()
