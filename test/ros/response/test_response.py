# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The monitor node's response as its users meet it: slowed, steered, halted, resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Header, Int32, String
from testbed.ros_graph import LATCHED, Observer, node_process, observing

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.messages.point_cloud import read_action_chunks
from failure_monitor.monitoring.response.chosen_chunk import chosen_chunk
from failure_monitor.ros.common.messages import (
    action_chunks_message,
    embedding_message,
    stamp_nanoseconds,
)

MONITOR = "failure_monitor.ros.monitor.node"
SPEED, HORIZON, CHUNK = (
    f"/failure_monitor/{name}" for name in ("speed_scale", "trusted_horizon", "chosen_chunk")
)

pytestmark = pytest.mark.ros


@pytest.fixture
def observer(policy):
    with observing(Observer, policy.action_names) as observer:
        observer.listen_to_monitor()
        observer.listen(SPEED, Float64, LATCHED)
        observer.listen(HORIZON, Int32)
        observer.listen(CHUNK, PointCloud2)
        yield observer


@pytest.fixture(scope="module")
def choosing_bundle(rollouts, policy, tmp_path_factory) -> Path:
    settings = CalibrationSettings(
        scores=("mahalanobis",), rule="any", window=1, folds=3, jobs=1, choosers=("retrieval",)
    )
    folder = tmp_path_factory.mktemp("bundles") / "choosing"
    save(calibrate(rollouts, policy, settings), folder)
    return folder


@pytest.fixture
def bundle(choosing_bundle) -> Bundle:
    return load(choosing_bundle)


@pytest.fixture
def running(choosing_bundle, observer):
    """A monitor with these parameters, heard by the observer."""

    def start(**parameters: object):
        given = {name.replace("__", "."): value for name, value in parameters.items()}
        return node_process(
            MONITOR,
            rollout_boundaries="none",
            bundle=choosing_bundle,
            max_joint_state_age=0.0,
            **given,
        )

    return start


def speed(observer: Observer) -> float | None:
    heard = observer.received[SPEED]
    return heard[-1].data if heard else None


def test_the_speed_scale_is_0_until_something_is_permitted_and_in_a_halt(
    running, observer, decision, strange
):
    with running():
        observer.wait_for_monitor_alarm()
        observer.wait_for(lambda: speed(observer) == 0.0, "the speed scale")
        observer.decide(decision)
        observer.wait_for(lambda: speed(observer) == 1.0, "full speed")
        values = [message.data for message in observer.received[SPEED]]
        assert any(0.0 < value < 1.0 for value in values), "it rises step by step"
        observer.decide(strange)
        observer.wait_for_stop("ALARM")
        observer.wait_for(lambda: speed(observer) == 0.0, "standstill")


def test_a_robot_is_slowed_by_the_level_where_the_table_says_so(
    running, observer, decision, bundle
):
    level = bundle.monitor().update(decision).level
    assert 0.05 < level < 1.0
    x = level * level * (3 - 2 * level)
    with running(response__nominal="slow", speed__slowest=0.0):
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.wait_for(
            lambda: speed(observer) == pytest.approx(1 - x, abs=1e-6), "the speed at that level"
        )


def test_trusted_horizon_and_chosen_chunk_are_those_of_the_bundle(
    running, observer, rollouts, bundle
):
    with running(chosen_chunk="retrieval"):
        observer.wait_for_monitor_alarm()
        observer.spin(1.0)
        decisions = list(rollouts[0].decisions())[:3]
        stamps = []
        for number, decision in enumerate(decisions):
            stamps.append(observer.decide(decision))
            observer.wait_for(lambda n=number: len(observer.received[CHUNK]) > n, "a chosen chunk")
        horizon = bundle.trusted_horizon()
        assert [message.data for message in observer.received[HORIZON]] == [
            horizon(decision.chunks) for decision in decisions
        ]
        for message, decision in zip(observer.received[CHUNK], decisions, strict=True):
            names, chunks = read_action_chunks(message)
            chosen = chosen_chunk(bundle.sample_scores["retrieval"], decision)
            np.testing.assert_array_equal(chunks, decision.chunks[[chosen]])
            assert names == bundle.policy.action_names
        chosen = observer.received[CHUNK]
        assert [stamp_nanoseconds(message.header.stamp) for message in chosen] == stamps


def test_no_chunk_is_published_unless_one_is_chosen(running, observer, decision):
    with running():
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.wait_for(lambda: observer.received[HORIZON], "a trusted horizon")
        assert observer.node.count_publishers(CHUNK) == 0


