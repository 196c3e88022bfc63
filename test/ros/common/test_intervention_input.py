# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a node makes of each message that says whether a human intervenes."""

from __future__ import annotations

import time
from array import array

import pytest
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from testbed.ros_graph import LATCHED, Observer, observing

from failure_monitor.monitoring.several_publishers import CONTESTED_MEMORY
from failure_monitor.parameters.intervention import InterventionParameters
from failure_monitor.ros.common import intervention_input
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


def publisher(observer):
    made = observer.node.create_publisher(Bool, "intervention", LATCHED)
    observer.wait_for(lambda: made.get_subscription_count() == 2, "a listener")
    return made


@pytest.mark.law(12)
def test_who_has_just_begun_to_publish_ends_nothing_by_their_first_word(observer, monkeypatch):
    counted = [1]  # as long as the middleware has not counted the other, which takes a moment
    monkeypatch.setattr(intervention_input, "publisher_count", lambda *_: counted[0])
    received = []
    intervention = InterventionInput(
        observer.node,
        InterventionParameters(),
        on_intervention=lambda: received.append(1),
        changed=lambda: None,
    )

    def holds() -> bool:
        return intervention.holds(time.monotonic())

    human, other = publisher(observer), publisher(observer)
    for _ in range(2):
        human.publish(Bool(data=True))
        observer.wait_for(holds, "the human")
        human.publish(Bool(data=False))
        observer.wait_for(lambda: not holds(), "the human to let go")
    human.publish(Bool(data=True))
    observer.wait_for(holds, "the human")
    other.publish(Bool(data=False))
    observer.spin(0.05)
    assert holds()
    counted[0] = 2
    observer.spin(0.3)
    counted[0] = 1
    observer.spin(CONTESTED_MEMORY + 0.5)
    assert holds()
    # Whoever stays the only one is believed after a while, such as a node that was started again.
    observer.node.destroy_publisher(human)
    observer.node.destroy_publisher(other)
    publisher(observer).publish(Bool(data=False))
    observer.spin(0.05)
    assert holds()
    observer.wait_for(lambda: not holds(), "the word of the only publisher")


@pytest.mark.law(12)
def test_who_says_a_word_and_leaves_before_they_are_counted_ends_nothing(observer, monkeypatch):
    monkeypatch.setattr(intervention_input, "publisher_count", lambda *_: 1)
    intervention = InterventionInput(
        observer.node,
        InterventionParameters(),
        on_intervention=lambda: None,
        changed=lambda: None,
    )

    def holds() -> bool:
        return intervention.holds(time.monotonic())

    human = publisher(observer)
    human.publish(Bool(data=True))
    observer.wait_for(holds, "the human")
    assert intervention.problems(time.monotonic()) == []
    passer_by = publisher(observer)
    passer_by.publish(Bool(data=False))
    observer.spin(0.1)
    observer.node.destroy_publisher(passer_by)
    observer.spin(CONTESTED_MEMORY + 0.5)
    assert holds()
    # The human's own word follows the one by which they took over, and counts.
    human.publish(Bool(data=False))
    observer.wait_for(lambda: not holds(), "the human to let go")
    # What cannot be read, or was lost, may have been of a human, whoever said the opposite before.
    human.publish(Bool(data=True))
    observer.wait_for(holds, "the human")
    observer.node.destroy_publisher(human)
    publisher(observer).publish(Bool(data=False))
    observer.spin(0.1)
    intervention._lose()
    observer.spin(CONTESTED_MEMORY + 0.5)
    assert holds()
