# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from testbed.demo_timelines import NOMINAL, at, reading

from failure_monitor.demo.live_table import LineView, LiveState, live_table
from failure_monitor.monitoring.alarm import AlarmState

CALM = LiveState(
    plan=NOMINAL, clock=0.5, reading=reading(at(0.5), 0.5, 4), gate_open=True, perturbation="none"
)
ALARMED = replace(CALM, reading=reading(at(1.0), 1.5, 9, AlarmState.ALARM), gate_open=False)


def printed(state: LiveState) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(live_table(state))
    return capture.get()


def test_the_table_shows_state_scores_gate_and_reason() -> None:
    text = printed(ALARMED)
    for part in ("ALARM", "rnd_oe", "ace", "1.50", "closed", "level 1.5", "Undisturbed"):
        assert part in text


def test_the_table_can_be_drawn_before_the_monitor_has_spoken() -> None:
    assert "no word from the monitor" in printed(replace(CALM, reading=None))


def test_a_line_is_printed_only_for_a_change() -> None:
    console = Console(width=100)
    view = LineView(console)
    with console.capture() as capture:
        view.show(CALM)
        view.show(replace(CALM, clock=0.6))
        view.show(ALARMED)
        view.show(replace(ALARMED, clock=1.2))
    assert [line.split("s  ")[1] for line in capture.get().splitlines()] == [
        "gate open",
        "NOMINAL: level 0.5",
        "gate closed",
        "ALARM: level 1.5",
    ]
