# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The node on ends of rollouts: `~/outcome`, claims and labels by topic and service, the log."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool, String
from testbed.ros_graph import Observer, node_process

from failure_monitor.bundle import folder as bundle_files
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.rollout_log.log_file import read_log
from failure_monitor.ros.common.key_values import read_key_values
from failure_monitor.ros.common.qos import LATCHED_QOS

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"
OUTCOME = "failure_monitor/outcome"
END, START = "failure_monitor/end_rollout", "failure_monitor/start_rollout"
ALL = 1000
SETTINGS = CalibrationSettings(scores=("ace",), alpha=0.2, folds=3, jobs=1)


@pytest.fixture(scope="module")
def checked_folder(rollouts, policy, tmp_path_factory) -> Path:
    """A bundle with an outcome check, by which a decision is good for long on a slow machine."""
    slow = [replace(rollout, stamps=200 * rollout.stamps) for rollout in rollouts]
    folder = tmp_path_factory.mktemp("bundles") / "checked"
    bundle_files.save(calibrate(slow, policy, SETTINGS), folder)
    return folder


@contextmanager
def monitored(policy, folder: Path, tmp_path: Path, **parameters) -> Iterator[Observer]:
    rclpy.init()
    observer = Observer(policy.action_names)
    observer.listen_to_monitor()
    observer.listen(OUTCOME, DiagnosticStatus, LATCHED_QOS)
    settings = {"bundle": folder, "max_joint_state_age": 0.0, "promise_folder": tmp_path}
    try:
        with node_process(MONITOR, **settings, **parameters):
            wait_for_outcome(observer, "not judged: no rollout has ended yet")
            yield observer
    finally:
        observer.node.destroy_node()
        rclpy.try_shutdown()


def outcome(observer: Observer) -> tuple[str, dict[str, str]]:
    said = observer.received[OUTCOME]
    return (said[-1].message, read_key_values(said[-1].values)) if said else ("", {})


def wait_for_outcome(observer: Observer, word: str, **values: str) -> dict[str, str]:
    def is_so() -> bool:
        message, said = outcome(observer)
        return word in message and all(said.get(name) == text for name, text in values.items())

    observer.wait_for(is_so, f"the outcome '{word}' with {values}")
    return outcome(observer)[1]


def run_rollout(observer: Observer, rollout, decisions: int = ALL) -> None:
    assert observer.trigger(START).success
    for number, decision in enumerate(itertools.islice(rollout.decisions(), decisions)):
        observer.decide(decision)
        observer.wait_for(
            lambda number=number: observer.alarm_values().get("decision") == str(number),
            f"decision {number}",
        )


def records_in(folder: Path):
    [path] = folder.glob("failure_monitor.*.rollouts.jsonl")
    return {record.rollout: record for record in read_log(path)}


def test_ends_are_checked_labelled_and_logged(rollouts, policy, checked_folder, tmp_path):
    with monitored(policy, checked_folder, tmp_path, hardware_id="left arm") as observer:
        without = observer.set_bool(END, True)
        assert not without.success
        assert "no rollout has run" in without.message
        assert not observer.set_bool("failure_monitor/label", True).success

        run_rollout(observer, rollouts[0])
        assert observer.set_bool(END, True).success
        first = wait_for_outcome(observer, "confirmed", claim="success")
        assert "length.ratio" in first
        assert observer.received[OUTCOME][-1].level == DiagnosticStatus.OK
        again = observer.set_bool(END, True)
        assert again.success
        assert "had ended" in again.message
        contradiction = observer.set_bool(END, False)
        assert not contradiction.success
        assert "success was claimed; correct that by ~/label" in contradiction.message

        run_rollout(observer, rollouts[1], decisions=4)
        assert observer.set_bool(END, True).success
        second = wait_for_outcome(observer, "doubtful: ended after 4 decisions")
        assert observer.received[OUTCOME][-1].level == DiagnosticStatus.WARN
        assert second["rollout"] != first["rollout"]
        said = observer.set_bool("failure_monitor/label", False)
        assert said.message == f"rollout '{second['rollout']}' is labelled a failure"
        wait_for_outcome(observer, "doubtful", label="failure", known_outcome="failure")

        run_rollout(observer, rollouts[2], decisions=2)
        assert observer.set_bool(END, True).success
        wait_for_outcome(observer, "not judged: it ended after 2 decisions")
    records = records_in(tmp_path)
    assert [record.check for record in records.values()] == ["confirmed", "doubtful", "not judged"]
    logged = records[second["rollout"]]
    assert (logged.claim, logged.label, logged.decisions) == ("success", "failure", 4)
    assert (logged.robot, logged.monitor) == ("left arm", "/failure_monitor")


