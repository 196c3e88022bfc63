# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The halting menu against a real policy process: stopped, verified, and resumed."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger
from testbed.repository import ROOT
from testbed.ros_graph import DISCOVERY, LATCHED, node_process
from testbed.stoppable_policy import DELAY

from failure_monitor.errors import UsageError
from failure_monitor.ros.response.managed_node import ManagedNode
from failure_monitor.ros.response.stop_actions import (
    ActionGoals,
    Lock,
    SetBoolService,
    TriggerService,
)
from failure_monitor.ros.response.stop_menu import load_stop_menu
from failure_monitor.ros.response.stop_sequence import StopSequence

pytestmark = pytest.mark.ros

BEAT = 0.02

PAUSE = {"kind": "set_bool", "target": "policy/pause"}
NODE = {"kind": "lifecycle", "target": "policy"}
GOALS = {"kind": "cancel_goals", "target": "policy/move"}
LOCK = {"kind": "lock", "target": "lock"}


class Host:
    """A node with a stop menu, as the monitor has one, and a listener beside it."""

    def __init__(self, **menu: dict[str, Any]) -> None:
        self.node = host_node(**menu)
        self.listener = Node("listener")
        self.halted = False
        self.asked: list[str] = []
        self.longest_beat = 0.0
        self.sequence = StopSequence(self.node, load_stop_menu(self.node))
        self.node.create_timer(BEAT, self._beat)
        self.listener.create_subscription(String, "asked", self._on_asked, LATCHED)

    def _beat(self) -> None:
        begin = time.monotonic()
        self.sequence.update(permit=not self.halted, halted=self.halted, stops=self.halted)
        self.longest_beat = max(self.longest_beat, time.monotonic() - begin)

    def _on_asked(self, message: String) -> None:
        self.asked = message.data.split()

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.01)
            rclpy.spin_once(self.listener, timeout_sec=0.0)

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + DISCOVERY
        while not condition():
            assert time.monotonic() < end, f"waited for {what}: {self.values()}, {self.asked}"
            self.spin(0.02)

    def halt(self) -> None:
        self.halted = True
        self.spin(BEAT)

    def reset(self) -> None:
        self.halted = False
        self.wait_for(lambda: "no halt" in self.values()["halting"], "the end of the halt")

    def values(self) -> dict[str, str]:
        return self.sequence.values()

    def wait_for_words(self, name: str, words: str) -> None:
        self.wait_for(lambda: words in self.values()[name], f"'{words}' of {name}")

    def call(self, kind: type, service: str, request: Any) -> Any:
        client = self.listener.create_client(kind, service)
        assert client.wait_for_service(DISCOVERY)
        for _ in range(10):
            future = client.call_async(request)
            end = time.monotonic() + 2.0
            while time.monotonic() < end and not future.done():
                self.spin(0.02)
            if future.done():
                return future.result()
        raise AssertionError(f"no answer of {service}")

    def resume(self) -> Trigger.Response:
        return self.call(Trigger, "host/resume", Trigger.Request())

    def policy_state(self) -> str:
        return self.call(GetState, "policy/get_state", GetState.Request()).current_state.label


def host_node(**menu: dict[str, Any]) -> Node:
    parameters = [Parameter("halt_menu", value=list(menu))] if menu else []
    for name, entry in menu.items():
        parameters += [
            Parameter(f"halt.{name}.{key}", value=value) for key, value in entry.items()
        ]
    return Node("host", parameter_overrides=parameters)


@pytest.fixture(autouse=True)
def graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


@contextmanager
def hosting(*, connected: bool = True, **menu: dict[str, Any]) -> Iterator[Host]:
    host = Host(**menu)
    try:
        if connected:
            host.wait_for(
                lambda: (
                    host.listener.count_publishers("asked")
                    and not any(entry.action.absence for entry in declared(host))
                ),
                "the policy",
            )
            # Two processes may not have found each other although both are seen.
            host.spin(1.0)
            assert "active" in host.policy_state()
        yield host
    finally:
        host.node.destroy_node()
        host.listener.destroy_node()


def declared(host: Host) -> list[Any]:
    return list(host.sequence._menu.values())


def test_a_pause_that_obeys_is_all_that_is_tried_and_resume_undoes_it():
    with node_process("testbed.stoppable_policy"), hosting(pause=PAUSE, node=NODE) as host:
        host.halt()
        host.wait_for_words("halting.pause", "as asked")
        assert host.values()["halting"] == "the policy stands: pause"
        host.spin(0.5)
        assert host.values()["halting.node"] == "not tried"
        assert host.resume().message == "halted: call ~/reset first"
        host.reset()
        host.spin(0.3)
        assert host.asked == ["pause"]
        assert host.resume().success
        host.wait_for_words("halting.pause", "resumed: as asked")
        assert host.asked == ["pause", "unpause"]
        assert host.resume().message == "nothing was stopped"


