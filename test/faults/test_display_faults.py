# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What displays show when the monitor dies or hangs, and what is left of displays that do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from testbed.faults.cell import HEARTBEAT, SLACK, Cell, Process
from visualization_msgs.msg import Marker, MarkerArray

from failure_monitor.display.appearance import APPEARANCES
from failure_monitor.display.state_text import NO_WORD
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.ros.displays.marker_parts import BARS, STATE

pytestmark = [pytest.mark.ros, pytest.mark.alone]

PROMISED = 1.0
"""Seconds after the monitor's last message within which displays show that there is no word."""

PERIOD = 0.2
"""Seconds between two pictures: the displays' default."""

LIFETIMES = 3
"""Periods for which RViz shows a marker that nobody repeats."""

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Viewer:
    """RViz: receives markers and overlay, and keeps of each when it came and what it showed."""

    def __init__(self, cell: Cell) -> None:
        self.titles: list[tuple[float, str]] = []
        self.banners: list[tuple[float, tuple[int, ...]]] = []
        self.lifetimes: set[float] = set()
        self.namespaces: set[str] = set()
        node = cell.node
        node.create_subscription(MarkerArray, "failure_monitor/markers", self._on_markers, LATCHED)
        node.create_subscription(Image, "failure_monitor/overlay", self._on_overlay, 1)

    def shows(self, state: AlarmState, title: str) -> bool:
        """Return whether both show a state now."""
        return (
            bool(self.titles and self.banners)
            and self.titles[-1][1] == f"{APPEARANCES[state].sign} {title}"
            and self.banners[-1][1] == APPEARANCES[state].colour
        )

    def is_well(self) -> bool:
        return self.shows(AlarmState.NOMINAL, "NOMINAL")

    def _on_markers(self, array: MarkerArray) -> None:
        added = [marker for marker in array.markers if marker.action == Marker.ADD]
        self.namespaces = {marker.ns for marker in added}
        self.lifetimes |= {m.lifetime.sec + 1e-9 * m.lifetime.nanosec for m in added}
        self.titles += [(time.monotonic(), m.text) for m in added if m.ns == STATE]

    def _on_overlay(self, image: Image) -> None:
        self.banners.append((time.monotonic(), tuple(image.data[:3])))


@pytest.fixture(scope="module")
def viewer(cell: Cell) -> Viewer:
    return Viewer(cell)


@pytest.fixture
def displays(moving: Cell, viewer: Viewer) -> Iterator[Process]:
    """Displays that show that all is well."""
    process = moving.start_displays()
    moving.wait_for(lambda: viewer.is_well() and BARS in viewer.namespaces, "displays")
    yield process
    process.send(signal.SIGCONT)
    process.end()


def shows_no_word_in_time(cell: Cell, viewer: Viewer, cause: Callable[[], None]) -> None:
    """Break the monitor; within the time nothing may be well any more, and so it must stay."""
    begin = time.monotonic()
    cause()
    cell.wait_for(lambda: viewer.shows(AlarmState.STALE, NO_WORD), "no word from the monitor")
    taken = time.monotonic() - begin
    assert taken < PROMISED + SLACK
    assert viewer.namespaces.isdisjoint({BARS})
    time.sleep(3 * PERIOD)
    late = begin + taken
    assert {title for when, title in viewer.titles if when > late} == {f"(?) {NO_WORD}"}
    assert {c for when, c in viewer.banners if when > late} == {
        APPEARANCES[AlarmState.STALE].colour
    }


@pytest.mark.law(11)
def test_killed_monitor_is_not_shown_as_well(moving: Cell, viewer: Viewer, displays: Process):
    shows_no_word_in_time(moving, viewer, lambda: moving.monitor.send(signal.SIGKILL))


@pytest.mark.law(11)
def test_frozen_monitor_is_not_shown_as_well(moving: Cell, viewer: Viewer, displays: Process):
    shows_no_word_in_time(moving, viewer, lambda: moving.monitor.send(signal.SIGSTOP))
    moving.monitor.send(signal.SIGCONT)
    moving.wait_for(lambda: "halted" in viewer.titles[-1][1], "the halt of the monitor")


@pytest.mark.law(11)
def test_markers_of_killed_displays_vanish_and_the_robot_goes_on(
    moving: Cell, viewer: Viewer, displays: Process
):
    displays.send(signal.SIGKILL)
    begin = time.time()
    time.sleep(3 * PERIOD)
    # RViz removes them by this; 0 would be for ever.
    assert {round(seconds, 3) for seconds in viewer.lifetimes} == {round(LIFETIMES * PERIOD, 3)}
    assert moving.is_moving
    assert_beats_since(moving, begin)


@pytest.mark.law(5)
def test_frozen_displays_hold_up_no_permit(moving: Cell, viewer: Viewer, displays: Process):
    begin = time.time()
    displays.send(signal.SIGSTOP)
    time.sleep(3.0)
    assert moving.is_moving
    assert moving.closed_at(begin) == 0.0
    assert_beats_since(moving, begin)
    displays.send(signal.SIGCONT)
    seen = len(viewer.titles)
    moving.wait_for(lambda: len(viewer.titles) > seen and viewer.is_well(), "displays to go on")


def assert_beats_since(cell: Cell, begin: float) -> None:
    """Assert that the monitor's messages came at their period, as it published them."""
    times = [report.time for report in cell.alarms if report.time >= begin]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert gaps
    assert max(gaps) < HEARTBEAT + SLACK