def test_claims_and_labels_come_by_topic_and_a_flood_of_them_stops_nothing(
    rollouts, policy, checked_folder, tmp_path
):
    with monitored(policy, checked_folder, tmp_path, success_topic="done") as observer:
        done = observer.node.create_publisher(Bool, "done", 10)
        word = observer.node.create_publisher(Bool, "rollout/label", 10)
        named = observer.node.create_publisher(String, "failure_monitor/label", 10)
        observer.listen("rollout/label", Bool, QoSProfile(depth=100))
        for publisher in (done, word, named):
            observer.wait_for(publisher.get_subscription_count, "the monitor to subscribe")
        run_rollout(observer, rollouts[0])
        done.publish(Bool(data=True))
        wait_for_outcome(observer, "confirmed", claim="success")
        done.publish(Bool(data=False))
        wait_for_outcome(observer, "the claim of success was taken back", claim="none")
        done.publish(Bool(data=True))
        first = wait_for_outcome(observer, "confirmed", claim="success")["rollout"]
        assert observer.permitted(), "the rollout goes on"
        assert observer.set_bool(END, True).success
        # Bool on its topic is of the rollout that ended last, and so is a word without a name.
        wait_for_outcome(observer, "confirmed", label="none")
        observer.wait_for(
            lambda: observer.set_bool("failure_monitor/label", True).success, "a label"
        )
        wait_for_outcome(observer, "confirmed", label="success")
        observer.wait_for(lambda: observer.received["rollout/label"], "the label, repeated")
        # A word that is corrected at once stays corrected, though both are repeated.
        named.publish(String(data="failure"))
        named.publish(String(data="success"))
        named.publish(String(data="failure"))
        observer.wait_for(
            lambda: (
                [said.data for said in observer.received["rollout/label"]][-2:] == [True, False]
            ),
            "the words, repeated",
        )
        observer.spin(0.5)
        wait_for_outcome(observer, "confirmed", label="failure")
        word.publish(Bool(data=True))
        wait_for_outcome(observer, "confirmed", label="success")
        word.publish(Bool(data=False))
        wait_for_outcome(observer, "confirmed", label="failure")
        named.publish(String(data=f"{first} success"))
        wait_for_outcome(observer, "confirmed", label="success")
        named.publish(String(data="maybe"))
        named.publish(String(data="20200101T000000.000Z-9 failure"))
        wait_for_outcome(observer, "confirmed", label="success")
        observer.wait_for(
            lambda: "20200101T000000" in outcome(observer)[1].get("label_problem", ""),
            "the unknown rollout named",
        )
        # It clears no terminal and turns no line around.
        named.publish(String(data="\x1b[2J\u202e failure"))
        observer.wait_for(
            lambda: r"\x1b[2J\u202e" in outcome(observer)[1].get("label_problem", ""),
            "the name with escapes",
        )
        run_rollout(observer, rollouts[1], decisions=5)
        observer.wait_for(observer.permitted, "the permit")
        for number in range(3000):
            word.publish(Bool(data=number % 2 == 0))
            named.publish(String(data="x" * 1000))
            if number % 100 == 0:
                observer.spin(0.0)
                observer.decide(next(rollouts[1].decisions()))
        observer.spin(0.3)
        assert observer.state() in ("NOMINAL", "CAUTION", "ALARM"), observer.reason()
        assert observer.set_bool(END, True).success
        observer.wait_for(lambda: outcome(observer)[1].get("rollout") != first, "the next outcome")


def test_a_claim_that_comes_late_is_not_judged(rollouts, policy, tmp_path):
    bundle_files.save(calibrate(rollouts, policy, SETTINGS), tmp_path / "bundle")
    parameters = {"max_decision_age": 30.0}
    with monitored(policy, tmp_path / "bundle", tmp_path, **parameters) as observer:
        run_rollout(observer, rollouts[0])
        observer.spin(1.5)
        assert observer.set_bool(END, True).success
        wait_for_outcome(observer, "not judged: success was claimed", claim="success")
        assert "after the last decision" in outcome(observer)[0]


def test_a_claim_in_the_middle_of_a_halt_is_not_judged(rollouts, policy, checked_folder, tmp_path):
    parameters = {"max_decision_age": 0.3}
    with monitored(policy, checked_folder, tmp_path, **parameters) as observer:
        run_rollout(observer, rollouts[0])
        observer.wait_for(lambda: observer.alarm_values().get("halted") == "true", "a halt")
        assert observer.set_bool(END, True).success
        wait_for_outcome(observer, "not judged: the robot was halted by then")
    [record] = records_in(tmp_path).values()
    assert record.stopped