def test_a_policy_that_hangs_is_deactivated_instead_and_the_host_never_waits():
    slow = {**PAUSE, "timeout": 0.6}
    with (
        node_process("testbed.stoppable_policy", pausing="hang"),
        hosting(pause=slow, node=NODE) as host,
    ):
        host.halt()
        host.wait_for_words("halting", "the policy stands: node")
        assert host.values()["halting.pause"] == "no answer within 0.6 s"
        assert "'policy' is inactive" in host.values()["halting.node"]
        assert host.policy_state() == "inactive"
        assert host.asked.count("deactivate") == 1
        # A second request, in case the first was lost; no more than that.
        assert host.asked.count("pause") == 2
        assert host.longest_beat < 0.3
        host.reset()
        assert host.policy_state() == "inactive"
        assert host.resume().success
        host.wait_for_words("halting.node", "resumed: 'policy' is active")
        assert host.policy_state() == "active"
        # Nobody knows that it ever paused, so it is not asked to go on.
        assert "unpause" not in host.asked


def test_a_refusal_leads_on_to_the_goals_and_these_to_the_lock():
    menu = {"pause": PAUSE, "goals": GOALS, "lock": LOCK}
    with (
        node_process("testbed.stoppable_policy", pausing="refuse", goals=0),
        hosting(**menu) as host,
    ):
        host.wait_for(lambda: host.asked == ["unlock"], "the lock to be heard")
        host.halt()
        host.wait_for_words("halting.lock", "locked on '/lock'")
        assert "in the middle of something" in host.values()["halting.pause"]
        assert "no goal to cancel" in host.values()["halting.goals"]
        assert host.values()["halting"].startswith("nothing has answered that it stopped")
        # The lock needs no turn of its own: it says at once that nothing is permitted.
        host.wait_for(lambda: "lock" in host.asked, "the lock")
        assert [asked for asked in host.asked if "lock" not in asked] == ["pause", "cancel-all"]
        host.reset()
        host.wait_for(lambda: host.asked[-1] == "unlock", "the lock to open")
        assert host.resume().message == "nothing was stopped"


def test_goals_that_are_cancelled_are_proof_and_cannot_be_resumed():
    with node_process("testbed.stoppable_policy"), hosting(goals=GOALS, node=NODE) as host:
        host.halt()
        host.wait_for_words("halting.goals", "cancels 2 goals")
        host.spin(0.3)
        assert host.values()["halting.node"] == "not tried"
        host.reset()
        assert host.resume().message == "nothing was stopped"


def test_a_trigger_is_resumed_by_the_other_trigger():
    stop = {"kind": "trigger", "target": "policy/stop", "resume": "policy/go"}
    with node_process("testbed.stoppable_policy"), hosting(stop=stop) as host:
        host.halt()
        host.wait_for_words("halting.stop", "stopped")
        host.reset()
        assert host.resume().success
        host.wait_for_words("halting.stop", "resumed")
        assert host.asked == ["stop", "go"]


def test_what_has_nobody_to_resume_it_any_more_stays_stopped_and_says_so():
    stop = {"kind": "trigger", "target": "policy/stop", "resume": "nobody/go"}
    with node_process("testbed.stoppable_policy"), hosting(stop=stop) as host:
        host.halt()
        host.wait_for_words("halting.stop", "stopped")
        host.reset()
        for _ in range(2):
            host.resume()
            host.wait_for_words(
                "halting.stop", "not resumed: no node offers the service '/nobody/go'"
            )
        assert "call ~/resume to go on with stop" in host.values()["halting"]


def test_a_policy_that_was_inactive_already_is_not_activated_by_resume():
    with node_process("testbed.stoppable_policy"), hosting(node=NODE) as host:
        deactivate = ChangeState.Request(
            transition=Transition(id=Transition.TRANSITION_DEACTIVATE)
        )
        assert host.call(ChangeState, "policy/change_state", deactivate).success
        host.halt()
        host.wait_for_words("halting.node", "at rest")
        host.reset()
        assert host.resume().message == "nothing was stopped"
        assert host.policy_state() == "inactive"


def test_a_policy_is_stopped_although_its_predecessor_died_while_it_was_to_go_on():
    with hosting(connected=False, node=NODE) as host:
        with node_process("testbed.stoppable_policy") as first:
            host.wait_for(lambda: not declared(host)[0].action.absence, "the policy")
            host.spin(1.0)
            host.halt()
            host.wait_for_words("halting", "the policy stands: node")
            host.reset()
            first.send(signal.SIGSTOP)
            assert host.resume().success
            host.spin(0.3)
            first.send(signal.SIGKILL)
        with node_process("testbed.stoppable_policy"):
            host.wait_for(lambda: "active" in host.policy_state(), "its successor")
            host.halt()
            host.wait_for_words("halting", "the policy stands: node")
            assert host.policy_state() == "inactive"


