# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How a monitor ends decides whether the next one is halted, and how an operator sees it."""

import os
import signal
from pathlib import Path

import pytest
from std_msgs.msg import Bool
from testbed.ros_graph import LATCHED, node_process

from failure_monitor.bundle.folder import content_hash, save

MONITOR = "failure_monitor.ros.monitor.node"

pytestmark = [pytest.mark.ros, pytest.mark.law(4)]


@pytest.fixture
def parameters(bundle_folder):
    return {"bundle": bundle_folder, "rollout_boundaries": "none", "max_joint_state_age": 0.0}


@pytest.fixture
def other_bundle(time_varying_bundle, tmp_path):
    folder = tmp_path / "other"
    save(time_varying_bundle, folder)
    return folder


@pytest.fixture
def mark(bundle_folder, own_ros_home) -> Path:
    folder = Path(os.environ["ROS_HOME"]) / "failure_monitor"
    return folder / f"failure_monitor.{content_hash(bundle_folder)[:12]}.json"


def test_one_that_an_error_ends_leaves_its_mark(parameters, mark):
    with node_process("testbed.failing_monitor", **parameters) as process:
        code, output = process.wait()
    assert code != 0
    assert "something that nothing handles" in output
    assert mark.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_that_a_signal_ends_without_a_halt_leaves_none(observer, parameters, mark, number):
    with node_process(MONITOR, **parameters) as process:
        observer.wait_for(
            lambda: observer.alarm_values().get("halt_mark") == f"stands: {mark}", "the mark"
        )
        assert mark.exists()
        process.end(number)
    assert not mark.exists()


def test_what_an_operator_sees_of_a_mark_and_how_he_ends_it(observer, parameters, mark):
    mark.parent.mkdir(parents=True)
    mark.write_text('{"since": "2026-01-02T03:04:05+01:00"}')
    with node_process(MONITOR, **parameters):
        observer.wait_for_monitor_alarm()
        observer.wait_for(lambda: str(mark) in observer.reason(), "the reason")
        assert observer.reason().startswith("the cause is gone: call ~/reset to go on; it was: ")
        assert "2026-01-02T03:04:05+01:00" in observer.reason()
        values = observer.alarm_values()
        assert (values["state"], values["halted"], values["permit"]) == ("STALE", "true", "false")
        assert observer.trigger("/failure_monitor/reset").success
        observer.wait_for(lambda: observer.alarm_values()["halted"] == "false", "the end of it")
        assert "no decision since the reset" in observer.reason()


def test_another_cause_of_the_same_state_is_logged(observer, parameters):
    human = observer.node.create_publisher(Bool, "intervention", LATCHED)
    with node_process(MONITOR, **parameters) as process:
        lines = process.lines()
        first = next(line for line in lines if "no decision since the rollout started" in line)
        assert "-> STALE: " in first
        human.publish(Bool(data=True))
        another = next(line for line in lines if "still STALE: " in line)
        assert "a human intervenes: '/intervention' is true" in another


def test_that_there_is_none_is_said_at_all_times(observer, parameters, mark):
    mark.parent.mkdir(parents=True)
    mark.write_text("")
    with node_process(MONITOR, **parameters, halt_mark_folder="none"):
        observer.wait_for_monitor_alarm()
        values = observer.alarm_values()
        assert values["halt_mark"] == "none: a halt ends with the process"
        assert values["halted"] == "false"


def test_one_of_another_bundle_is_another_monitors(observer, parameters, mark, other_bundle):
    mark.parent.mkdir(parents=True)
    mark.write_text("")
    parameters |= {"bundle": other_bundle, "rollout_boundaries": "service"}
    with node_process(MONITOR, **parameters):
        observer.wait_for_monitor_alarm()
        assert observer.trigger("/failure_monitor/start_rollout").message == "started"
        observer.wait_for(
            lambda: observer.alarm_values().get("halt_mark", "").startswith("stands: "), "a mark"
        )
        assert observer.alarm_values()["halted"] == "false"
    assert mark.exists()


def test_a_folder_that_depends_on_where_it_is_started_is_rejected(parameters):
    with node_process(MONITOR, **parameters, halt_mark_folder="marks") as process:
        code, output = process.wait()
    assert code != 0
    assert "'halt_mark_folder' stands for 'marks'" in output
    assert "Traceback" not in output
