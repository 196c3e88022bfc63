# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The alarm in a terminal: what it shows is true, and a silent monitor is never nominal."""

import math
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rich.console import Console
from std_msgs.msg import String
from testbed.command_line import run_here
from testbed.ros_graph import LATCHED, observing

from failure_monitor.cli.watch_view import BAR_CELLS, draw, headline, sparkline
from failure_monitor.cli.watched_monitor import NodeStatus, WatchedMonitor, WatchedOutcome
from failure_monitor.display.appearance import APPEARANCES
from failure_monitor.display.terminal import bar
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.scores.registry import DEFAULT_SCORES

COMMAND = [sys.executable, "-m", "failure_monitor.cli", "watch"]


def values(decision: int, **ratios: float) -> dict[str, str]:
    said = {"permit": "true", "decision": str(decision), "stamp": str(0.1 * decision)}
    for name, ratio in ratios.items():
        said |= {name: "1", f"{name}.threshold": "1", f"{name}.ratio": str(ratio)}
    return {**said, "level": str(max(ratios.values()))}


def watched(*courses: float, state: AlarmState = AlarmState.NOMINAL) -> WatchedMonitor:
    """A monitor that has made a decision every 0.1 s, up to now, which is 10 s."""
    monitor = WatchedMonitor("/arm/failure_monitor")
    for index, ratio in enumerate(courses):
        now = 10 - 0.1 * (len(courses) - 1 - index)
        monitor.hear_alarm(state, "a reason", values(index, ace=ratio), now)
    return monitor


def drawn(
    *monitors: WatchedMonitor, now: float = 10.0, unicode: bool = True, width: int = 120
) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(draw(monitors, now, unicode=unicode, width=width))
    return capture.get()


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("state", AlarmState)
def test_state_is_told_by_word_and_sign(state, unicode):
    shown = drawn(watched(0.5, state=state), unicode=unicode)
    look = APPEARANCES[state]
    assert f"{look.glyph if unicode else look.sign} {state.value}" in shown
    assert "a reason" in shown


@pytest.mark.law(11)
def test_silent_monitor_is_stale_whatever_it_said_last():
    monitor = watched(0.5)
    assert monitor.state(10.9) == AlarmState.NOMINAL
    assert monitor.state(11.1) == AlarmState.STALE
    shown = drawn(monitor, now=14.0)
    assert "STALE" in shown
    assert "silent for 4 s, it was NOMINAL: the monitor is gone" in shown
    assert "commands are permitted" not in shown
    assert headline(monitor, 14.0).startswith("/arm/failure_monitor STALE: silent for 4 s")


@pytest.mark.law(11)
def test_monitor_that_has_not_spoken_is_stale():
    monitor = WatchedMonitor("/m")
    assert monitor.state(0.0) == AlarmState.STALE
    assert "no message has come yet" in headline(monitor, 0.0)


def test_scores_are_shown_with_their_course():
    shown = drawn(watched(0.1, 0.6, 0.9, 1.4, 3.0))
    [row] = [line for line in shown.splitlines() if " ace " in line]
    assert "3.00 !" in row
    assert "▁▃▄▆█" in row


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [62, 80, 100, 200])
def test_terminal_of_any_width_shows_ratio_threshold_and_newest_decisions(width, unicode):
    monitor = WatchedMonitor("/failure_monitor")
    for index in range(60):
        ratios = dict.fromkeys(DEFAULT_SCORES, 9.0 if index == 59 else 0.1)
        monitor.hear_alarm(AlarmState.ALARM, "a reason", values(index, **ratios), 10.0)
    shown = drawn(monitor, unicode=unicode, width=width)
    assert "…" not in shown
    assert all(len(line) <= width for line in shown.splitlines())
    mark, before, newest = ("│", "▁", "█") if unicode else ("|", "_", "#")
    for name in (*DEFAULT_SCORES, "rule"):
        [row] = [line.strip("│ ") for line in shown.splitlines() if f" {name} " in line]
        _, ratio, over, drawing, course = row.split()
        assert (ratio, over) == ("9.00", "!")
        left, right = drawing.split(mark)
        assert len(left) == len(right) >= 5
        assert course == before * (len(course) - 1) + newest
        assert len(course) >= 14


def test_of_several_monitors_the_states_come_first():
    calm, alarmed = watched(0.5), watched(1.5, state=AlarmState.ALARM)
    alarmed.name = "/leg/failure_monitor"
    first, second, *_ = drawn(calm, alarmed).splitlines()
    assert first.strip() == "✔ NOMINAL  /arm/failure_monitor"
    assert second.strip() == "✖ ALARM  /leg/failure_monitor"
    assert drawn(calm).startswith("╭")


@pytest.mark.parametrize(
    ("permit", "halted", "words"),
    [
        ("true", "false", "commands are permitted"),
        ("false", "false", "no command is permitted"),
        ("false", "true", "no command is permitted; halted until ~/reset"),
    ],
)
def test_permit_and_halt_are_told_beside_the_state(permit, halted, words):
    monitor = WatchedMonitor("/m")
    said = {**values(0, ace=0.5), "permit": permit, "halted": halted}
    monitor.hear_alarm(AlarmState.CAUTION, "a reason", said, 10.0)
    first = drawn(monitor).splitlines()[1]
    assert first.strip("│ ") == f"▲ CAUTION   {words}"


