# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor node as its users meet it: a process, real messages, real DDS."""

import dataclasses
import signal

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Float64, Header
from testbed.ros_graph import DISCOVERY, node_process

from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings

MONITOR = "failure_monitor.ros.monitor.node"

pytestmark = pytest.mark.ros


@pytest.fixture
def monitor(bundle_folder, observer):
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=bundle_folder, max_joint_state_age=0.0
    ) as process:
        observer.wait_for_monitor_alarm()
        yield process


def test_it_permits_after_a_nominal_decision_and_says_what_it_rests_on(
    monitor, observer, decision, bundle
):
    assert observer.state() == "STALE"
    assert not observer.permitted()
    for name in ("rnd_oe", "ace", "rule"):
        observer.listen(f"/failure_monitor/normalised_scores/{name}", Float64)
    observer.spin(1.0)
    observer.decide(decision)
    observer.wait_for_state("NOMINAL")
    observer.wait_for(observer.permitted, "the permit")
    expected = bundle.monitor().update(decision)
    values = observer.alarm_values()
    assert float(values["level"]) == pytest.approx(expected.level, abs=1e-4)
    for score in expected.scores:
        assert float(values[score.name]) == pytest.approx(score.windowed, rel=1e-4)
        assert float(values[f"{score.name}.threshold"]) == pytest.approx(score.threshold, rel=1e-4)
        assert float(values[f"{score.name}.ratio"]) == pytest.approx(score.normalised, abs=1e-3)
        published = observer.received[f"/failure_monitor/normalised_scores/{score.name}"]
        observer.wait_for(lambda heard=published: heard, f"the normalised {score.name}")
        assert published[-1].data == pytest.approx(score.normalised, rel=1e-5)
    observer.wait_for(lambda: observer.received["/diagnostics"], "diagnostics")
    names = {status.name for status in observer.received["/diagnostics"][-1].status}
    assert names == {
        "failure_monitor: alarm",
        "failure_monitor: scoring",
        "failure_monitor: promise",
        "failure_monitor: input policy/embedding",
        "failure_monitor: input policy/action_chunks",
        "failure_monitor: input policy/format",
        "failure_monitor: input joint_states",
    }


def test_an_alarm_withdraws_the_permit_and_latches_until_reset(
    monitor, observer, decision, strange
):
    observer.decide(decision)
    observer.wait_for(observer.permitted, "the permit")
    observer.decide(strange)
    observer.wait_for_stop("ALARM")
    assert "rnd_oe" in observer.reason()
    refused = observer.trigger("/failure_monitor/reset")
    assert not refused.success
    assert "persists" in refused.message
    # The window of two decisions still holds the strange one after the first.
    for number in ("2", "3"):
        observer.decide(decision)
        observer.wait_for(lambda n=number: observer.alarm_values()["decision"] == n, "a verdict")
    observer.wait_for(lambda: "the cause is gone" in observer.reason(), "the cause to be gone")
    observer.wait_for_stop("ALARM")
    assert observer.trigger("/failure_monitor/reset").success
    observer.decide(decision)
    observer.wait_for(observer.permitted, "the permit after the reset")


def test_decisions_that_cease_withdraw_the_permit(bundle_folder, observer, decision):
    parameters = {"max_joint_state_age": 0.0, "max_decision_age": 0.5}
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.wait_for(observer.permitted, "the permit")
        observer.wait_for_stop("STALE")
        # Whichever is late first: the halves of a decision do not come at the very same time.
        assert "than 0.5 s" in observer.reason()


def test_half_a_decision_permits_nothing(monitor, observer, decision):
    observer.publish_embedding(decision, observer.next_stamp())
    observer.publish_chunks(decision, observer.next_stamp())
    observer.spin(0.5)
    assert observer.state() == "STALE"
    assert "no decision" in observer.reason()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"embedding": np.full(6, np.nan, np.float32)}, "embedding's values are NaN"),
        ({"embedding": np.zeros(7, np.float32)}, "embedding has shape (7,), expected (6,)"),
        ({"chunks": np.full((16, 5, 3), np.inf, np.float32)}, "action chunks' values are NaN"),
        ({"chunks": np.zeros((8, 5, 3), np.float32)}, "expected (B, H, D) = (16, 5, 3)"),
    ],
)
def test_a_broken_decision_is_an_alarm_that_says_so(monitor, observer, decision, broken, reason):
    observer.decide(decision)
    observer.wait_for(observer.permitted, "the permit")
    observer.decide(dataclasses.replace(decision, **broken))
    observer.wait_for_stop("ALARM")
    assert reason in observer.reason()
    assert monitor.is_running


def test_another_policys_actions_are_an_alarm_that_names_both(monitor, observer, decision):
    observer._action_names = ("dx", "dy", "yaw")
    observer.decide(decision)
    observer.wait_for_state("ALARM")
    assert "['dx', 'dy', 'yaw']" in observer.reason()
    assert "['dx', 'dy', 'gripper']" in observer.reason()


def test_a_message_that_is_no_embedding_is_an_alarm_that_names_the_topic(monitor, observer):
    header = Header(stamp=Time(sec=1))
    observer.embeddings.publish(PointCloud2(header=header, height=1, width=1))
    observer.wait_for_state("ALARM")
    assert "'/policy/embedding': an embedding is a 1×1 cloud" in observer.reason()


