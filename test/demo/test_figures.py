# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from testbed.demo_timelines import HALF_DONE, at, detected, missed, nominal, recording

from failure_monitor.demo.figures import (
    HATCHES,
    SIZE,
    chosen_frames,
    curves,
    draw,
    first_readings,
    marks,
    save_figure,
    state_spans,
    title,
)
from failure_monitor.demo.summary import summarise
from failure_monitor.demo.timeline import Timeline, timeline
from failure_monitor.monitoring.alarm import AlarmState
from failure_monitor.report.score_style import SCORE_STYLES


@pytest.mark.parametrize("observed", [nominal(), detected(), missed()], ids=lambda t: t.plan.title)
def test_a_figure_of_every_kind_of_rollout_is_written(observed: Timeline, tmp_path: Path) -> None:
    path = tmp_path / "rollout.png"
    save_figure(observed, path)
    height, width, _ = cv2.imread(str(path)).shape
    assert width / height == pytest.approx(SIZE[0] / SIZE[1], rel=0.01)


def test_a_rollout_of_which_little_was_observed_can_still_be_drawn(tmp_path: Path) -> None:
    bare = replace(nominal(), readings=(), gate=(), frames=(), chunks={}, sent=(), passed=())
    save_figure(bare, tmp_path / "rollout.png")


def test_the_legend_names_scores_threshold_and_states() -> None:
    (legend,) = draw(detected()).legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["rule 'any'", "RND-OE", "ACE", "threshold", "ALARM"]


def test_marks_come_in_order_and_name_the_moments() -> None:
    found = marks(detected(), summarise(detected()))
    assert [mark.time for mark in found] == pytest.approx([0.5, 0.71, 0.711, 4.0])
    assert [mark.label for mark in found] == [
        "perturbation: camera",
        "alarm at decision 7",
        "gate closed 5.0 ms after the decision was published",
        "end: the time is up",
    ]


def test_states_cover_the_rollout_from_the_first_reading_to_the_end() -> None:
    spans = list(state_spans(detected()))
    assert [span[0] for span in spans] == [AlarmState.NOMINAL, AlarmState.ALARM]
    assert spans[0][2] == spans[1][1] == pytest.approx(0.71)
    assert spans[1][2] == pytest.approx(4.0)


def test_heartbeats_between_decisions_are_not_drawn() -> None:
    observed = nominal()
    beats = tuple(replace(reading, time=reading.time + 1) for reading in observed.readings)
    doubled = sorted((*observed.readings, *beats), key=lambda reading: reading.time)
    assert first_readings(doubled) == list(observed.readings)


def test_a_score_that_is_undefined_at_first_has_a_curve_of_its_own() -> None:
    observed = nominal()
    first, second, *_ = observed.readings
    late = replace(first, scores=first.scores[1:])
    drawn = curves(observed, [late, second])
    assert list(drawn) == ["rnd_oe", "ace"]
    assert drawn["rnd_oe"] == [(observed.seconds(second.time), second.scores[0].ratio)]
    assert [ratio for _, ratio in drawn["ace"]] == [0.6, 0.6]


def test_frames_lie_evenly_along_the_axis() -> None:
    chosen = chosen_frames(nominal(), 4)
    assert [middle for middle, _ in chosen] == pytest.approx([0.25, 0.75, 1.25, 1.75])
    for middle, frame in chosen:
        assert abs(frame.time - at(middle)) <= 0.05e9 + 1


def test_no_two_scores_and_no_two_states_differ_by_colour_alone() -> None:
    assert len({(style.linestyle, style.marker) for style in SCORE_STYLES}) == len(SCORE_STYLES)
    assert len(set(HATCHES.values())) == len(HATCHES)


def test_the_title_of_a_false_success_tells_claim_from_truth() -> None:
    observed = timeline(HALF_DONE, recording(success=False, claim=True, check="doubtful: far"))
    assert "task not done, success claimed" in title(observed, summarise(observed))