def test_decision_that_is_said_again_counts_once():
    monitor = watched(0.5, 0.6)
    for _ in range(20):
        monitor.hear_alarm(AlarmState.NOMINAL, "", values(1, ace=0.6), 10.0)
    assert list(monitor.courses["ace"]) == [0.5, 0.6]
    alarms, decisions = monitor.rates(10.0)
    assert decisions == pytest.approx(10.0)
    assert alarms > 100


def test_next_rollout_begins_another_course():
    monitor = watched(0.5, 0.6, 0.7)
    monitor.hear_alarm(AlarmState.NOMINAL, "", values(0, ace=0.1), 10.1)
    assert list(monitor.courses["ace"]) == [0.1]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "many", ""])
def test_odd_numbers_are_drawn(text):
    monitor = watched(0.5)
    monitor.hear_alarm(
        AlarmState.ALARM, "", {**values(1, ace=1.0), "ace.ratio": text, "level": text}, 10.0
    )
    assert "ALARM" in drawn(monitor)


def test_alarm_that_tells_no_scores_any_more_is_shown_without_them():
    monitor = watched(0.5)
    monitor.hear_alarm(AlarmState.ALARM, "a reason", {"decision": "1", "permit": "false"}, 10.0)
    shown = drawn(monitor)
    assert "ALARM   no command is permitted" in shown
    assert "threshold" not in shown


def test_threshold_is_in_the_middle_of_bar_and_sparkline():
    half, whole, twice = (
        bar(ratio, unicode=False, cells=BAR_CELLS).plain for ratio in (0.5, 1.0, 9.0)
    )
    assert half == "#" * 6 + "." * 6 + "|" + "." * 12
    assert whole == "#" * 12 + "|" + "." * 12
    assert twice == "#" * 12 + "|" + "#" * 12
    assert len(half) == BAR_CELLS + 1
    assert sparkline([0, 0.99, 1.0, 1.01, 2, 99, math.nan], unicode=False).plain == "_~~=## "


def test_what_is_amiss_with_inputs_is_shown_while_it_is_new():
    monitor = watched(0.5)
    said = {"received_rate": "17.8"}
    for name, level in (("/camera", 1), ("/joints", 0)):
        monitor.add_status(NodeStatus(f"arm/failure_monitor: {name}", level, "words", said, 9.0))
    shown = drawn(monitor)
    assert "warning: arm/failure_monitor: /camera: words" in shown
    assert "/joints: words" not in shown
    assert "/joints 17.8/s" in shown
    monitor.hear_alarm(AlarmState.NOMINAL, "", values(1, ace=0.5), 20.0)
    assert "/camera" not in drawn(monitor, now=20.0)


def test_what_outside_judges_said_is_shown_beside_the_check():
    monitor = watched(0.5)
    said = {"rollout": "a-1", "claim": "success", "judges_problem": "'x.json' does not exist"}
    for judge, value, word in (("reward", "0.97", "accepted"), ("vlm", "7", "not calibrated")):
        said |= {f"judge.{judge}": value, f"judge.{judge}.word": word, f"judge.{judge}.reason": ""}
    said["judge.late"] = "none"
    monitor.outcome = WatchedOutcome(0, "confirmed: as ever", said, 9.0)
    assert monitor.outcome.text == (
        "last rollout confirmed: as ever; claim success; judge reward: accepted (0.97); "
        "judge vlm: not calibrated (7)"
    )
    shown = drawn(monitor)
    assert "judge reward: accepted (0.97)" in shown
    assert "judges are missing: 'x.json' does not exist" in shown


# With real nodes


class Monitor:
    """Says a state, twenty times a second."""

    def __init__(self, namespace: str = "") -> None:
        self.node = Node("failure_monitor", namespace=namespace)
        self.level = DiagnosticStatus.OK
        self.reason = "a reason"
        self.alarms = self.node.create_publisher(DiagnosticStatus, "~/alarm", LATCHED)
        self.diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.outcomes = self.node.create_publisher(DiagnosticStatus, "~/outcome", LATCHED)
        self.labels: list[str] = []
        self.node.create_subscription(String, "~/label", self._on_label, 10)
        self.node.create_timer(0.05, self._beat)
        self.node.create_timer(0.5, self._diagnose)

    def _beat(self) -> None:
        said = [KeyValue(key=key, value=value) for key, value in values(0, ace=0.5).items()]
        self.alarms.publish(DiagnosticStatus(level=self.level, message=self.reason, values=said))

    def end_rollout(self, message: str, label: str = "none") -> None:
        said = {"rollout": "20261129T034512.120Z-3", "claim": "success", "label": label}
        values = [KeyValue(key=key, value=value) for key, value in said.items()]
        self.outcomes.publish(DiagnosticStatus(level=b"\1", message=message, values=values))

    def _on_label(self, label: String) -> None:
        self.labels.append(label.data)
        self.end_rollout("doubtful: it is short", label.data.split()[-1])

    def _diagnose(self) -> None:
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN,
            name=f"{self.node.get_fully_qualified_name()[1:]}: /camera",
            message="lost",
        )
        self.diagnostics.publish(DiagnosticArray(status=[status]))

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.02)


