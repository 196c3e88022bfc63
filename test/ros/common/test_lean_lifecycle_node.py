# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's executor looks after no events of the middleware before each message."""

from __future__ import annotations

import pytest
import rclpy
from std_msgs.msg import Bool

from failure_monitor.ros.common.incompatible_qos import subscription_events
from failure_monitor.ros.common.lean_lifecycle_node import LeanLifecycleNode

pytestmark = pytest.mark.ros


@pytest.fixture
def node():
    rclpy.init()
    node = LeanLifecycleNode("quiet")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def test_publishers_and_subscriptions_have_no_events(node):
    node.create_publisher(Bool, "said", 10)
    node.create_subscription(Bool, "heard", lambda message: None, 10)
    assert list(node.waitables) == []


def test_events_that_are_asked_for_are_there(node):
    node.create_subscription(
        Bool, "heard", lambda message: None, 10, event_callbacks=subscription_events(print)
    )
    assert len(list(node.waitables)) == 1
