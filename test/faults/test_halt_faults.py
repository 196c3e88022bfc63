# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A halt outlasts whatever happens to the monitor, and ends by a reset that somebody waits for."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from testbed.faults.cell import MAX_DECISION_AGE, Cell
from testbed.faults.trial import SCORED, SILENT, Fault
from testbed.small_disk import fill, small_disk

pytestmark = [pytest.mark.ros, pytest.mark.alone]

FOUND = (
    "a monitor of this name and bundle was halted, or ended in the middle of a rollout: halt mark"
)
WITHHELD = "withholds its permit"
"""The gate's reason, whether or not it still knows of the monitor that was killed."""

STALL = 2.0
"""Seconds for which the monitor stands still: longer than whoever asks it waits."""


@pytest.fixture
def active(moving: Cell) -> Iterator[Callable[[bool | None], None]]:
    """An orchestrator that repeats twice a second whether a rollout runs; None: it is silent."""
    publisher = moving.node.create_publisher(Bool, "rollout/active", 10)
    told: list[bool | None] = [None]

    def repeat() -> None:
        if told[0] is not None:
            publisher.publish(Bool(data=told[0]))

    timer = moving.node.create_timer(0.2, repeat)
    yield lambda running: told.__setitem__(0, running)
    moving.node.destroy_timer(timer)
    moving.node.destroy_publisher(publisher)


def restart(cell: Cell, number: signal.Signals, **parameters: object) -> None:
    """End the monitor by a signal, and start it again as a supervisor would."""
    cell.monitor.send(number)
    cell.wait_for(lambda: not cell.monitor.is_running, "the monitor to end")
    cell.alarms.clear()
    cell.start_monitor(**parameters)


def halt(cell: Cell, fault: Fault) -> None:
    fault.closes(
        lambda: cell.follow("strange"),
        gate_reason=WITHHELD,
        state="ALARM",
        monitor_reason="rnd_oe",
    )
    cell.follow("nominal")


@pytest.mark.law(4)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_monitor_that_ends_in_a_halt_comes_back_halted(moving: Cell, table, number):
    fault: Fault = table(f"monitor ended ({number.name}) in a halt", promised=SCORED)
    halt(moving, fault)
    restart(moving, number)
    fault.stays_closed(1.5, gate_reason=WITHHELD, state="STALE", monitor_reason=FOUND)
    assert "call ~/reset to go on" in moving.alarm.reason
    fault.recovers(by_reset=True)


@pytest.mark.law(4)
@pytest.mark.parametrize("boundaries", ["none", "pause", "topic", "service"])
def test_a_monitor_that_is_killed_in_motion_comes_back_halted(
    moving: Cell, table, active, boundaries
):
    fault: Fault = table(f"monitor killed in motion, boundaries {boundaries}")
    parameters = {"rollout_boundaries": boundaries}
    with moving.other_monitor(**parameters):
        start_rollout(moving, boundaries, active)
        fault.closes(lambda: moving.monitor.send(signal.SIGKILL), gate_reason=SILENT)
        moving.alarms.clear()
        moving.start_monitor(**parameters)
        fault.stays_closed(1.5, gate_reason=WITHHELD, state="STALE", monitor_reason=FOUND)
        moving.wait_for(lambda: moving.reset().success, "the reset")
        start_rollout(moving, boundaries, active)
        fault.recovers(by_reset=False)
        active(False)


def start_rollout(cell: Cell, boundaries: str, active: Callable[[bool | None], None]) -> None:
    """Have a rollout run in which commands pass."""
    cell.wait_for(lambda: cell.alarm.state, "the monitor's first message")
    if boundaries == "pause":

        def is_started() -> bool:
            # A busy policy reads its script late, which shortens the pause.
            cell.follow("silent")
            time.sleep(2.0)
            cell.follow("nominal")
            time.sleep(0.5)
            return cell.alarm.state == "NOMINAL"

        cell.wait_for(is_started, "the start by a pause")
    elif boundaries == "topic":

        def is_received() -> bool:
            # Before the monitor has found the publisher, it receives neither.
            active(False)
            time.sleep(0.5)
            active(True)
            time.sleep(0.5)
            return cell.alarm.state == "NOMINAL"

        cell.wait_for(is_received, "the start to be received")
    elif boundaries == "service":
        answer = cell.wait_for(
            lambda: cell.call(Trigger, "failure_monitor/start_rollout", Trigger.Request()),
            "an answer",
        )
        assert answer.success
    cell.wait_until_moving()


