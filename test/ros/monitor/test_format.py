# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor holds what the policy states about itself against what it was calibrated for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rclpy.node import Node
from std_msgs.msg import Bool, String
from testbed.ros_graph import LATCHED, Observer, node_process, observing
from testbed.synthetic import POLICY, STATED

from failure_monitor.bundle.additions import with_stated_policy
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import save
from failure_monitor.policy_description import PolicyDescription

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
FORMAT = "/policy/format"
OTHER = replace(STATED, checkpoint="b" * 64, checkpoint_name="outputs/other")


class Policy(Observer):
    """Decides, and states what it is."""

    def __init__(self, decision) -> None:
        super().__init__(POLICY.action_names)
        self.decision = decision
        self.format = None

    def state_format(self, stated: PolicyDescription | str) -> None:
        if self.format is None:
            self.format = self.node.create_publisher(String, FORMAT, LATCHED)
        text = stated if isinstance(stated, str) else stated.to_json()
        self.format.publish(String(data=text))

    def leave(self) -> None:
        self.node.destroy_publisher(self.format)
        self.format = None

    def decide_until(self, condition, what: str) -> None:
        self.repeat_until(lambda: self.decide(self.decision), condition, what)

    def expect_stop(self, *reasons: str) -> None:
        """Whatever is decided, nothing is permitted, for these reasons."""
        self.decide_until(
            lambda: all(reason in self.reason() for reason in reasons), f"the reasons {reasons}"
        )
        self.decide_until(lambda: not self.permitted(), "the permit to be withdrawn")
        assert self.state() == "STALE"

    def recover(self) -> None:
        self.decide_until(
            lambda: "cause is gone" in self.reason() or self.state() == "NOMINAL", "recovery"
        )
        if self.state() != "NOMINAL":
            self.trigger("/failure_monitor/reset")
        self.expect_permit()

    def expect_permit(self) -> None:
        self.decide_until(lambda: self.permitted() and self.state() == "NOMINAL", "the permit")


@pytest.fixture(scope="module")
def stated_folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "stated"
    save(with_stated_policy(bundle, STATED), folder)
    return folder


@pytest.fixture
def observer(rollouts) -> Iterator[Policy]:
    with observing(Policy, next(rollouts[0].decisions())) as observer:
        observer.listen_to_monitor()
        yield observer


@contextmanager
def monitor(observer: Policy, bundle: Path, **parameters: object) -> Iterator[None]:
    settings = {"rollout_boundaries": "none", "max_joint_state_age": 0.0, "max_decision_age": 5.0}
    with node_process(MONITOR, bundle=bundle, **{**settings, **parameters}) as process:
        observer.wait_for_monitor_alarm()
        yield
        assert process.is_running


def input_status(observer: Policy):
    observer.received["/diagnostics"].clear()

    def found():
        return [
            status
            for array in observer.received["/diagnostics"]
            for status in array.status
            if status.name.endswith("input policy/format")
        ]

    return observer.wait_for(found, "the diagnostics of the input")[-1]


@pytest.mark.law(7)
def test_nothing_is_permitted_to_a_policy_that_is_not_the_bundles(stated_folder, observer):
    with monitor(observer, stated_folder):
        # It states nothing: the decisions alone could be those of any policy of their shape.
        observer.expect_stop(f"no description of the policy: no message on '{FORMAT}' so far")
        assert "no node publishes there: start the policy with the tap" in observer.reason()

        # It states it after its first decisions, as a latched message may come.
        observer.state_format(STATED)
        observer.expect_permit()
        status = input_status(observer)
        assert (status.level, status.message) == (b"\x00", "received")
        assert {"checkpoint": "a" * 64, "policy": "act"}.items() <= {
            value.key: value.value for value in status.values
        }.items()

        # Another checkpoint, in the middle of the rollout: at once, and without any decision.
        observer.state_format(OTHER)
        observer.wait_for_stop("STALE")
        assert f"'{FORMAT}': the policy is not the one that the bundle" in observer.reason()
        assert (
            "(checkpoint bbbbbbbbbbbb (outputs/other) against aaaaaaaaaaaa (outputs/act))"
            in observer.reason()
        )
        assert input_status(observer).level == b"\x02"
        observer.state_format(STATED)
        observer.recover()

        for name, value in {
            "action_kind": "position",
            "unit": "normalised",
            "control_period": 0.1,
            "execution": "real_time_chunking",
            "guided_actions": 3,
        }.items():
            observer.state_format(replace(STATED, **{name: value}))
            observer.expect_stop(f"{name.replace('_', ' ')} ")
            observer.state_format(STATED)
            observer.recover()

        # What cannot be read is no statement, nor is one that leaves out which policy it is.
        for text, why in {
            "{": "invalid JSON",
            '{"version": 2}': "of version 2",
            "{}": "does not state its policy, checkpoint",
            # No message can carry it on: it must not end the monitor that reports it.
            r'{"policy": "\ud800"}': "expected printable characters",
        }.items():
            observer.state_format(text)
            observer.expect_stop(f"'{FORMAT}': ", why)
            observer.state_format(STATED)
            observer.recover()


