# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What RViz is given: always drawable, always to vanish, and true."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from visualization_msgs.msg import Marker, MarkerArray

from failure_monitor.display.appearance import APPEARANCES
from failure_monitor.display.score_bar import ABOVE_THRESHOLD, BELOW_THRESHOLD
from failure_monitor.display.state_text import StateText
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.ros.displays.chunk_fan import MAX_SAMPLES, Fan
from failure_monitor.ros.displays.marker_parts import (
    BARS,
    CHOSEN,
    CURVES,
    FAN,
    LABELS,
    REASON,
    STATE,
    THRESHOLD,
    TRUST,
    Layout,
    delete_all,
)
from failure_monitor.ros.displays.markers import markers
from failure_monitor.ros.displays.score_panel import ScoreBar

NAMESPACES = {STATE, REASON, BARS, CURVES, LABELS, THRESHOLD, FAN, CHOSEN, TRUST}
LAYOUT = Layout(frame="base", panel=(0.0, 0.0, 1.0), yaw=0.3, size=0.05, seconds=0.6)


def text(state: AlarmState, *paragraphs: str, halted: bool = False) -> StateText:
    title = state.value + (" - halted" if halted else "")
    return StateText(state, title, "no command passes", paragraphs)


ALARM = text(AlarmState.ALARM, "rnd_oe 1.25 of its threshold", halted=True)

levels = st.floats(allow_nan=True, allow_infinity=True)


def bar(name: str, level: float, *course: float) -> ScoreBar:
    curve = np.array([(10 - index, value) for index, value in enumerate(course)], float)
    return ScoreBar(name, level, curve.reshape(-1, 2))


def fan(samples: int = 3, steps: int = 5, **more: object) -> Fan:
    random = np.random.default_rng(0)
    return Fan(random.normal(size=(samples, steps, 3)), random.random((samples, steps)), **more)


def draw(status=ALARM, bars=(), fan=None, layout=LAYOUT) -> list[Marker]:
    return markers(status, bars, fan, layout, seconds=10.0)


def of(drawn: list[Marker], namespace: str) -> list[Marker]:
    return [marker for marker in drawn if marker.ns == namespace]


def numbers(marker: Marker) -> Iterator[float]:
    """Everything in a marker that RViz draws with."""
    place, turn = marker.pose.position, marker.pose.orientation
    yield from (place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w)
    yield from (marker.scale.x, marker.scale.y, marker.scale.z)
    for point in marker.points:
        yield from (point.x, point.y, point.z)
    for colour in (marker.color, *marker.colors):
        yield from (colour.r, colour.g, colour.b, colour.a)


@given(
    st.sampled_from(AlarmState),
    st.text(max_size=500),
    st.lists(
        st.tuples(st.text(max_size=8), levels, st.lists(st.floats(-1e9, 1e9), max_size=90)),
        max_size=6,
    ),
    st.integers(0, 40),
    st.integers(1, 30),
    st.one_of(st.none(), st.integers(-5, 60)),
)
def test_whatever_happens_is_drawable(state, reason, scores, samples, steps, trusted):
    shown = fan(samples, steps, trusted=trusted)
    shown.paths[::2] = np.nan
    shown.disagreement[::2] = np.nan
    bars = [bar(name, level, *course) for name, level, course in scores]
    drawn = draw(text(state, reason), bars, shown)
    serialize_message(MarkerArray(markers=drawn))
    assert len({(marker.ns, marker.id) for marker in drawn}) == len(drawn)
    assert {marker.ns for marker in drawn} <= NAMESPACES
    for marker in drawn:
        assert all(math.isfinite(number) for number in numbers(marker))
        assert marker.text.isascii()
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (0, 600_000_000)
        assert (marker.header.frame_id, marker.header.stamp.sec) == ("base", 0)
        if marker.type == Marker.TEXT_VIEW_FACING:
            assert marker.text
        if marker.type == Marker.LINE_STRIP:
            assert len(marker.points) >= 2
        if marker.type == Marker.LINE_LIST:
            assert len(marker.points) % 2 == 0
        if marker.colors:
            assert len(marker.colors) == len(marker.points)
        if marker.type in (Marker.CUBE, Marker.SPHERE):
            assert min(marker.scale.x, marker.scale.y, marker.scale.z) > 0


