# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""When rollouts begin and end: by service, by a topic, by a pause, or not at all."""

import dataclasses
import time

import pytest
from std_msgs.msg import Bool, String
from testbed.ros_graph import node_process

from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings

pytestmark = pytest.mark.ros

MONITOR = "failure_monitor.ros.monitor.node"


@pytest.fixture(scope="module")
def time_varying_folder(time_varying_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "time_varying"
    save(time_varying_bundle, folder)
    return folder


def wait_for_verdict(observer, number):
    """Until the decision of this number is judged, and commands may pass."""
    observer.wait_for(
        lambda: observer.alarm_values().get("decision") == str(number) and observer.permitted(),
        f"the verdict on decision {number}",
    )


@pytest.mark.parametrize("scores", [("rnd_oe",), ("ace", "phase_knn", "elapsed_time")])
def test_a_bundle_that_follows_the_course_of_a_rollout_is_refused_without_boundaries(
    observer, rollouts, policy, time_varying_folder, tmp_path, scores
):
    folder, reason = time_varying_folder, "its thresholds vary"
    if len(scores) > 1:
        folder, reason = tmp_path / "timed", "phase_knn, elapsed_time depend"
        settings = CalibrationSettings(scores=scores, folds=2, jobs=1)
        save(calibrate(rollouts, policy, settings), folder)
    parameters = {"rollout_boundaries": "none", "max_joint_state_age": 0.0}
    with node_process(MONITOR, bundle=folder, **parameters):
        observer.wait_for_reason("must know when a rollout begins")
        assert reason in observer.reason()
        assert "set rollout_boundaries to service, topic or pause" in observer.reason()
        observer.wait_for(lambda: not observer.permitted(), "the permit to be withdrawn")


@pytest.mark.parametrize("given", [{}, {"rollout_boundaries": "service"}])
def test_unless_told_otherwise_nothing_is_judged_before_a_rollout_is_started_by_service(
    observer, decision, time_varying_folder, given
):
    parameters = {"max_joint_state_age": 0.0, **given}
    with node_process(MONITOR, bundle=time_varying_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.spin(0.5)
        assert observer.state() == "STALE"
        assert "no rollout is running; call ~/start_rollout" in observer.reason()
        assert not observer.permitted()
        assert observer.trigger("/failure_monitor/start_rollout").success
        observer.decide(decision)
        wait_for_verdict(observer, 0)


def test_by_topic_a_rollout_runs_while_it_says_so(observer, decision, time_varying_folder):
    active = observer.node.create_publisher(Bool, "rollout/active", 10)
    parameters = {"rollout_boundaries": "topic", "max_joint_state_age": 0.0}
    with node_process(MONITOR, bundle=time_varying_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.wait_for(active.get_subscription_count, "the monitor to subscribe")
        observer.wait_for_reason("no start was received on '/rollout/active'")
        active.publish(Bool(data=True))
        observer.wait_for_reason("no decision since the rollout started")
        for number in range(3):
            observer.decide(decision)
            wait_for_verdict(observer, number)
        active.publish(Bool(data=True))
        observer.spin(0.3)
        assert observer.alarm_values()["decision"] == "2", "what is repeated changes nothing"
        active.publish(Bool(data=False))
        observer.wait_for_reason("no rollout is running, as '/rollout/active' reports")
        observer.wait_for(lambda: not observer.permitted(), "the permit to be withdrawn")
        assert observer.alarm_values()["halted"] == "false", "an end is no halt"
        active.publish(Bool(data=True))
        observer.wait_for_reason("no decision since the rollout started")
        observer.decide(decision)
        wait_for_verdict(observer, 0)


def test_a_topic_may_name_the_task(observer, decision, rollouts, policy, tmp_path):
    of_tasks = [
        dataclasses.replace(rollout, task=("pick", "place")[index % 2])
        for index, rollout in enumerate(rollouts)
    ]
    settings = CalibrationSettings(scores=("ace",), alpha=0.2, folds=2, jobs=1)
    bundle = calibrate(of_tasks, policy, settings)
    save(bundle, tmp_path / "tasks")
    task = observer.node.create_publisher(String, "task", 10)
    parameters = {
        "rollout_boundaries": "topic",
        "rollout_topic": "task",
        "rollout_topic_type": "std_msgs/msg/String",
        "max_joint_state_age": 0.0,
    }
    with node_process(MONITOR, bundle=tmp_path / "tasks", **parameters):
        observer.wait_for_monitor_alarm()
        observer.wait_for(task.get_subscription_count, "the monitor to subscribe")
        for name in ("pick", "place"):
            task.publish(String(data=name))
            observer.wait_for_reason("no decision since")
            observer.decide(decision)
            wait_for_verdict(observer, 0)
            threshold = float(observer.alarm_values()["ace.threshold"])
            expected = bundle.monitor(name).update(decision).scores[0].threshold
            assert threshold == pytest.approx(expected, rel=1e-4)
        task.publish(String(data="fold"))
        observer.wait_for_reason("no threshold for the task 'fold', only for pick, place")
        observer.wait_for(lambda: not observer.permitted(), "the permit to be withdrawn")
        # Nor is what fills every alarm, or makes lines of its own in the log.
        for name in ("x" * 1_000_000, "pick\n[INFO] [failure_monitor]: all is well"):
            task.publish(String(data=name))
            observer.wait_for_reason(f"has {len(name)} characters, expected at most 500")
            assert observer.reason().isprintable()
            assert len(observer.reason()) < 400
        task.publish(String(data=""))
        observer.wait_for_reason("no rollout is running, as '/task' reports")


def test_a_pause_ends_a_rollout_without_a_halt_and_the_next_decision_begins_one(
    observer, decision, time_varying_folder
):
    parameters = {
        "rollout_boundaries": "pause",
        "rollout_pause": 0.8,
        "max_decision_age": 1.0,
        "max_joint_state_age": 0.0,
    }
    with node_process(MONITOR, bundle=time_varying_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.wait_for_reason("the next decision starts one")
        for _ in range(2):
            observer.decide(decision)
            wait_for_verdict(observer, 0)
            observer.repeat_until(
                lambda: observer.decide(decision),
                lambda: int(observer.alarm_values().get("decision", 0)) > 2,
                "several decisions of one rollout",
            )
            observer.wait_for_reason("0.8 s without a decision ended it")
            observer.wait_for(lambda: not observer.permitted(), "the permit to be withdrawn")
            assert observer.alarm_values()["halted"] == "false"


@pytest.mark.law(4)
@pytest.mark.law(10)
def test_an_orchestrator_that_is_restarted_in_the_middle_of_a_rollout_ends_it(
    observer, decision, bundle_folder
):
    """What goes on may be the old rollout or a new one."""
    parameters = {"rollout_boundaries": "topic", "max_joint_state_age": 0.0}
    first = observer.node.create_publisher(Bool, "rollout/active", 10)
    with node_process(MONITOR, bundle=bundle_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.wait_for(first.get_subscription_count, "the monitor to subscribe")
        for running in (False, True):
            first.publish(Bool(data=running))
        observer.wait_for_reason("no decision since")
        observer.decide(decision)
        wait_for_verdict(observer, 0)
        observer.node.destroy_publisher(first)
        second = observer.node.create_publisher(Bool, "rollout/active", 10)
        observer.wait_for(second.get_subscription_count, "the monitor to subscribe again")
        second.publish(Bool(data=True))
        observer.wait_for_reason("another rollout may be under way")
        observer.wait_for(lambda: not observer.permitted(), "the permit to be withdrawn")
        for running in (True, False, True):
            second.publish(Bool(data=running))
        observer.wait_for_reason("no decision since")


@pytest.mark.law(4)
def test_a_rollout_that_is_under_way_when_the_monitor_starts_is_not_watched(
    observer, decision, bundle_folder
):
    active = observer.node.create_publisher(Bool, "rollout/active", 10)
    for _ in range(2):
        active.publish(Bool(data=True))
    parameters = {"rollout_boundaries": "topic", "max_joint_state_age": 0.0}
    with node_process(MONITOR, bundle=bundle_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.wait_for(active.get_subscription_count, "the monitor to subscribe")
        active.publish(Bool(data=True))
        observer.wait_for_reason("a rollout is reported whose start was not received")
        observer.decide(decision)
        observer.spin(0.3)
        assert observer.state() == "STALE"


@pytest.mark.law(4)
def test_a_decision_that_is_half_there_at_the_start_of_a_rollout_is_not_its_first(
    observer, decision, bundle_folder
):
    with node_process(MONITOR, bundle=bundle_folder, max_joint_state_age=0.0):
        observer.wait_for_monitor_alarm()
        observer.wait_for(observer.embeddings.get_subscription_count, "the monitor to subscribe")
        old = observer.next_stamp()
        observer.publish_embedding(decision, old)
        observer.spin(0.3)
        assert observer.trigger("/failure_monitor/start_rollout").success
        observer.publish_chunks(decision, old)
        observer.spin(0.2)
        assert observer.alarm_values()["received_decisions"] == "0"
        observer.decide(decision)
        wait_for_verdict(observer, 0)
        observer.publish_chunks(decision, old)
        observer.wait_for(
            lambda: observer.alarm_values()["received_decisions"] == "2", "the count of decisions"
        )
        observer.wait_for(
            lambda: observer.alarm_values()["unscored_in_a_row"] == "1", "what is not scored"
        )


@pytest.mark.law(4)
def test_decisions_of_a_rollout_whose_start_was_not_received_start_none(
    observer, decision, bundle_folder
):
    observer.decide(decision)
    parameters = {"rollout_boundaries": "pause", "max_joint_state_age": 0.0}
    with node_process(MONITOR, bundle=bundle_folder, **parameters):
        observer.repeat_until(
            lambda: observer.decide(decision),
            lambda: "whose rollout has started already" in observer.reason(),
            "the reason",
        )
        since = time.monotonic()
        observer.repeat_until(
            lambda: observer.decide(decision),
            lambda: time.monotonic() - since > 2.0,
            "two seconds",
        )
        assert not observer.permitted()
        observer.spin(1.5)
        observer.decide(decision)
        wait_for_verdict(observer, 0)


@pytest.mark.law(6)
def test_a_policy_slower_than_the_pause_is_not_watched_decision_by_decision(
    observer, decision, bundle_folder
):
    parameters = {
        "rollout_boundaries": "pause",
        "rollout_pause": 0.5,
        "max_joint_state_age": 0.0,
    }
    with node_process(MONITOR, bundle=bundle_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.wait_for_reason("the next decision starts one")
        observer.decide(decision)
        wait_for_verdict(observer, 0)
        observer.wait_for_reason("0.5 s without a decision ended it")
        for _ in range(2):
            observer.decide(decision)
            observer.wait_for_reason("the policy decides more seldom than every 0.5 s")
            assert observer.state() == "STALE"
            assert not observer.permitted()
            observer.wait_for_reason("0.5 s without a decision ended it")


def test_a_pause_that_is_shorter_than_the_time_between_decisions_is_rejected(
    observer, bundle_folder
):
    parameters = {"rollout_boundaries": "pause", "rollout_pause": 0.09}
    with node_process(MONITOR, bundle=bundle_folder, **parameters):
        observer.wait_for_reason("'rollout_pause' is 0.09 s, and in calibration up to 0.1 s pass")


def test_a_pause_that_would_always_halt_is_refused(observer, bundle_folder):
    parameters = {"rollout_boundaries": "pause", "rollout_pause": 5.0, "max_decision_age": 1.0}
    with node_process(MONITOR, bundle=bundle_folder, **parameters):
        observer.wait_for_reason("'rollout_pause' is 5 s, longer than 'max_decision_age', 1 s")


def test_two_publishers_of_the_boundaries_contradict_each_other(observer, decision, bundle_folder):
    active = observer.node.create_publisher(Bool, "rollout/active", 10)
    parameters = {"rollout_boundaries": "topic", "max_joint_state_age": 0.0}
    with node_process(MONITOR, bundle=bundle_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.wait_for(active.get_subscription_count, "the monitor to subscribe")
        active.publish(Bool(data=True))
        observer.wait_for_reason("no decision since")
        observer.decide(decision)
        observer.wait_for(observer.permitted, "the permit")
        observer.node.create_publisher(Bool, "rollout/active", 10)
        observer.wait_for_stop("STALE")
        assert "2 publishers on '/rollout/active'" in observer.reason()