@pytest.mark.law(7)
def test_what_a_policy_stated_goes_with_it(stated_folder, observer):
    with monitor(observer, stated_folder):
        observer.state_format(STATED)
        observer.expect_permit()

        # The policy's node ends, and another one decides that states nothing.
        observer.leave()
        observer.expect_stop("no description of the policy")
        # It comes back.
        observer.state_format(STATED)
        observer.recover()

        # Two state it: which of them decides?
        second = Node("second_policy")
        other = second.create_publisher(String, FORMAT, LATCHED)
        other.publish(String(data=STATED.to_json()))
        # The name may come later than the publisher, or not at all where its message was lost.
        observer.expect_stop(f"2 publishers on '{FORMAT}' (/observer, ")
        # The one that stays has stated it before: it is received again.
        second.destroy_node()
        observer.recover()

        # The right one leaves, and the wrong one stays.
        second = Node("second_policy")
        other = second.create_publisher(String, FORMAT, LATCHED)
        other.publish(String(data=OTHER.to_json()))
        observer.expect_stop(f"2 publishers on '{FORMAT}'")
        observer.state_format(STATED)
        observer.spin(0.3)
        observer.leave()
        observer.decide_until(
            lambda: "(checkpoint bbbbbbbbbbbb" in observer.alarm_values()["now"],
            "the statement of the one that stays",
        )
        assert not observer.permitted()
        second.destroy_node()


@pytest.mark.law(7)
def test_a_policy_that_does_not_latch_its_statement_is_told_so(stated_folder, observer):
    observer.format = observer.node.create_publisher(String, FORMAT, 1)
    with monitor(observer, stated_folder):
        observer.state_format(STATED)
        observer.expect_stop("/observer publishes there volatile: let it publish latched")


def test_a_statement_that_was_made_before_the_monitor_started_counts(stated_folder, observer):
    observer.state_format(STATED)
    with monitor(observer, stated_folder, rollout_boundaries="topic", rollout_topic="running"):
        running = observer.node.create_publisher(Bool, "running", LATCHED)
        running.publish(Bool(data=False))
        observer.wait_for(running.get_subscription_count, "the monitor to subscribe")
        observer.spin(0.3)
        running.publish(Bool(data=True))
        observer.expect_permit()


@pytest.mark.law(7)
def test_an_older_bundle_needs_no_statement_and_rejects_what_contradicts_it(
    bundle_folder, observer
):
    with monitor(observer, bundle_folder):
        observer.expect_permit()
        assert input_status(observer).message == "not published"
        observer.state_format(STATED)
        observer.decide_until(lambda: input_status(observer).message == "received", "the format")
        observer.expect_permit()
        observer.state_format(replace(STATED, action_kind="position"))
        observer.expect_stop("action kind position against delta")
        observer.state_format(STATED)
        observer.recover()
        observer.state_format("nonsense")
        observer.expect_stop("invalid JSON")
        observer.leave()
        observer.recover()


def test_the_topic_has_the_name_of_its_parameter(stated_folder, observer):
    with monitor(observer, stated_folder, format_topic="arm/format"):
        publisher = observer.node.create_publisher(String, "arm/format", LATCHED)
        publisher.publish(String(data=STATED.to_json()))
        observer.expect_permit()