def test_an_answer_that_comes_late_still_counts_and_is_resumed():
    late = {**PAUSE, "timeout": DELAY / 3}
    stop = {"kind": "trigger", "target": "nobody/stop", "timeout": 10 * DELAY}
    with (
        node_process("testbed.stoppable_policy", pausing="late"),
        hosting(connected=False, pause=late, stop=stop) as host,
    ):
        host.wait_for(lambda: not declared(host)[0].action.absence, "the pause service")
        host.spin(1.0)
        host.halt()
        host.wait_for_words("halting.pause", "no answer within")
        host.wait_for_words("halting.pause", "stopped, late")
        assert host.values()["halting"] == "the policy stands: pause"
        host.reset()
        assert host.resume().success
        host.wait_for_words("halting.pause", "resumed")


def test_who_is_not_there_is_named_and_waited_for_no_longer_than_set():
    gone = {"kind": "set_bool", "target": "nobody/pause", "timeout": 0.3}
    unheard = {"kind": "lock", "target": "unheard_lock", "timeout": 0.3}
    with hosting(connected=False, gone=gone, unheard=unheard) as host:
        begin = time.monotonic()
        host.halt()
        host.wait_for_words("halting", "nothing has answered that it stopped")
        assert time.monotonic() - begin < 5.0
        assert host.values()["halting.gone"] == "no node offers the service '/nobody/pause'"
        assert host.values()["halting.unheard"] == "no node subscribes to '/unheard_lock'"


def test_a_policy_that_starts_during_the_halt_is_stopped_within_its_time():
    patient = {**NODE, "timeout": 60.0}
    with hosting(connected=False, node=patient) as host:
        host.halt()
        host.spin(0.3)
        assert host.values()["halting"].startswith("waiting for node")
        with node_process("testbed.stoppable_policy"):
            host.wait_for_words("halting.node", "'policy' is inactive")


def test_without_a_menu_nothing_is_offered_and_nothing_told():
    with hosting(connected=False) as host:
        host.halt()
        assert host.values() == {}
        assert "resume" not in str(host.node.get_service_names_and_types())


REFUSALS = {
    "kind": (
        {"x": {"kind": "prayer", "target": "policy"}},
        r"halt\.x\.kind.*'prayer', not one of",
    ),
    "no kind": ({"x": {"target": "policy"}}, r"halt\.x\.kind.*not one of set_bool, trigger"),
    "no target": ({"x": {"kind": "lock"}}, r"halt\.x\.target' is empty: name a std_msgs/Bool"),
    "bad name": ({"x": {**PAUSE, "target": "a b"}}, r"halt\.x\.target' is 'a b'"),
    "typing error": ({"x": {**PAUSE, "time_out": 1.0}}, r"no parameter 'halt\.x\.time_out'"),
    "wrong type": ({"x": {**PAUSE, "timeout": "1 s"}}, r"halt\.x\.timeout"),
    "out of bounds": ({"x": {**PAUSE, "timeout": 0.0}}, r"halt\.x\.timeout"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_menu_that_makes_no_sense_is_refused_by_the_parameters_name(case):
    menu, words = REFUSALS[case]
    node = host_node(**menu)
    with pytest.raises(UsageError, match=words):
        load_stop_menu(node)
    node.destroy_node()


def test_parameters_of_an_entry_that_is_not_on_the_menu_are_refused():
    node = Node("host", parameter_overrides=[Parameter("halt.pause.kind", value="set_bool")])
    with pytest.raises(UsageError, match=r"'halt\.pause\.kind': 'halt_menu' names nothing"):
        load_stop_menu(node)
    node.destroy_node()


def test_the_example_is_a_menu():
    example = ROOT / "config" / "halting.yaml"
    node = Node("host", cli_args=["--ros-args", "--params-file", str(example)])
    menu = {entry.name: entry for entry in load_stop_menu(node)}
    assert [type(entry.action) for entry in menu.values()] == [
        SetBoolService,
        ManagedNode,
        ActionGoals,
        TriggerService,
        Lock,
    ]
    assert [entry.timeout for entry in menu.values()] == [0.5, 2.0, 1.0, 1.0, 1.0]
    assert menu["arm"].action.absence == (
        "no node offers the service '/arm_controller/follow_joint_trajectory/_action/cancel_goal'"
    )
    node.destroy_node()


def test_a_name_twice_on_the_menu_is_refused():
    node = Node("host", parameter_overrides=[Parameter("halt_menu", value=["a", "a"])])
    with pytest.raises(UsageError, match="none twice"):
        load_stop_menu(node)
    node.destroy_node()


def test_cancelling_goals_without_action_msgs_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "action_msgs.srv", None)
    node = host_node(goals=GOALS)
    with pytest.raises(
        UsageError, match=r"halt\.goals\.kind.*action_msgs, which is not installed"
    ):
        load_stop_menu(node)
    node.destroy_node()