@pytest.fixture
def monitor():
    with observing(Monitor, "arm") as monitor:
        yield monitor


class Watching:
    """`failure-monitor watch`, with a terminal or without."""

    def __init__(self, *arguments: str, terminal: bool = False) -> None:
        self._read, write = pty.openpty() if terminal else os.pipe()
        os.set_blocking(self._read, False)
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=write if terminal else subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
            start_new_session=True,
        )
        os.close(write)
        self._text = b""

    @property
    def text(self) -> str:
        try:
            while part := os.read(self._read, 65536):
                self._text += part
        except OSError:  # nothing more now; or ended, as a terminal says it
            pass
        return self._text.decode("utf-8", "replace")

    def wait_for(self, words: str, spin) -> None:
        end = time.monotonic() + 30
        while words not in self.text:
            assert time.monotonic() < end, f"no '{words}' in: {self.text}"
            spin(0.1)

    def press(self, key: str) -> None:
        os.write(self._read, key.encode())

    def interrupt(self) -> int:
        """Ctrl-C, which a terminal sends to all processes of the command."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(timeout=20)

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._read)


@contextmanager
def watching(*arguments: str, terminal: bool = False):
    watching = Watching(*arguments, terminal=terminal)
    try:
        yield watching
    finally:
        watching.close()


@pytest.mark.ros
def test_without_a_terminal_every_change_is_a_line(monitor):
    with watching() as command:
        command.wait_for("/arm/failure_monitor NOMINAL: a reason", monitor.spin)
        monitor.end_rollout("confirmed: as ever")
        command.wait_for("20261129T034512.120Z-3: last rollout confirmed: as ever", monitor.spin)
        monitor.level = DiagnosticStatus.ERROR
        command.wait_for("/arm/failure_monitor ALARM: a reason", monitor.spin)
        # It says no more: as if it were gone.
        command.wait_for("/arm/failure_monitor STALE: silent", time.sleep)
        monitor.level = DiagnosticStatus.STALE
        command.wait_for("/arm/failure_monitor STALE: a reason", monitor.spin)
        monitor.reason = "another reason"
        command.wait_for("/arm/failure_monitor STALE: another reason", monitor.spin)
        monitor.level = DiagnosticStatus.OK
        command.wait_for("/arm/failure_monitor NOMINAL: another reason", monitor.spin)
        assert command.interrupt() == 0
        text = command.text
    lines = [line for line in text.splitlines() if "/arm/" in line[:60]]
    states = [line.split()[2].rstrip(":") for line in lines if "last rollout" not in line]
    assert states == ["NOMINAL", "ALARM", "STALE", "STALE", "STALE", "NOMINAL"]
    assert "Traceback" not in text
    assert "interrupted" not in text


@pytest.mark.ros
def test_terminal_shows_a_picture_and_is_left_in_order(monitor):
    with watching(terminal=True) as command:
        command.wait_for("NOMINAL", monitor.spin)
        command.wait_for("warning: arm/failure_monitor: /camera: lost", monitor.spin)
        assert command.interrupt() == 0
        text = command.text
    assert "ace" in text
    assert "Traceback" not in text
    # The cursor was hidden, and is there again.
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


@pytest.mark.ros
def test_how_a_rollout_ended_is_shown_and_labelled_by_a_key(monitor):
    with watching(terminal=True) as command:
        command.wait_for("NOMINAL", monitor.spin)
        command.press("s")
        monitor.end_rollout("doubtful: it is short")
        command.wait_for("last rollout doubtful: it is short; claim success", monitor.spin)
        assert not monitor.labels, "a key before there is a rollout is of none"
        command.press("f")
        command.wait_for("claim success; label failure", monitor.spin)
        assert command.interrupt() == 0
    assert monitor.labels == ["20261129T034512.120Z-3 failure"]


@pytest.mark.ros
def test_one_of_several_monitors_is_chosen_by_its_name(monitor):
    other = Monitor("leg")

    def spin(seconds: float) -> None:
        monitor.spin(seconds / 2)
        other.spin(seconds / 2)

    with watching("leg/failure_monitor") as command:
        command.wait_for("/leg/failure_monitor NOMINAL", spin)
        spin(1.0)
        assert "/arm/failure_monitor NOMINAL" not in command.text
    other.node.destroy_node()


@pytest.mark.ros
def test_without_a_monitor_it_says_where_it_looks():
    with watching() as command:
        command.wait_for("no message from any monitor yet; monitors in ROS domain ", time.sleep)
        assert command.interrupt() == 0


def test_without_ros_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr("failure_monitor.cli.require_ros.find_spec", lambda name: None)
    done = run_here("watch")
    assert done.exit_code == 1
    assert "ROS 2 is not found (there is no Python package 'rclpy'): source its" in done.stderr