def test_rollouts_begin_and_end_by_service(monitor, observer, decision, strange):
    observer.decide(decision)
    observer.wait_for(observer.permitted, "the permit")
    assert observer.set_bool("/failure_monitor/end_rollout", True).success
    observer.wait_for(lambda: "no rollout is running" in observer.reason(), "the end")
    observer.decide(strange)
    observer.spin(0.3)
    assert observer.state() == "STALE"
    assert observer.trigger("/failure_monitor/start_rollout").success
    observer.decide(decision)
    observer.wait_for_state("NOMINAL")
    assert observer.alarm_values()["decision"] == "0"


def test_a_disabled_monitor_permits_nothing(monitor, observer, decision):
    observer.decide(decision)
    observer.wait_for(observer.permitted, "the permit")
    observer.set_bool("/failure_monitor/enable", False)
    observer.decide(decision)
    observer.spin(0.3)
    assert not observer.permitted()
    assert "disabled" in observer.reason()
    observer.set_bool("/failure_monitor/enable", True)
    observer.decide(decision)
    observer.wait_for(observer.permitted, "the permit")


def test_joint_states_that_never_come_or_cease_withhold_the_permit(
    bundle_folder, observer, decision
):
    joints = observer.node.create_publisher(JointState, "joint_states", 10)
    parameters = {"max_joint_state_age": 0.5, "max_decision_age": 30.0}
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters):
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.wait_for(
            lambda: "no message on '/joint_states' so far" in observer.reason(), "the reason"
        )
        observer.wait_for(joints.get_subscription_count, "the monitor to subscribe to joints")

        def permitted_while_joints_come():
            joints.publish(JointState(name=["elbow"], position=[0.0]))
            return observer.permitted()

        observer.wait_for(permitted_while_joints_come, "the permit")
        late = "no message on '/joint_states' for more than 0.5 s"
        observer.wait_for(lambda: late in observer.reason(), "the reason")
        observer.wait_for_stop("STALE")


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [("", "parameter 'bundle' is empty"), ("/nowhere", "the bundle /nowhere lacks bundle.yaml")],
)
def test_without_a_bundle_it_stays_up_and_says_why(observer, bundle, reason):
    parameters = {"bundle": bundle} if bundle else {}
    with node_process(MONITOR, **parameters) as process:
        observer.wait_for(lambda: reason in observer.reason(), "the reason")
        assert observer.state() == "STALE"
        assert not observer.permitted()
        assert process.is_running


@pytest.fixture(scope="module")
def bundle_of_two_tasks(rollouts, policy, tmp_path_factory):
    of_tasks = [
        dataclasses.replace(rollout, task=("pick", "place")[index % 2])
        for index, rollout in enumerate(rollouts)
    ]
    settings = CalibrationSettings(scores=("ace",), alpha=0.2, folds=2, jobs=1)
    folder = tmp_path_factory.mktemp("bundles") / "two_tasks"
    save(calibrate(of_tasks, policy, settings), folder)
    return folder


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [({}, "tasks pick, place, and no task is named"), ({"task": "fold"}, "for the task 'fold'")],
)
def test_a_bundle_of_several_tasks_needs_one_of_them(
    bundle_of_two_tasks, observer, parameters, reason
):
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=bundle_of_two_tasks, **parameters
    ):
        observer.wait_for(lambda: reason in observer.reason(), "the reason")
        assert observer.state() == "STALE"
        assert not observer.permitted()


def test_the_task_chooses_the_thresholds(bundle_of_two_tasks, observer, decision):
    parameters = {"task": "place", "max_joint_state_age": 0.0}
    with node_process(
        MONITOR, rollout_boundaries="none", bundle=bundle_of_two_tasks, **parameters
    ):
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.wait_for_state("NOMINAL")
        of_place = load(bundle_of_two_tasks).monitor("place")
        expected = of_place.update(decision).scores[0].threshold
        threshold = float(observer.alarm_values()["ace.threshold"])
        assert threshold == pytest.approx(expected, rel=1e-4)


def test_a_lifecycle_manager_can_configure_activate_and_deactivate_it(
    bundle_folder, observer, decision
):
    parameters = {"autostart": False, "max_joint_state_age": 0.0}
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder, **parameters):
        change = observer.node.create_client(ChangeState, "/failure_monitor/change_state")
        state = observer.node.create_client(GetState, "/failure_monitor/get_state")
        assert change.wait_for_service(DISCOVERY)
        assert state.wait_for_service(DISCOVERY)
        # An answer is lost if the node has not found this client yet, though it is found by it.
        observer.wait_until_answered(state, GetState.Request())

        def transition(number: int) -> bool:
            future = change.call_async(ChangeState.Request(transition=Transition(id=number)))
            observer.wait_for(future.done, "the transition")
            return future.result().success

        assert transition(Transition.TRANSITION_CONFIGURE)
        observer.wait_for(lambda: "not active" in observer.reason(), "an inactive monitor")
        assert transition(Transition.TRANSITION_ACTIVATE)
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.wait_for(observer.permitted, "the permit")
        assert transition(Transition.TRANSITION_DEACTIVATE)
        observer.wait_for_stop("STALE")
        assert transition(Transition.TRANSITION_CLEANUP)
        assert transition(Transition.TRANSITION_CONFIGURE)
        assert transition(Transition.TRANSITION_ACTIVATE)
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.wait_for(observer.permitted, "the permit of the second life")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(bundle_folder, observer, number):
    with node_process(MONITOR, rollout_boundaries="none", bundle=bundle_folder) as process:
        observer.wait_for_monitor_alarm()
        code, output = process.end(number)
    assert code == 0, output
    assert "Traceback" not in output
