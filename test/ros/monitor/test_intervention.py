# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A human who takes over from the policy, as the monitor takes it."""

import pytest
from std_msgs.msg import Bool
from testbed.ros_graph import LATCHED, Observer, node_process, observing

pytestmark = [pytest.mark.ros, pytest.mark.law(12)]

MONITOR = "failure_monitor.ros.monitor.node"
HUMAN = "a human intervenes: '/intervention' is true; the policy's part of this rollout has ended"
RESET = "/failure_monitor/reset"


@pytest.fixture
def observer(policy):
    with observing(Observer, policy.action_names) as observer:
        observer.listen_to_monitor()
        observer.node.human = observer.node.create_publisher(Bool, "intervention", LATCHED)
        yield observer


@pytest.fixture
def parameters(bundle_folder):
    return {"bundle": bundle_folder, "max_joint_state_age": 0.0}


def human(observer, intervenes):
    observer.node.human.publish(Bool(data=intervenes))


def connect(observer):
    observer.wait_for_monitor_alarm()
    observer.wait_for(lambda: observer.node.human.get_subscription_count() == 2, "it to listen")


def decide_until_permitted(observer, decision, number):
    observer.decide(decision)
    observer.wait_for(
        lambda: observer.alarm_values().get("decision") == str(number) and observer.permitted(),
        f"the verdict on decision {number}",
    )


def test_the_policys_part_ends_and_a_reset_hands_back(observer, decision, parameters):
    with node_process(MONITOR, **parameters, max_decision_age=5.0):
        connect(observer)
        assert observer.trigger("/failure_monitor/start_rollout").success
        decide_until_permitted(observer, decision, 0)
        assert observer.alarm_values()["intervention"] == "false"
        # A moment is enough.
        human(observer, True)
        human(observer, False)
        human(observer, True)
        observer.wait_for(lambda: observer.reason() == HUMAN, "the reason")
        observer.wait_for(lambda: not observer.permitted(), "the permit to be withdrawn")
        values = observer.alarm_values()
        assert (values["state"], values["halted"], values["intervention"]) == (
            *("STALE", "true", "true"),
        )
        received = values["received_decisions"]
        observer.decide(decision)
        observer.decide(decision)
        observer.spin(0.3)
        assert observer.alarm_values()["received_decisions"] == received
        answer = observer.trigger(RESET)
        assert not answer.success
        assert "the cause of the halt persists: a human intervenes" in answer.message
        human(observer, False)
        observer.wait_for_reason(f"the cause is gone: call ~/reset to go on; it was: {HUMAN}")
        # At the very moment of the reset: whoever is first, nothing is permitted.
        human(observer, True)
        assert not observer.trigger(RESET).success
        human(observer, False)
        observer.wait_for_reason("the cause is gone")
        assert observer.trigger(RESET).success
        assert not observer.permitted()
        # What the policy does from now on is counted anew.
        decide_until_permitted(observer, decision, 0)
        assert observer.alarm_values()["intervention"] == "false"


def test_a_human_who_was_there_before_the_first_decision(observer, decision, parameters):
    human(observer, True)
    with node_process(MONITOR, **parameters):
        connect(observer)
        observer.wait_for_reason("no rollout is running; call ~/start_rollout; a human interv")
        assert observer.alarm_values()["halted"] == "false"
        answer = observer.trigger("/failure_monitor/start_rollout")
        assert answer.message == "halted: call ~/reset before commands can pass"
        observer.decide(decision)
        observer.node.destroy_publisher(observer.node.human)
        observer.spin(0.5)
        assert observer.reason() == HUMAN
        assert not observer.permitted()


def test_two_who_say_it_are_a_contradiction(observer, parameters):
    other = observer.node.create_publisher(Bool, "intervention", 10)
    with node_process(MONITOR, **parameters):
        connect(observer)
        observer.wait_for_reason("2 publishers on '/intervention'")
        assert observer.state() == "STALE"
        observer.node.destroy_publisher(other)


def test_what_is_no_type_ends_the_node_with_a_sentence(parameters):
    with node_process(MONITOR, **parameters, intervention_type="std_msgs/Bool") as process:
        code, output = process.wait()
    assert code != 0
    assert "the parameter 'intervention_type' is 'std_msgs/Bool'" in output
    assert "Traceback" not in output
