# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters take effect where that is safe, and are refused with the reason where it is not."""

import re
from dataclasses import replace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter
from testbed.ros_graph import DISCOVERY, NodeProcess, Observer, node_process, observing

from failure_monitor.errors import UsageError
from failure_monitor.parameters.monitor import SETTABLE, MonitorParameters
from failure_monitor.ros.common.parameters import check_parameters

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"


class Operator(Observer):
    """Sets parameters."""

    def set(self, monitor: str = "failure_monitor", **values) -> list:
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        request = SetParameters.Request(
            parameters=[parameter.to_parameter_msg() for parameter in parameters]
        )
        return self.ask(monitor, SetParameters, "set_parameters", request).results

    def describe(self, *names: str) -> list:
        request = DescribeParameters.Request(names=list(names))
        answer = self.ask("failure_monitor", DescribeParameters, "describe_parameters", request)
        return answer.descriptors

    def ask(self, monitor: str, kind: type, service: str, request):
        client = self.node.create_client(kind, f"/{monitor}/{service}")
        assert client.wait_for_service(DISCOVERY)
        answer = self.wait_until_answered(client, request)
        self.node.destroy_client(client)
        return answer


@pytest.fixture(scope="module")
def operator(policy):
    with observing(Operator, policy.action_names) as operator:
        operator.listen_to_monitor()
        yield operator


@pytest.fixture(scope="module")
def monitor(bundle_folder, operator):
    parameters = {"max_joint_state_age": 0.0, "max_decision_age": 20.0}
    parameters |= {"commands_topic": "commands", "rollout_pause": 2.0, "noise_seed": 3}
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters
    ) as process:
        operator.wait_for_monitor_alarm()
        yield process


def test_ages_and_enable_take_effect_at_once(monitor, operator, decision):
    operator.decide(decision)
    operator.wait_for(operator.permitted, "the permit")
    assert operator.set(max_decision_age=0.5)[0].successful
    operator.wait_for_stop("STALE")
    assert "than 0.5 s" in operator.reason()
    assert operator.set(max_decision_age=20.0)[0].successful
    operator.decide(decision)
    operator.wait_for(lambda: "cause is gone" in operator.reason(), "a verdict")
    operator.trigger("/failure_monitor/reset")
    operator.decide(decision)
    operator.wait_for(operator.permitted, "the permit")
    assert operator.set(enable=False)[0].successful
    operator.wait_for(lambda: "disabled" in operator.reason(), "the reason")
    assert operator.set_bool("/failure_monitor/enable", True).success
    assert operator.describe("enable")[0].name == "enable"
    operator.decide(decision)
    operator.wait_for(operator.permitted, "the permit of what is enabled again")
    assert operator.set(max_joint_state_age=0.3)[0].successful
    operator.wait_for_stop("STALE")
    assert "no message on '/joint_states' so far" in operator.reason()
    assert operator.set(max_joint_state_age=0.0)[0].successful


def test_what_has_no_effect_with_this_bundle_is_said(monitor, operator):
    def scoring():
        arrays = operator.received["/diagnostics"]
        found = [one for each in arrays for one in each.status if one.name.endswith(": scoring")]
        return found[-1] if found else None

    status = operator.wait_for(scoring, "the diagnostics")
    assert status.level == DiagnosticStatus.WARN
    for sentence in (
        "the parameter 'commands_topic' has no effect: no score of the bundle was calibrated on",
        "'rollout_pause' has no effect: it is for 'rollout_boundaries' pause, not none",
        "'noise_seed' has no effect: the monitor runs no sampler",
    ):
        assert sentence in status.message
    assert status.message.count("has no effect") == 3


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"bundle": "/elsewhere"}, "'bundle' takes effect when the node is configured"),
        ({"embedding_topic": "other"}, "clean it up first"),
        ({"heartbeat_period": 0.1}, "only when the node is started"),
        ({"max_decision_age": 100.0}, "max_decision_age"),
        ({"max_decision_age": 1}, "another type"),
        ({"max_stamp_lead": -1.0}, "max_stamp_lead"),
    ],
)
def test_what_cannot_be_set_now_is_refused_with_the_reason(monitor, operator, values, reason):
    result = operator.set(**values)[0]
    assert not result.successful
    assert reason in result.reason


def test_every_parameter_says_what_it_is_and_which_values_it_takes(monitor, operator):
    names = [*SETTABLE, "bundle", "rollout_boundaries", "heartbeat_period", "autostart"]
    described = {d.name: d for d in operator.describe(*names)}
    assert all(descriptor.description for descriptor in described.values())
    assert described["heartbeat_period"].read_only
    assert described["autostart"].read_only
    assert not described["enable"].read_only
    for name in SETTABLE[1:]:
        ranges = described[name].floating_point_range or described[name].integer_range
        assert ranges[0].to_value in (60.0, 50)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"rollout_boundaries": "sometimes"}, "not one of service, topic, pause, none"),
        ({"rollout_topic_type": "std_msgs/msg/Int8"}, "not one of std_msgs/msg/Bool"),
        (
            {"embedding_topic": "bad name"},
            "'embedding_topic' is 'bad name', not a valid topic name",
        ),
        ({"rollout_topic": "a//b"}, "'rollout_topic' is 'a//b', not a valid topic name"),
    ],
)
def test_a_value_that_is_none_of_a_parameters_is_refused(operator, values, reason):
    with pytest.raises(UsageError, match=re.escape(reason)):
        check_parameters(operator.node, replace(MonitorParameters(), **values))


def test_a_value_that_is_refused_at_the_start_keeps_the_node_unconfigured_until_it_is_mended(
    bundle_folder, operator
):
    # Not of the same name: the other monitor of this module may still run.
    operator.listen("/late/alarm", DiagnosticStatus)
    arguments = ["-r", "__node:=late", "-p", f"bundle:={bundle_folder}"]
    process = NodeProcess(MONITOR, *arguments, "-p", "rollout_boundaries:=sometimes")

    def reason():
        return "".join(alarm.message for alarm in operator.received["/late/alarm"][-1:])

    operator.wait_for(lambda: "'rollout_boundaries' is 'sometimes'" in reason(), "the reason")
    refused = operator.set("late", rollout_boundaries="seldom")[0]
    assert not refused.successful
    assert "not one of service, topic, pause, none" in refused.reason
    assert operator.set("late", rollout_boundaries="none")[0].successful
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    # Not its answer: if it is lost and asked for again, there is nothing left to configure.
    operator.ask("late", ChangeState, "change_state", request)
    operator.wait_for(lambda: "not active" in reason(), "a configured monitor")
    assert process.end()[0] == 0