@pytest.mark.parametrize("state", AlarmState)
def test_state_is_told_by_word_and_sign_besides_its_colour(state):
    [word] = of(draw(text(state, "why")), STATE)
    assert state.value in word.text
    assert APPEARANCES[state].sign in word.text
    red, green, blue = APPEARANCES[state].colour
    assert (word.color.r, word.color.g, word.color.b) == pytest.approx(
        (red / 255, green / 255, blue / 255)
    )
    others = [APPEARANCES[other] for other in AlarmState if other != state]
    assert APPEARANCES[state].sign not in {other.sign for other in others}
    assert APPEARANCES[state].colour not in {other.colour for other in others}


def test_reason_is_whole_if_it_is_short_and_cut_if_it_is_not():
    [reason] = of(draw(), REASON)
    assert [reason.text] == list(ALARM.paragraphs)
    [reason] = of(draw(text(AlarmState.STALE, "word " * 200)), REASON)
    assert len(reason.text.splitlines()) == 3
    assert reason.text.endswith("...")


def test_reason_is_readable_and_covers_neither_bars_nor_state():
    long = text(AlarmState.ALARM, "word " * 200, "now " * 200)
    drawn = draw(long, bars=[bar("ace", math.inf)])
    [reason], [state], [full] = of(drawn, REASON), of(drawn, STATE), of(drawn, BARS)
    # RViz puts the middle of a text at its place, and its lines 1.4 letters apart.
    half = 1.4 * reason.scale.z * len(reason.text.splitlines()) / 2
    assert reason.pose.position.z - half > full.pose.position.z + full.scale.z / 2
    assert reason.pose.position.z + half < state.pose.position.z - state.scale.z / 2
    assert reason.scale.z > max(label.scale.z for label in of(drawn, LABELS))


def test_halt_is_told():
    assert "halted" in of(draw(), STATE)[0].text
    assert "halted" not in of(draw(text(AlarmState.ALARM, "")), STATE)[0].text


def test_bar_is_as_high_as_its_score_is_large():
    bars = [bar("half", 0.5), bar("all", 1.0), bar("over", 1.5), bar("far", math.inf)]
    half, whole, over, far = (marker.scale.z for marker in of(draw(bars=bars), BARS))
    assert (whole, over, far) == pytest.approx((2 * half, 3 * half, 4 * half))


def test_threshold_is_where_a_bar_of_1_ends():
    drawn = draw(bars=[bar("ace", 1.0), bar("rnd_oe", 0.2)])
    line, word = of(drawn, THRESHOLD)
    top = of(drawn, BARS)[0]
    ends = {round(point.z, 9) for point in line.points}
    assert ends == {round(top.pose.position.z + top.scale.z / 2, 9)}
    assert word.text == "threshold"
    assert 0 < word.pose.position.z - word.scale.z / 2 - line.points[0].z < word.scale.z


def test_score_that_is_over_has_an_exclamation_mark_besides_its_colour():
    drawn = draw(bars=[bar("ace", 0.5), bar("rnd_oe", 1.25)])
    assert [label.text for label in of(drawn, LABELS)] == ["ace\n0.50", "rnd_oe\n1.25 !"]
    under, over = of(drawn, BARS)
    assert under.color != over.color


def test_texts_have_the_spaces_of_rviz_2():
    shown = fan(trusted=3)
    for marker in draw(bars=[bar("ace", 0.5)], fan=shown):
        if marker.type == Marker.TEXT_VIEW_FACING:
            assert marker.scale.x == pytest.approx(0.5 * marker.scale.z)


def width(label: Marker) -> float:
    """The width of a text, as wide as RViz 2 draws letters at most."""
    return 0.5 * label.scale.z * max(map(len, label.text.splitlines()))


@pytest.mark.parametrize("level", [0.5, 123.4, math.nan])
def test_labels_of_neighbours_do_not_touch_and_their_bars_stay_where_they_are(level):
    names = ["dispersion_profile", "external:torque_residual", "ace", "command_effect", "rule"]
    layout = Layout("base", (0.0, 0.0, 0.0), 0.0, 0.05, 0.6)
    drawn = draw(bars=[bar(name, level) for name in names], layout=layout)
    labels = of(drawn, LABELS)
    for one, next_one in pairwise(labels):
        gap = next_one.pose.position.y - one.pose.position.y
        assert gap > (width(one) + width(next_one)) / 2
    still = draw(bars=[bar(name, 0.7) for name in names], layout=layout)
    assert [m.pose.position.y for m in of(still, LABELS)] == [m.pose.position.y for m in labels]


