# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""RViz's layout shows scene and overlay side by side, and in the scene all that is drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from testbed.repository import ROOT

from failure_monitor.monitoring.alarm_values import RULE
from failure_monitor.parameters.displays import MarkerParameters
from failure_monitor.scores.registry import DEFAULT_SCORES

if TYPE_CHECKING:
    from visualization_msgs.msg import Marker

CONFIG = ROOT / "config"
LAYOUT = yaml.safe_load((CONFIG / "failure_monitor.rviz").read_text())
VIEWS = LAYOUT["Visualization Manager"]["Views"]
VIEW, MOBILE_BASE = VIEWS["Current"], VIEWS["Saved"][1]
WINDOW = LAYOUT["Window Geometry"]

OVERLAY_WIDTH = 560
"""Pixels that the overlay's dock is wide."""

BARS = (30, 145)
"""Pixels of the window beside and above the scene: handles of the docks, menu, tools, status."""

FIELD_OF_VIEW = math.radians(45)
"""RViz's, from the lower to the upper edge."""

LETTER_WIDTH, LINE_HEIGHT = 0.5, 1.45
"""Of RViz's texts, in the height of their letters, seen in RViz 2."""


# The docks


def test_overlay_stands_beside_the_scene_and_the_left_dock_is_hidden():
    widths, shown = docks(bytes.fromhex(WINDOW["QMainWindow State"]))
    assert widths == {RIGHT: OVERLAY_WIDTH}
    assert shown == {"Displays": False, "Views": False, "Overlay": True}
    assert (WINDOW["Hide Left Dock"], WINDOW["Hide Right Dock"]) == (True, False)
    for name, visible in shown.items():
        assert WINDOW[name]["collapsed"] is not visible, name


def test_every_panel_and_picture_has_a_dock_of_its_name():
    _, shown = docks(bytes.fromhex(WINDOW["QMainWindow State"]))
    panels = {panel["Name"] for panel in LAYOUT["Panels"]}
    displays = LAYOUT["Visualization Manager"]["Displays"]
    pictures = {each["Name"] for each in displays if each["Class"].endswith("/Image")}
    assert panels | pictures == set(shown)


LEFT, RIGHT = 0, 1
"""Numbers of dock areas in a saved QMainWindow."""

AREA = re.compile(rb"\0\0\0([\0-\3])(.{4}).{4}\xfc[\1\2](.{4})", re.S)
DOCK = re.compile(rb"\xfb\0\0(..)", re.S)


def docks(state: bytes) -> tuple[dict[int, int], dict[str, bool]]:
    """Return the widths of the areas that are shown, and whether each dock is.

    The form is that of Qt's QMainWindow::saveState: of each area its number, width, height and
    docks; of each dock its name in UTF-16 and whether it is shown.
    """
    widths: dict[int, int] = {}
    shown: dict[str, bool] = {}
    areas = list(AREA.finditer(state))
    for area, end in zip(areas, [*(each.start() for each in areas[1:]), len(state)], strict=True):
        found = dict(named_docks(state[area.end() : end]))
        shown |= found
        if any(found.values()):
            widths[area[1][0]] = int.from_bytes(area[2], "big")
    return widths, shown


def named_docks(part: bytes) -> Iterator[tuple[str, bool]]:
    for dock in DOCK.finditer(part):
        end = dock.end() + int.from_bytes(dock[1], "big")
        yield part[dock.end() : end].decode("utf-16-be"), bool(part[end] & 1)


# The view


@pytest.mark.ros
def test_all_that_default_parameters_draw_lies_in_the_picture():
    assert_in_picture(drawn(MarkerParameters()), VIEW)


@pytest.mark.ros
def test_the_saved_view_shows_all_that_the_parameters_for_a_mobile_base_draw():
    page = (ROOT / "docs" / "visualization.md").read_text()
    panel = re.search(r"`?markers\.panel: \[(.*), (.*), (.*)\]", page)
    size = re.search(r"`?markers\.size: ([\d.]+)", page)
    assert panel is not None
    assert size is not None
    x, y, z = map(float, panel.groups())
    parameters = replace(MarkerParameters(), panel=(x, y, z), size=float(size[1]))
    assert parameters.size > 2 * MarkerParameters().size
    assert MOBILE_BASE["Name"] == "Mobile base"
    assert_in_picture(drawn(parameters), MOBILE_BASE)


def test_the_first_saved_view_is_the_one_at_the_start():
    saved = VIEWS["Saved"][0]
    assert {**saved, "Name": VIEW["Name"]} == VIEW