def test_a_stamp_comes_back_to_the_nanosecond(running, observer, decision, bundle):
    with running(chosen_chunk="medoid", max_stamp_lead=60.0):
        observer.wait_for_monitor_alarm()
        observer.spin(1.0)
        now = observer.node.get_clock().now().to_msg()
        header = Header(stamp=now)
        names = bundle.policy.action_names
        observer.embeddings.publish(embedding_message(decision.embedding, header))
        observer.chunks.publish(action_chunks_message(decision.chunks, names, header))
        observer.wait_for(lambda: observer.received[CHUNK], "a chosen chunk")
        assert observer.received[CHUNK][-1].header.stamp == now


def test_replanning_asks_for_one_action_at_a_time_and_halts_in_the_end(
    running, observer, decision, strange
):
    with running(response__alarm="replan", response__most_replans=2):
        observer.wait_for_monitor_alarm()
        observer.spin(1.0)
        observer.decide(decision)
        observer.wait_for(lambda: len(observer.received[HORIZON]) == 1, "a trusted horizon")
        assert observer.received[HORIZON][0].data > 1
        for count in (2, 3):
            observer.decide(strange)
            observer.wait_for(lambda n=count: len(observer.received[HORIZON]) == n, "the next")
            assert observer.received[HORIZON][-1].data <= 1
            observer.wait_for_state("ALARM")
            assert observer.permitted()
        observer.decide(strange)
        observer.wait_for_stop("ALARM")
        observer.wait_for(lambda: observer.alarm_values()["response"] == "halt", "the halt")


def test_one_decision_over_is_no_alarm_where_two_are_asked_for(
    running, observer, decision, strange
):
    with running(response__trigger_count=2):
        observer.wait_for_monitor_alarm()
        observer.decide(decision)
        observer.wait_for_state("NOMINAL")
        observer.decide(strange)
        observer.wait_for_state("CAUTION")
        assert "above the threshold for 1 of 2 decisions" in observer.reason()
        assert observer.permitted()
        observer.decide(strange)
        observer.wait_for_stop("ALARM")


@pytest.mark.law(9)
def test_a_halt_stops_the_policy_and_after_a_reset_resume_activates_it(
    running, observer, decision, strange, monkeypatch
):
    observer.listen("asked", String, LATCHED)
    menu = {
        "halt_menu": "[pause, node]",
        "halt__pause__kind": "set_bool",
        "halt__pause__target": "policy/pause",
        "halt__pause__timeout": 0.5,
        "halt__node__kind": "lifecycle",
        "halt__node__target": "policy",
        "halt__node__timeout": 20.0,
    }
    with node_process("testbed.stoppable_policy", pausing="hang"), running(**menu):
        observer.wait_for_monitor_alarm()
        observer.wait_for(lambda: observer.received["asked"], "the policy")
        observer.spin(2.0)
        observer.decide(decision)
        observer.wait_for_state("NOMINAL")
        assert observer.alarm_values()["halting"] == "no halt"
        observer.decide(strange)
        observer.wait_for_stop("ALARM")
        observer.wait_for(
            lambda: observer.alarm_values()["halting"] == "the policy stands: node", "the halt"
        )
        values = observer.alarm_values()
        assert values["halting.pause"] == "no answer within 0.5 s"
        assert "'policy' is inactive" in values["halting.node"]
        assert observer.trigger("/failure_monitor/resume").message == "halted: call ~/reset first"
        observer.decide(decision)
        observer.wait_for(lambda: "the cause is gone" in observer.reason(), "the cause to go")
        assert observer.trigger("/failure_monitor/reset").success
        observer.trigger("/failure_monitor/resume")
        observer.wait_for(
            lambda: "'policy' is active" in observer.alarm_values()["halting.node"], "activity"
        )
        assert observer.received["asked"][-1].data.split()[-2:] == ["deactivate", "activate"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"response__stale": "go"}, "'response.stale' is 'go', not one of hold, halt"),
        ({"response__trigger_count": 0}, "response.trigger_count out of range. Min: 1"),
        (
            {"response__alrm": "hold"},
            "no parameter 'response.alrm': did you mean 'response.alarm'?",
        ),
        ({"speed__lowest": 0.5}, "no parameter 'speed.lowest': did you mean 'speed.slowest'?"),
        ({"chosen_chunk": "best"}, "'chosen_chunk' is 'best', not one of first, medoid"),
        ({"halt_menu": "[pause]"}, "'halt.pause.kind' is '', not one of set_bool"),
    ],
)
def test_parameters_that_make_no_sense_end_the_node_with_a_sentence(running, parameters, words):
    with running(**parameters) as process:
        code, output = process.wait()
    assert code != 0
    assert words in output
    assert "Traceback" not in output


def test_a_chunk_cannot_be_chosen_by_what_the_bundle_does_not_hold(running, observer):
    with running(chosen_chunk="pseudo_count"):
        observer.wait_for(
            lambda: "calibrate with --choose-by pseudo_count" in observer.reason(), "the reason"
        )
        assert observer.state() == "STALE"
