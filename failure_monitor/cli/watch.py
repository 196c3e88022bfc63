# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor watch`."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, Annotated, Any

from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from failure_monitor.cli.app import output
from failure_monitor.cli.declaration import Argument
from failure_monitor.cli.label_keys import keys_of_terminal
from failure_monitor.cli.require_ros import NoListenerError, require_ros
from failure_monitor.cli.watch_view import draw, headline
from failure_monitor.cli.watched_monitor import NodeStatus, WatchedMonitor, WatchedOutcome
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.monitoring.told_state import ToldState, stale_reason

LISTENER = "failure_monitor.ros.listening.alarm_lines"
REFRESH = 0.125
"""Seconds between two pictures."""

GRACE = 5.0
"""Seconds that the listener may take to end."""


def watch(
    monitors: Annotated[
        list[str] | None,
        Argument(metavar="[MONITOR]...", help="names of monitor nodes; default: all"),
    ] = None,
) -> None:
    """Follow the alarm in a terminal, until Ctrl-C; elsewhere, a line for every change.

    In a terminal the keys s and f say that the rollout that ended last was a success or a failure.
    """
    require_ros()
    with suppress(KeyboardInterrupt), _listener(monitors or []) as (events, say):
        watched = Watched(monitors or [])
        if output.is_terminal:
            _show_pictures(watched, events, say)
        else:
            _print_changes(watched, events)


class Watched:
    """All monitors that are followed."""

    def __init__(self, wanted: list[str]) -> None:
        """Follow monitors, none of which is known yet.

        Args:
            wanted: names of monitors; empty for all.
        """
        self._wanted = [name if name.startswith("/") else f"/{name}" for name in wanted]
        self._by_name = {name: WatchedMonitor(name) for name in self._wanted}
        self._there: list[str] = []

    @property
    def monitors(self) -> list[WatchedMonitor]:
        """The monitors, by name."""
        return [monitor for _, monitor in sorted(self._by_name.items())]

    def receive(self, event: Mapping[str, Any], now: float) -> None:
        """Receive one line of the listener."""
        if event["kind"] == "graph":
            self._there = event["monitors"]
            return
        monitor = self._by_name.setdefault(event["monitor"], WatchedMonitor(event["monitor"]))
        if event["kind"] == "alarm":
            monitor.hear_alarm(AlarmState(event["state"]), event["reason"], event["values"], now)
        elif event["kind"] == "outcome":
            fields = {key: event[key] for key in ("level", "message", "values")}
            monitor.outcome = WatchedOutcome(**fields, received=now)
        else:
            fields = {key: event[key] for key in ("name", "level", "message", "values")}
            monitor.add_status(NodeStatus(**fields, received=now))

    def label(self, word: str) -> Mapping[str, str] | None:
        """Return what says a word of the rollout that ended last; None if none has ended.

        By its name: another rollout may end while the operator decides.
        """
        ended = [
            (monitor.outcome.received, monitor.name, monitor.outcome.rollout)
            for monitor in self.monitors
            if monitor.outcome is not None and monitor.outcome.rollout
        ]
        if not ended:
            return None
        _, name, rollout = max(ended)
        return {"monitor": name, "label": f"{rollout} {word}"}

    def reason_for_nothing(self) -> str:
        """Return why there is nothing to show; empty if there is something."""
        if any(monitor.alarm is not None for monitor in self.monitors):
            return ""
        domain = os.environ.get("ROS_DOMAIN_ID", "0")
        there = ", ".join(self._there) or "none"
        wanted = ", ".join(self._wanted) or "any monitor"
        return f"no message from {wanted} yet; monitors in ROS domain {domain}: {there}"


def _show_pictures(
    watched: Watched,
    events: Iterator[Mapping[str, Any] | None],
    say: Callable[[Mapping[str, str]], None],
) -> None:
    unicode = (output.encoding or "").lower().startswith("utf")

    def picture(now: float) -> RenderableType:
        return draw(watched.monitors, now, unicode=unicode, width=output.width)

    with (
        keys_of_terminal() as pressed,
        Live(console=output, auto_refresh=False, screen=False) as live,
    ):
        drawn = 0.0
        for event in events:
            # First: a key that was pressed before the next rollout ended is not of that one.
            for word in pressed():
                if (label := watched.label(word)) is not None:
                    say(label)
            now = time.monotonic()
            if event is not None:
                watched.receive(event, now)
            if now - drawn >= REFRESH:
                drawn = now
                nothing = watched.reason_for_nothing()
                live.update(Text(nothing) if nothing else picture(now), refresh=True)


def _print_changes(watched: Watched, events: Iterator[Mapping[str, Any] | None]) -> None:
    printed: dict[str, ToldState[Any]] = {}
    ends: dict[str, str] = {}
    last_nothing = ""
    for event in events:
        now = time.monotonic()
        if event is not None:
            watched.receive(event, now)
        nothing = watched.reason_for_nothing()
        if nothing and nothing != last_nothing:
            _print_line(nothing)
        last_nothing = nothing
        for monitor in [] if nothing else watched.monitors:
            state = (monitor.state(now), monitor.is_silent(now))
            told = printed.setdefault(monitor.name, ToldState())
            if told.is_new(state, _stale_reason(monitor, now), now):
                _print_line(headline(monitor, now))
            outcome = monitor.outcome
            if outcome is not None and outcome.rollout and ends.get(monitor.name) != outcome.text:
                ends[monitor.name] = outcome.text
                _print_line(f"{monitor.name} {outcome.rollout}: {outcome.text}")


def _stale_reason(monitor: WatchedMonitor, now: float) -> str:
    alarm = monitor.alarm
    if alarm is None or monitor.is_silent(now):
        return ""
    return stale_reason(alarm.state, alarm.reason, alarm.now)


def _print_line(line: str) -> None:
    stamp = datetime.now().astimezone().isoformat(timespec="milliseconds")
    output.print(f"{stamp} {line}", soft_wrap=True, markup=False, highlight=False)


@contextmanager
def _listener(
    monitors: list[str],
) -> Iterator[tuple[Iterator[Mapping[str, Any] | None], Callable[[Mapping[str, str]], None]]]:
    """Yield the listener's lines, with None now and then while there is none, and its input."""
    # A process of its own: the command line stays free of ROS.
    process = subprocess.Popen(
        [sys.executable, "-m", LISTENER, *monitors],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines: queue.Queue[str | None] = queue.Queue(maxsize=1000)
    assert process.stdout is not None
    assert process.stdin is not None
    answers = process.stdin

    def say(what: Mapping[str, str]) -> None:
        # One that has ended is told of by its lines.
        with suppress(OSError):
            answers.write(json.dumps(what) + "\n")
            answers.flush()

    threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True).start()
    try:
        yield _events(process, lines), say
    finally:
        process.terminate()
        with suppress(OSError):
            answers.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()


def _forward(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _events(
    process: subprocess.Popen[str], lines: queue.Queue[str | None]
) -> Iterator[Mapping[str, Any] | None]:
    while True:
        try:
            line = lines.get(timeout=REFRESH)
        except queue.Empty:
            yield None
            continue
        if line is None:
            raise NoListenerError.ended(process.wait())
        yield json.loads(line)
