# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Scores that other programs publish: judged as calibrated, and STALE where they are unknown."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Float32, Float64
from testbed.ros_graph import Observer, node_process, observing

from failure_monitor.bundle.additions import with_external_topics, with_message_types
from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.ros.tap import DecisionTap

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
ENERGY = "/policy/energy"
USUAL = 0.5


class Policy(Observer):
    """Decides, and says how it feels about it."""

    def __init__(self, policy, decision) -> None:
        super().__init__(policy.action_names)
        self.action_names = policy.action_names
        self.decision = decision
        self.energy = self.node.create_publisher(Float64, ENERGY, 10)

    def feel(self, value: float) -> None:
        self.energy.publish(Float64(data=value))

    def decide_until(self, condition, what: str, energy: float | None = None) -> None:
        def decide() -> None:
            if energy is not None:
                self.feel(energy)
            self.decide(self.decision)

        self.repeat_until(decide, condition, what)

    def wait_for_stale(self, reason: str, energy: float | None = None) -> None:
        self.decide_until(lambda: reason in self.reason(), f"the reason '{reason}'", energy)
        self.wait_for(lambda: not self.permitted(), "the permit to be withdrawn")
        assert self.state() == "STALE"

    def recover(self) -> None:
        self.decide_until(
            lambda: "cause is gone" in self.reason() or self.state() == "NOMINAL",
            "recovery",
            USUAL,
        )
        if self.state() != "NOMINAL":
            self.trigger("/failure_monitor/reset")
        self.decide_until(
            lambda: self.permitted() and self.state() == "NOMINAL", "the permit", USUAL
        )


@pytest.fixture(scope="module")
def energy_folder(rollouts, policy, tmp_path_factory):
    energetic = [
        dataclasses.replace(
            rollout, external={"energy": np.random.default_rng(seed).uniform(0, 1, len(rollout))}
        )
        for seed, rollout in enumerate(rollouts)
    ]
    settings = CalibrationSettings(
        scores=("external:energy", "ace"), rule="any", window=2, folds=3, jobs=1
    )
    folder = tmp_path_factory.mktemp("bundles") / "energy"
    bundle = calibrate(energetic, policy, settings)
    save(with_external_topics(bundle, {"energy": ENERGY, "mood": "/mood"}), folder)
    return folder


@pytest.fixture
def observer(policy, rollouts):
    with observing(Policy, policy, next(rollouts[0].decisions())) as observer:
        observer.listen_to_monitor()
        observer.listen("/failure_monitor/normalised_scores/external/energy", Float64)
        yield observer


def test_an_external_score_is_judged_like_any_other_and_fails_closed(energy_folder, observer):
    parameters = {"max_joint_state_age": 0.0, "max_external_age": 0.6, "max_decision_age": 2.0}
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=energy_folder, **parameters
    ) as process:
        observer.wait_for_monitor_alarm()

        # It has never come.
        observer.wait_for_stale(f"the external score energy is unknown: no message on '{ENERGY}'")

        # It is fine.
        observer.recover()
        assert float(observer.alarm_values()["external:energy"]) == pytest.approx(USUAL)
        published = observer.received["/failure_monitor/normalised_scores/external/energy"]
        observer.decide_until(lambda: published, "the normalised score", USUAL)
        assert 0 < published[-1].data < 1

        # It is high.
        observer.feel(50.0)
        observer.decide_until(lambda: observer.state() == "ALARM", "the alarm", 50.0)
        assert "external:energy" in observer.reason()
        observer.recover()

        # It is not a number.
        for value in (math.nan, math.inf):
            observer.wait_for_stale(f"the value on '{ENERGY}' is {value}", value)
            observer.recover()

        # It stops, while decisions go on.
        observer.wait_for_stale(f"no message on '{ENERGY}' for more than 0.6 s")
        observer.recover()

        # Two publish it.
        second = observer.node.create_publisher(Float64, ENERGY, 10)
        observer.wait_for_stale(f"2 publishers on '{ENERGY}'", USUAL)
        observer.node.destroy_publisher(second)
        observer.recover()
        assert process.is_running


def test_an_external_score_is_received_in_the_type_that_was_recorded(
    energy_folder, observer, tmp_path
):
    bundle = with_message_types(load(energy_folder), {ENERGY: "std_msgs/msg/Float32"})
    save(bundle, tmp_path / "bundle")
    observer.node.destroy_publisher(observer.energy)
    observer.energy = observer.node.create_publisher(Float32, ENERGY, 10)
    observer.feel = lambda value: observer.energy.publish(Float32(data=value))
    parameters = {"max_joint_state_age": 0.0, "max_external_age": 0.6, "max_decision_age": 2.0}
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=tmp_path / "bundle", **parameters
    ):
        observer.wait_for_monitor_alarm()
        observer.recover()
        assert float(observer.alarm_values()["external:energy"]) == pytest.approx(USUAL)