@pytest.mark.law(4)
def test_a_rollout_that_ends_in_order_leaves_no_halt(moving: Cell, table):
    fault: Fault = table("monitor killed between rollouts")
    assert moving.call(SetBool, "failure_monitor/end_rollout", SetBool.Request(data=True)).success
    time.sleep(0.5)
    restart(moving, signal.SIGKILL)
    fault.recovers(by_reset=False)


@pytest.mark.law(4)
def test_a_monitor_that_is_deactivated_in_a_halt_is_halted_when_it_is_activated(
    moving: Cell, table
):
    fault: Fault = table("monitor deactivated and activated in a halt", promised=SCORED)
    halt(moving, fault)
    for number in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=number))
        answer = moving.wait_for(
            lambda one=request: moving.call(ChangeState, "failure_monitor/change_state", one),
            "an answer",
        )
        assert answer.success
    fault.stays_closed(1.0, gate_reason=WITHHELD, state="ALARM", monitor_reason="rnd_oe")
    fault.recovers(by_reset=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    _remount(disk, "ro")
    yield
    _remount(disk, "rw")


def _remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    filler = fill(disk)
    yield
    filler.unlink()


@pytest.mark.law(4)
@pytest.mark.parametrize("failing", [read_only, full])
def test_where_no_mark_can_be_set_nothing_passes(moving: Cell, table, tmp_path, failing):
    fault: Fault = table(f"disk of the halt mark {failing.__name__}")
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        folder = disk / "marks"
        folder.mkdir()
        with failing(disk):
            moving.end_monitor()
            moving.alarms.clear()
            moving.start_monitor(halt_mark_folder=folder)
            fault.stays_closed(
                1.0,
                gate_reason=WITHHELD,
                state="STALE",
                monitor_reason="the halt mark cannot be kept: cannot write",
            )
            assert "name another one by 'halt_mark_folder'" in moving.alarm.reason
        fault.recovers(by_reset=False)
        with failing(disk):
            # What was set before stands, and the disk is not needed to stop.
            fault.stays_open(1.5)
            halt(moving, fault)
            restart(moving, signal.SIGKILL, halt_mark_folder=folder)
            fault.stays_closed(1.0, gate_reason=WITHHELD, state="STALE", monitor_reason=FOUND)
            assert moving.wait_for(moving.reset, "an answer").success
            fault.stays_closed(1.0, gate_reason=WITHHELD, state="STALE")
        fault.recovers(by_reset=False)
        moving.end_monitor()


@pytest.mark.law(4)
def test_a_mark_that_was_removed_in_motion_stands_again(moving: Cell, table, tmp_path):
    fault: Fault = table("halt mark removed in motion, monitor killed")
    with moving.other_monitor(halt_mark_folder=tmp_path):
        moving.wait_until_moving()
        (mark,) = tmp_path.iterdir()
        mark.unlink()
        moving.wait_for(mark.exists, "the mark", 3.0)
        fault.stays_open(0.3)
        fault.closes(lambda: moving.monitor.send(signal.SIGKILL), gate_reason=SILENT)
        moving.alarms.clear()
        moving.start_monitor(halt_mark_folder=tmp_path)
        fault.stays_closed(1.0, gate_reason=WITHHELD, state="STALE", monitor_reason=str(mark))
        fault.recovers(by_reset=True)


@pytest.mark.law(8)
def test_what_was_asked_of_a_frozen_monitor_is_not_carried_out_when_it_is_thawed(
    moving: Cell, table
):
    fault: Fault = table("~/reset while the monitor is frozen, then thawed", promised=SCORED)
    halt(moving, fault)
    moving.wait_for(lambda: "the cause is gone" in moving.alarm.reason, "the cause to be gone")
    moving.monitor.send(signal.SIGSTOP)
    for _ in range(5):
        moving.send(Trigger, "failure_monitor/reset", Trigger.Request())
    moving.send(Trigger, "failure_monitor/start_rollout", Trigger.Request())
    time.sleep(STALL)
    moving.monitor.send(signal.SIGCONT)
    fault.stays_closed(1.5, gate_reason=WITHHELD, state="ALARM")
    fault.recovers(by_reset=True)


@pytest.mark.law(8)
def test_what_enables_a_frozen_monitor_is_not_carried_out_when_it_is_thawed(moving: Cell, table):
    fault: Fault = table("~/enable while the monitor is frozen, then thawed")
    switch = "failure_monitor/enable"
    assert moving.wait_for(
        lambda: moving.call(SetBool, switch, SetBool.Request(data=False)), "an answer"
    ).success
    moving.monitor.send(signal.SIGSTOP)
    moving.send(SetBool, switch, SetBool.Request(data=True))
    time.sleep(STALL)
    moving.monitor.send(signal.SIGCONT)
    fault.stays_closed(1.5, gate_reason=WITHHELD, state="STALE", monitor_reason="disabled")
    assert moving.call(SetBool, switch, SetBool.Request(data=True)).success
    fault.recovers(by_reset=False)


@pytest.mark.law(4)
@pytest.mark.parametrize("boundaries", ["topic", "pause"])
def test_a_rollout_whose_start_was_not_seen_does_not_run(moving: Cell, table, active, boundaries):
    fault: Fault = table(f"rollout started while the monitor is frozen, boundaries {boundaries}")
    with moving.other_monitor(rollout_boundaries=boundaries):
        moving.wait_for(lambda: moving.alarm.state, "the monitor's first message")
        moving.follow("silent")
        active(False)
        moving.wait_for(
            lambda: "no rollout is running" in moving.alarm.reason, "the end of the rollout"
        )
        time.sleep(MAX_DECISION_AGE + 0.5)
        moving.monitor.send(signal.SIGSTOP)
        moving.follow("nominal")
        active(True)
        time.sleep(STALL)
        moving.monitor.send(signal.SIGCONT)
        # Because the monitor stood still, or has not seen the end of the rollout before.
        fault.stays_closed(1.0, gate_reason=WITHHELD, state="STALE")
        start_rollout(moving, boundaries, active)
        fault.recovers(by_reset=False)
        active(False)


@pytest.mark.law(9)
@pytest.mark.parametrize("script", ["strange", "nan"])
@pytest.mark.parametrize("stale", ["halt", "hold"])
def test_after_a_stop_action_has_silenced_the_policy_reset_and_resume_lead_back(
    moving: Cell, table, script, stale
):
    fault: Fault = table(f"policy paused by the stop menu, {script}, response.stale {stale}")

    def pause(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        moving.publish_script("silent" if request.data else "nominal")
        response.success = True
        return response

    service = moving.node.create_service(SetBool, "policy/pause", pause)
    menu = {
        "halt_menu": "[pause]",
        "halt.pause.kind": "set_bool",
        "halt.pause.target": "policy/pause",
        "response.stale": stale,
    }
    try:
        with moving.other_monitor(**menu):
            moving.wait_until_moving()
            moving.follow(script)
            moving.wait_for(
                lambda: "call ~/resume" in moving.alarm.reason or "gone" in moving.alarm.reason,
                "the policy to be silent",
            )
            fault.stays_closed(0.5, gate_reason=WITHHELD)
            assert moving.reset().success
            fault.stays_closed(
                1.5, gate_reason=WITHHELD, state="STALE", monitor_reason="call ~/resume"
            )
            assert moving.call(Trigger, "failure_monitor/resume", Trigger.Request()).success
            fault.recovers(by_reset=False)
    finally:
        moving.node.destroy_service(service)


@pytest.mark.law(9)
def test_a_policy_that_died_by_itself_is_no_reason_to_accept_a_reset(moving: Cell, table):
    fault: Fault = table("policy killed: ~/reset is rejected until it decides again")
    moving.policy.send(signal.SIGKILL)
    moving.wait_for(lambda: "than 1 s" in moving.alarm.reason, "the policy to be missed")
    answer = moving.reset()
    assert not answer.success
    assert "the cause of the halt persists" in answer.message
    moving.start_policy()
    fault.recovers(by_reset=True)