def test_labels_stand_between_the_panel_s_edge_and_the_bars():
    layout = Layout("base", (0.0, 0.0, 0.4), 0.0, 0.05, 0.6)
    drawn = draw(bars=[bar("dispersion_profile", 1.5), bar("ace", 0.5)], layout=layout)
    foot = min(b.pose.position.z - b.scale.z / 2 for b in of(drawn, BARS))
    for label in of(drawn, LABELS):
        half = 1.45 * label.scale.z * len(label.text.splitlines()) / 2
        assert label.pose.position.z - half >= 0.4
        assert label.pose.position.z + half < foot


def test_undefined_score_has_a_word_and_no_bar():
    drawn = draw(bars=[bar("stac", math.nan)])
    assert [label.text for label in of(drawn, LABELS)] == ["stac\nundefined"]
    assert of(drawn, BARS) == []


def test_curve_ends_where_its_bar_does():
    course = list(np.linspace(0.1, 0.8, 100))
    drawn = draw(bars=[bar("ace", 0.8, *course)])
    [cube], [curve] = of(drawn, BARS), of(drawn, CURVES)
    assert len(curve.points) <= 32
    assert curve.points[-1].z == pytest.approx(cube.pose.position.z + cube.scale.z / 2)


def test_curve_goes_from_the_oldest_to_the_newest():
    course = np.array([(9.0, 0.0), (5.0, 1.0), (1.0, 2.0)])
    layout = Layout("base", (0.0, 0.0, 0.0), 0.0, 0.05, 0.6)
    drawn = draw(bars=[ScoreBar("ace", 2.0, course)], layout=layout)
    [curve] = of(drawn, CURVES)
    across = [point.y for point in curve.points]
    assert across == sorted(across)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1])


# The fan


def test_text_of_the_trusted_horizon_stands_above_the_fan():
    shown = fan(trusted=2)
    _, text = of(draw(fan=shown), TRUST)
    assert text.pose.position.z - text.scale.z / 2 > np.nanmax(shown.paths[:, :, 2])


def test_of_thousands_of_samples_some_are_drawn():
    drawn = draw(fan=fan(5000, 17, trusted=3))
    [lines] = of(drawn, FAN)
    assert len(lines.points) == MAX_SAMPLES * 8 * 2


def test_path_is_drawn_where_it_leads():
    path = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]])
    shown = Fan(path[np.newaxis], np.array([[0.0, 0.5, 1.0]]))
    [lines] = of(draw(fan=shown), FAN)
    assert [(p.x, p.y) for p in lines.points] == [(0, 0), (1, 0), (1, 0), (1, 1)]


def test_fan_is_blue_where_samples_agree_and_vermillion_where_they_are_apart():
    path = np.arange(9.0).reshape(1, 3, 3)
    [lines] = of(draw(fan=Fan(path, np.array([[0.0, 0.5, 7.0]]))), FAN)
    agree, halfway, _, apart = [(colour.r, colour.g, colour.b) for colour in lines.colors]
    assert agree == pytest.approx(np.array(BELOW_THRESHOLD) / 255, abs=1e-6)
    assert apart == pytest.approx(np.array(ABOVE_THRESHOLD) / 255, abs=1e-6)
    assert halfway == pytest.approx(np.add(BELOW_THRESHOLD, ABOVE_THRESHOLD) / 510, abs=1e-6)


def test_chosen_chunk_is_wide_as_far_as_it_is_trusted():
    shown = fan(3, 6, chosen=1, trusted=2)
    drawn = draw(fan=shown)
    wide, narrow = of(drawn, CHOSEN)
    assert wide.scale.x > narrow.scale.x
    assert [p.x for p in wide.points] == shown.paths[1, :3, 0].tolist()
    assert [p.x for p in narrow.points] == shown.paths[1, 2:, 0].tolist()
    ball, words = of(drawn, TRUST)
    assert ball.pose.position.x == shown.paths[1, 2, 0]
    assert words.text == "2 of 5 trusted"


def test_without_a_trusted_horizon_none_is_marked():
    drawn = draw(fan=fan())
    assert len(of(drawn, CHOSEN)) == 1
    assert of(drawn, TRUST) == []


def test_nothing_trusted_leaves_the_chosen_chunk_narrow():
    [narrow] = of(draw(fan=fan(3, 6, trusted=0)), CHOSEN)
    assert len(narrow.points) == 6


def test_chosen_chunk_that_cannot_be_drawn_is_left_out():
    shown = fan(3, 6, trusted=2)
    shown.paths[0] = np.nan
    drawn = draw(fan=shown)
    assert of(drawn, CHOSEN) == of(drawn, TRUST) == []
    assert of(drawn, FAN)


def test_delete_all_takes_all_away():
    assert delete_all("base").action == Marker.DELETEALL