def test_a_tool_above_a_table_lies_in_the_picture_below_the_panel():
    for tool in [(0.3, 0.0, 0.05), (0.5, 0.3, 0.1), (0.5, -0.3, 0.1), (0.7, 0.0, 0.2)]:
        across, up = in_picture(tool)
        assert abs(across) < 0.9, tool
        assert -0.95 < up < in_picture(MarkerParameters().panel)[1], tool


def test_the_tool_of_the_demo_lies_in_the_picture_below_the_panel():
    demo = yaml.safe_load((CONFIG / "demo.yaml").read_text())
    parameters = demo["/failure_monitor_displays"]["ros__parameters"]
    assert not {"markers.panel", "markers.size", "markers.yaw"} & set(parameters)
    across, up = in_picture(parameters["markers.start"])
    assert abs(across) < 0.5
    assert -0.9 < up < in_picture(MarkerParameters().panel)[1]


def test_texts_of_the_panel_are_large_enough_to_be_read():
    parameters = MarkerParameters()
    x, y, z = parameters.panel
    (_, low), (_, high) = in_picture((x, y, z)), in_picture((x, y, z + 0.7 * parameters.size))
    assert (high - low) / 2 * (WINDOW["Height"] - BARS[1]) > 10


def assert_in_picture(markers: Sequence[Marker], view: dict[str, Any]) -> None:
    assert len(markers) > 3 * len(DEFAULT_SCORES)
    for marker in markers:
        for place in extent(marker, view):
            assert max(map(abs, in_picture(place, view))) < 1, (marker.ns, marker.text, place)


def in_picture(place: Sequence[float], view: dict[str, Any] = VIEW) -> tuple[float, float]:
    """Return where the view shows a place, from -1 to 1 across and upwards."""
    width = WINDOW["Width"] - OVERLAY_WIDTH - BARS[0]
    aspect = width / (WINDOW["Height"] - BARS[1])
    eye, back, right, above = camera(view)
    seen = np.asarray(place) - eye
    half = math.tan(FIELD_OF_VIEW / 2) * -(seen @ back)
    return float(seen @ right / (half * aspect)), float(seen @ above / half)


def camera(view: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return where the camera is, and what is behind it, to its right and above it."""
    yaw, pitch = view["Yaw"], view["Pitch"]
    back = np.array(
        [math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)]
    )
    right = np.array([-math.sin(yaw), math.cos(yaw), 0.0])
    focus = np.array([view["Focal Point"][axis] for axis in "XYZ"])
    return focus + view["Distance"] * back, back, right, np.cross(back, right)


def extent(marker: Marker, view: dict[str, Any]) -> Iterator[np.ndarray]:
    """Yield the places that a marker reaches to."""
    centre = vector(marker.pose.position)
    if marker.text:
        # Texts face the viewer.
        _, _, right, above = camera(view)
        lines = marker.text.split("\n")
        width = LETTER_WIDTH * marker.scale.z * max(map(len, lines))
        height = LINE_HEIGHT * marker.scale.z * len(lines)
        for side in (-0.5, 0.5):
            yield centre + side * width * right
            yield centre + side * height * above
    elif marker.points:
        yield from (centre + vector(each) for each in marker.points)
    else:
        for side in (-0.5, 0.5):
            yield centre + side * marker.scale.z * np.array([0.0, 0.0, 1.0])


def vector(point: Any) -> np.ndarray:
    return np.array([point.x, point.y, point.z])


def drawn(parameters: MarkerParameters) -> list[Marker]:
    """Return the markers of a long reason, and of the scores of the default rule."""
    from failure_monitor.display.state_text import StateText
    from failure_monitor.monitoring.alarm import AlarmState
    from failure_monitor.ros.displays.marker_parts import Layout
    from failure_monitor.ros.displays.markers import markers
    from failure_monitor.ros.displays.score_panel import ScoreBar

    x, y, z = parameters.panel
    layout = Layout(parameters.frame, (x, y, z), parameters.yaw, parameters.size, seconds=1.0)
    curve = np.array([[0.0, 2.0], [10.0, 0.0]])
    bars = [ScoreBar(name, 3.0, curve) for name in (*DEFAULT_SCORES, RULE)]
    reason = "what it sees is unlike successful rollouts " * 9
    text = StateText(AlarmState.ALARM, "ALARM - halted", "", (reason, reason))
    return markers(text, bars, None, layout, seconds=10.0)