def test_decisions_without_a_known_external_score_count_as_missed(energy_folder, observer):
    parameters = {"max_joint_state_age": 0.0, "max_decision_age": 5.0}
    with node_process(MONITOR, rollout_boundaries="none", bundle=energy_folder, **parameters):
        observer.wait_for_monitor_alarm()
        for _ in range(3):
            observer.decide(observer.decision)
        observer.spin(0.5)
        observer.feel(USUAL)
        observer.spin(0.3)
        observer.decide(observer.decision)
        observer.wait_for(observer.permitted, "the permit")
        observer.wait_for(lambda: "decision" in observer.alarm_values(), "the verdict")
        assert observer.alarm_values()["decision"] == "3"


def test_the_bundle_says_where_its_scores_come_from(energy_folder):
    bundle = load(energy_folder)
    assert bundle.description.external_topics == {"energy": ENERGY}
    assert bundle.external_topics == {"energy": ENERGY}
    assert with_external_topics(bundle, {}).external_topics == {"energy": "external_scores/energy"}


def test_extras_and_tokens_of_a_tap_count_for_their_decision_alone(
    rollouts, policy, observer, tmp_path
):
    """A decision without them never gets those of the decision before."""
    random = np.random.default_rng(0)
    published = [
        dataclasses.replace(
            rollout,
            external={"energy": random.uniform(0, 1, len(rollout))},
            tokens=random.normal(size=(len(rollout), 3, 4)).astype(np.float32),
        )
        for rollout in rollouts
    ]
    settings = CalibrationSettings(
        scores=("external:energy", "token_distance"), rule="any", window=1, folds=3, jobs=1
    )
    save(calibrate(published, policy, settings), tmp_path / "bundle")
    for publisher in (observer.embeddings, observer.chunks):
        observer.node.destroy_publisher(publisher)
    tap = DecisionTap(
        observer.node,
        action_names=observer.action_names,
        description=PolicyDescription(extras=("energy",)),
    )
    observer.embeddings, observer.chunks = tap._embedding_publisher, tap._chunks_publisher
    decision, stamps = observer.decision, itertools.count(1)

    usual = {"extras": {"energy": USUAL}, "tokens": published[0].tokens[0]}

    def decide(**given) -> None:
        stamp = Time(sec=next(stamps))
        tap.publish(decision.embedding, decision.chunks, stamp, **given)
        observer.spin(0.1)

    def decide_until(condition, what, **given) -> None:
        def decided() -> bool:
            decide(**given)
            return condition()

        observer.wait_for(decided, what)

    def recover() -> None:
        decide_until(lambda: "cause is gone" in observer.reason(), "recovery", **usual)
        observer.trigger("/failure_monitor/reset")
        decide_until(lambda: observer.state() == "NOMINAL", "a verdict", **usual)

    parameters = {
        "max_joint_state_age": 0.0,
        "max_external_age": 0.05,
        "max_decision_age": 5.0,
        "max_plan_age": 0.0,
        "rollout_boundaries": "none",
    }
    with node_process(MONITOR, bundle=tmp_path / "bundle", **parameters):
        observer.wait_for_monitor_alarm()
        # Slower than max_external_age, which is for other programs.
        decide_until(lambda: observer.state() == "NOMINAL", "a verdict", **usual)
        for missing, why in (
            ("extras", "publish the extra 'energy' with every decision"),
            ("tokens", "no tokens with its stamp have come on '/policy/tokens'"),
        ):
            scored = observer.alarm_values()["decision"]
            for _ in range(3):
                decide(**{name: value for name, value in usual.items() if name != missing})
            observer.wait_for(lambda why=why: why in observer.reason(), "what is missing")
            assert observer.state() == "STALE"
            assert observer.alarm_values()["decision"] == scored
            recover()
        decide(**{**usual, "extras": {"energy": 50.0}})
        observer.wait_for(lambda: "external:energy" in observer.reason(), "the alarm")
        recover()
        decide(**{**usual, "tokens": 9 + usual["tokens"]})
        observer.wait_for(lambda: "token_distance" in observer.reason(), "the alarm")
        recover()
        decide(**{**usual, "tokens": usual["tokens"][:2]})
        reason = "'/policy/tokens': the tokens have shape (2, 4), expected (N, F) = (3, 4)"
        observer.wait_for(lambda: reason in observer.reason(), "the alarm")
        assert observer.state() == "ALARM"
