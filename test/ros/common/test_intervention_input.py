# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a node does for each message that says that a human intervenes."""

from __future__ import annotations

from array import array

import pytest
from sensor_msgs.msg import Joy
from testbed.ros_graph import Observer, observing

from failure_monitor.parameters.intervention import InterventionParameters
from failure_monitor.ros.common.intervention_input import InterventionInput

pytestmark = pytest.mark.ros


@pytest.fixture
def observer():
    with observing(Observer, action_names=["dx"]) as observer:
        yield observer


def test_a_flood_of_activity_is_one_change(observer):
    heard, changes = [], []
    settings = InterventionParameters(topic="joy", type="sensor_msgs/msg/Joy", timeout=60.0)
    intervention = InterventionInput(
        observer.node,
        settings,
        on_intervention=lambda: heard.append(1),
        changed=lambda: changes.append(1),
    )
    joystick = observer.node.create_publisher(Joy, "joy", 10)
    observer.wait_for(joystick.get_subscription_count, "the joystick to be heard")
    for number in range(1, 6):
        joystick.publish(Joy(axes=array("f", [1.0])))
        observer.wait_for(lambda: len(heard) == number, "the activity")  # noqa: B023
    observer.spin(0.1)
    # Each is known, and a heartbeat for each would drown whoever receives it.
    assert (len(heard), len(changes)) == (5, 1)
    assert intervention.last_reason == "a human intervenes: there is activity on '/joy'"
