# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bag states what its publishers offered, in the form that every rosbag2 reads."""

import pytest
import yaml
from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from rosbags.rosbag2 import Reader

from failure_monitor.ros.recording.bag_writer import BagWriter
from failure_monitor.ros.recording.offered_qos import offered_qos

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
HEARTBEAT = QoSProfile(
    depth=3,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    deadline=Duration(seconds=1.5),
    liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
    liveliness_lease_duration=Duration(nanoseconds=150_000_000),
)
FOREVER = {"sec": 9223372036, "nsec": 854775807}
BOOL, MESSAGE = "std_msgs/msg/Bool", b"\x00\x01\x00\x00\x01"


def topics(bag):
    """The topics of a bag's metadata, by name."""
    about = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert about["version"] == 8
    return {
        one["topic_metadata"]["name"]: one["topic_metadata"]
        for one in about["topics_with_message_count"]
    }


def test_profiles_are_text_with_numbers_which_humble_and_jazzy_read(tmp_path):
    bag = BagWriter(tmp_path / "bag", lambda topic, kind: [offered_qos(HEARTBEAT)])
    bag.write("/permit", BOOL, 1, MESSAGE)
    bag.close()
    offered = topics(tmp_path / "bag")["/permit"]["offered_qos_profiles"]
    assert isinstance(offered, str)
    assert yaml.safe_load(offered) == [
        {
            "history": 1,
            "depth": 3,
            "reliability": 2,
            "durability": 2,
            "deadline": {"sec": 1, "nsec": 500_000_000},
            "lifespan": {"sec": 0, "nsec": 0},
            "liveliness": 3,
            "liveliness_lease_duration": {"sec": 0, "nsec": 150_000_000},
            "avoid_ros_namespace_conventions": False,
        }
    ]


def test_publishers_that_come_after_the_first_message_are_in_it(tmp_path):
    offers = {"/tf_static": [offered_qos(LATCHED)], "/gone": []}
    bag = BagWriter(tmp_path / "bag", lambda topic, kind: offers[topic])
    bag.write("/tf_static", BOOL, 1, MESSAGE)
    bag.write("/gone", BOOL, 1, MESSAGE)
    offers["/tf_static"].append(offered_qos(HEARTBEAT))
    bag.write("/tf_static", BOOL, 2, MESSAGE)
    bag.close()
    with Reader(tmp_path / "bag") as reader:
        read = {one.topic: one.ext.offered_qos_profiles for one in reader.connections}
    assert read == {"/tf_static": offers["/tf_static"], "/gone": []}
    assert topics(tmp_path / "bag")["/gone"]["offered_qos_profiles"] == ""


@pytest.mark.parametrize(
    ("profile", "field", "name"),
    [
        (QoSProfile(history=HistoryPolicy.KEEP_ALL), "history", "KEEP_ALL"),
        (LATCHED, "durability", "TRANSIENT_LOCAL"),
        (QoSProfile(depth=1, durability=DurabilityPolicy.UNKNOWN), "durability", "UNKNOWN"),
        (QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_AVAILABLE), "reliability", None),
        (QoSProfile(depth=1, liveliness=LivelinessPolicy.AUTOMATIC), "liveliness", "AUTOMATIC"),
    ],
)
def test_policies_have_their_names(profile, field, name):
    assert getattr(offered_qos(profile), field).name == (name or "BEST_AVAILABLE")


def test_no_limit_is_the_longest_duration():
    forever = QoSProfile(depth=1, deadline=Duration(nanoseconds=2**63 - 1))
    assert offered_qos(forever).deadline._asdict() == FOREVER
