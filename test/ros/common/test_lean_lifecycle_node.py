# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor's node has no events of the middleware, and no request for a transition ends it."""

from __future__ import annotations

import pytest
import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
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


class Managed:
    """A lifecycle node and another that asks it for transitions."""

    def __init__(self, node: LeanLifecycleNode) -> None:
        self.executor = SingleThreadedExecutor()
        self.asker = Node("asker")
        self.executor.add_node(node)
        self.executor.add_node(self.asker)

    def ask(self, kind: type, name: str, request):
        client = self.asker.create_client(kind, f"/quiet/{name}")
        assert client.wait_for_service(10.0)
        future = client.call_async(request)
        self.executor.spin_until_future_complete(future, timeout_sec=10.0)
        self.asker.destroy_client(client)
        return future.result()

    def change(self, number: int, label: str = "") -> bool:
        transition = Transition(id=number, label=label)
        return self.ask(
            ChangeState, "change_state", ChangeState.Request(transition=transition)
        ).success

    @property
    def state(self) -> int:
        return self.ask(GetState, "get_state", GetState.Request()).current_state.id


STEPS = {
    State.PRIMARY_STATE_UNCONFIGURED: [],
    State.PRIMARY_STATE_INACTIVE: [Transition.TRANSITION_CONFIGURE],
    State.PRIMARY_STATE_ACTIVE: [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE],
    State.PRIMARY_STATE_FINALIZED: [Transition.TRANSITION_UNCONFIGURED_SHUTDOWN],
}
FITTING = {
    State.PRIMARY_STATE_UNCONFIGURED: {1, 5},
    State.PRIMARY_STATE_INACTIVE: {2, 3, 6},
    State.PRIMARY_STATE_ACTIVE: {4, 7},
    State.PRIMARY_STATE_FINALIZED: set(),
}


@pytest.mark.law(7)
@pytest.mark.parametrize("state", STEPS)
def test_a_transition_that_does_not_fit_is_answered_with_false_in_every_state(node, state):
    managed = Managed(node)
    assert all(managed.change(step) for step in STEPS[state])
    for number in {*range(256)} - FITTING[state]:
        assert not managed.change(number), number
    for label in ("nonsense", " ", "transition_success", "ä" * 1000, "\n"):
        assert not managed.change(0, label)
    assert managed.state == state
    for number in FITTING[state] & {1, 3, 4}:
        assert managed.change(number)
