# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The running rollout in a terminal: a table that follows it, or a line per change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from failure_monitor.demo.timeline import RolloutPlan, TimedAlarm
from failure_monitor.display.score_bar import ratio_text
from failure_monitor.display.terminal import bar, state_label

BAR_CELLS = 30
"""Characters of a bar; its middle is the threshold."""


@dataclass(frozen=True)
class LiveState:
    """What is shown.

    Attributes:
        plan: the rollout.
        clock: seconds since it began.
        reading: the last of the alarm.
        gate_open: whether commands pass.
        perturbation: the kind at work.
    """

    plan: RolloutPlan
    clock: float
    reading: TimedAlarm | None
    gate_open: bool
    perturbation: str


class View(Protocol):
    """Something that shows the running rollout."""

    def show(self, state: LiveState) -> None:
        """Show the latest."""


class TableView:
    """A table that is redrawn several times a second; a context manager."""

    def __init__(self, console: Console) -> None:
        self._state: LiveState | None = None
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=8, transient=True
        )

    def show(self, state: LiveState) -> None:
        """Draw this from now on."""
        self._state = state

    def __enter__(self) -> TableView:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        return Text("connecting …") if self._state is None else live_table(self._state)


class LineView:
    """A plain line for every change of state, gate or perturbation, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: set[str] = set()

    def show(self, state: LiveState) -> None:
        """Print what differs from the last in more than numbers."""
        lines = live_lines(state)
        for key, line in lines.items():
            if key not in self._printed:
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._printed = set(lines)


def live_lines(state: LiveState) -> dict[str, str]:
    """Return a line each for alarm, gate and perturbation, by what makes it worth printing."""
    title, reading = state.plan.title, state.reading
    found = {f"gate {_gate(state.gate_open)}": ""}
    if state.perturbation != "none":
        found[f"perturbation {state.perturbation}"] = ""
    if reading is not None:
        found[reading.state.value] = f": {reading.reason}"
    return {
        f"{title} {key}": f"{title} {state.clock:5.2f} s  {key}{more}"
        for key, more in found.items()
    }


def live_table(state: LiveState) -> RenderableType:
    """Return the state as a table: what goes on, each score against its threshold, and why."""
    reading = state.reading
    about = Table.grid(padding=(0, 2))
    about.add_row("rollout", Text(state.plan.title, style="bold"))
    about.add_row("clock", f"{state.clock:5.2f} s")
    about.add_row("perturbation", state.perturbation)
    about.add_row(
        "decision", "–" if reading is None or reading.decision is None else _count(reading)
    )
    about.add_row("state", _state(reading))
    gate_style = "bold green" if state.gate_open else "bold red"
    about.add_row("gate", Text(_gate(state.gate_open), style=gate_style))
    reason = Text("" if reading is None else reading.reason, style="italic")
    return Group(about, _scores(reading), reason)


def _scores(reading: TimedAlarm | None) -> Table:
    table = Table(expand=False)
    table.add_column("score")
    table.add_column("value", justify="right", min_width=9)
    table.add_column("threshold", justify="right", min_width=9)
    table.add_column("ratio", justify="right", min_width=6)
    table.add_column("│ is the threshold", min_width=BAR_CELLS + 1)
    if reading is None or reading.level is None:
        return table
    for at, score in enumerate(reading.scores, start=1):
        table.add_row(
            score.name,
            f"{score.value:.4g}",
            f"{score.threshold:.4g}",
            ratio_text(score.ratio),
            bar(score.ratio, unicode=True, cells=BAR_CELLS),
            end_section=at == len(reading.scores),
        )
    table.add_row(
        "rule",
        "",
        "",
        ratio_text(reading.level),
        bar(reading.level, unicode=True, cells=BAR_CELLS),
    )
    return table


def _count(reading: TimedAlarm) -> str:
    return f"{reading.decision}"


def _state(reading: TimedAlarm | None) -> Text:
    if reading is None:
        return Text("no word from the monitor")
    return state_label(reading.state, unicode=True)


def _gate(is_open: bool) -> str:
    return "open" if is_open else "closed"
