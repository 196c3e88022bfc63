# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bag carries the definitions of its messages, also of those that are not standard."""

import pytest
import yaml
from rosbags.rosbag2 import Reader

from failure_monitor.errors import UsageError
from failure_monitor.ros.recording.bag_writer import BagWriter
from failure_monitor.ros.recording.message_definitions import MessageDefinitions, message_class

GRIPPER = """\
# A comment, with Words in it
std_msgs/Header header
Finger[<=4] fingers  # of another message
float32[2] limits
string<=8 name "left"
uint8 OPEN=1
geometry_msgs/Point tip
"""
FINGER = "float64 width 0.1\nbyte[] skin\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A workspace that has a package of messages of its own."""
    package = tmp_path / "share" / "gripper_msgs"
    (package / "msg").mkdir(parents=True)
    (package / "msg" / "Gripper.msg").write_text(GRIPPER)
    (package / "msg" / "Finger.msg").write_text(FINGER)
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "gripper_msgs").write_text("")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))


def test_definition_of_a_package_of_ones_own_is_in_the_bag(installed, tmp_path):
    bag = BagWriter(tmp_path / "bag")
    bag.write("/gripper", "gripper_msgs/msg/Gripper", 1, b"\x00\x01\x00\x00")
    bag.close({"said": "something"})
    with Reader(tmp_path / "bag") as reader:
        [connection] = reader.connections
        assert yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())[
            "rosbag2_bagfile_information"
        ]["custom_data"] == {"said": "something"}
    assert "Finger[<=4] fingers" in connection.msgdef.data
    assert "MSG: gripper_msgs/Finger" in connection.msgdef.data
    assert "float64 width" in connection.msgdef.data


def test_message_without_a_definition_is_named():
    with pytest.raises(
        UsageError, match=r"definition of the message type odd_msgs/msg/Odd is not"
    ):
        MessageDefinitions().register("odd_msgs/msg/Odd")


def test_definition_that_cannot_be_parsed_is_named(installed, tmp_path):
    (tmp_path / "share/gripper_msgs/msg/Finger.msg").write_text("float64 ===\n")
    with pytest.raises(UsageError, match=r"definition of .* gripper_msgs/msg/Finger is not under"):
        MessageDefinitions().register("gripper_msgs/msg/Gripper")


def test_message_without_a_class_is_named():
    with pytest.raises(UsageError, match=r"message type odd_msgs/msg/Odd is not installed"):
        message_class("odd_msgs/msg/Odd")


@pytest.mark.parametrize("name", ["HelloWorld", "", "a/b", "a/b/c/d"])
@pytest.mark.parametrize("find", [message_class, MessageDefinitions().register])
def test_type_that_is_not_of_ros_is_named(find, name):
    with pytest.raises(UsageError, match=rf"message type '{name}' is not one of ROS"):
        find(name)


def test_abandoned_bag_leaves_nothing_behind(tmp_path):
    bag = BagWriter(tmp_path / "bag")
    bag.write("/word", "std_msgs/msg/Bool", 1, b"\x00\x01\x00\x00\x01")
    bag.abandon()
    assert list(tmp_path.iterdir()) == []
