# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the rollouts in a bag begin and end, and what is said of each."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from testbed.bags import (
    ACTIVE,
    BEGIN,
    PERIOD,
    SECOND,
    SUCCESS,
    BagBuilder,
    decision_arrays,
    write_bag,
)

from failure_monitor.sources.boundaries import (
    spans_of_markers,
    spans_of_outcomes,
    spans_of_pauses,
)
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError, Topics

GROUP, TASK = "/rollout/group", "/rollout/task"


class Session(BagBuilder):
    """A bag of several rollouts, written decision by decision."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.embeddings, self._chunks = decision_arrays(40)
        self.now = BEGIN
        self._number = 0

    def decide(self, count: int) -> None:
        for _ in range(count):
            self.now += PERIOD
            self.embedding(self.embeddings[self._number], self.now)
            self.chunks(self._chunks[self._number], self.now)
            self._number += 1

    def say(self, topic: str, value: bool | str) -> None:
        self.now += 1
        (self.flag if isinstance(value, bool) else self.text)(topic, value, self.now)


def lengths(rollouts: RolloutSet) -> list[int]:
    return [len(rollout) for rollout in rollouts.rollouts]


def outcomes(rollouts: RolloutSet) -> list[bool | None]:
    return [rollout.success for rollout in rollouts.rollouts]


def test_markers_tell_rollouts_apart_and_each_has_its_outcome(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        bag.say(SUCCESS, False)  # of a rollout before the bag
        for decisions, outcome in ((3, True), (4, False), (2, None)):
            bag.decide(1)  # of no rollout
            bag.say(ACTIVE, True)
            bag.decide(decisions)
            bag.say(ACTIVE, False)
            if outcome is not None:
                bag.say(SUCCESS, outcome)
        embeddings = bag.embeddings
    rollouts = read_rollouts([tmp_path / "session"])
    assert lengths(rollouts) == [3, 4, 2]
    assert outcomes(rollouts) == [True, False, None]
    assert [r.name for r in rollouts.rollouts] == ["session/000", "session/001", "session/002"]
    np.testing.assert_array_equal(rollouts.rollouts[1].embeddings, embeddings[5:9])


def test_the_rollouts_of_a_bag_have_hashes_of_their_own(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        for _ in range(2):
            bag.say(ACTIVE, True)
            bag.decide(2)
            bag.say(ACTIVE, False)
    first, second = read_rollouts([tmp_path / "session"]).rollouts
    again = read_rollouts([tmp_path / "session"]).rollouts
    assert first.sha256 != second.sha256
    assert [first.sha256, second.sha256] == [rollout.sha256 for rollout in again]


def test_markers_that_repeat_themselves_begin_nothing_new(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        for _ in range(2):
            bag.say(ACTIVE, False)
            bag.say(ACTIVE, True)
            bag.decide(1)
            bag.say(ACTIVE, True)
            bag.decide(2)
            bag.say(ACTIVE, False)
    assert lengths(read_rollouts([tmp_path / "session"])) == [3, 3]


def test_a_rollout_that_goes_on_when_recording_stops_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Session(tmp_path / "session") as bag:
        bag.say(ACTIVE, True)
        bag.decide(2)
        bag.say(ACTIVE, False)
        bag.say(ACTIVE, True)
        bag.decide(1)
    assert lengths(read_rollouts([tmp_path / "session"])) == [2, 1]
    assert "may be incomplete" in caplog.text


def test_a_marked_rollout_without_decisions_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Session(tmp_path / "session") as bag:
        for decisions in (2, 0, 3):
            bag.say(ACTIVE, True)
            bag.decide(decisions)
            bag.say(ACTIVE, False)
    assert lengths(read_rollouts([tmp_path / "session"])) == [2, 3]
    assert "left out 1 of 3 rollouts without a decision of the policy" in caplog.text


def test_markers_can_be_ignored(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        bag.decide(1)
        bag.say(ACTIVE, True)
        bag.decide(2)
        bag.say(ACTIVE, False)
    assert lengths(read_rollouts([tmp_path / "session"], boundaries="bag")) == [3]
    assert lengths(read_rollouts([tmp_path / "session"], boundaries="markers")) == [2]


def test_outcomes_end_rollouts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Session(tmp_path / "session") as bag:
        for decisions, outcome in ((3, True), (4, False)):
            bag.decide(decisions)
            bag.say(SUCCESS, outcome)
        bag.decide(2)
    rollouts = read_rollouts([tmp_path / "session"], boundaries="outcomes")
    assert (lengths(rollouts), outcomes(rollouts)) == ([3, 4], [True, False])
    assert "left out the decisions after the last outcome" in caplog.text


def test_an_outcome_that_follows_another_corrects_it(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        for first, corrected in ((True, False), (False, True)):
            bag.decide(2)
            bag.say(SUCCESS, first)
            bag.say(SUCCESS, corrected)
    rollouts = read_rollouts([tmp_path / "session"], boundaries="outcomes")
    assert (lengths(rollouts), outcomes(rollouts)) == ([2, 2], [False, True])


def test_several_outcomes_without_markers_need_a_word(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        for _ in range(3):
            bag.decide(2)
            bag.say(SUCCESS, True)
    with pytest.raises(SourceError, match=r"has 3 outcomes .*'--boundaries outcomes'"):
        read_rollouts([tmp_path / "session"])
    assert lengths(read_rollouts([tmp_path / "session"], boundaries="bag")) == [6]


def test_outcomes_are_asked_for_where_there_are_none(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        bag.decide(2)
    with pytest.raises(SourceError, match=f"no topic {SUCCESS}, only /policy/action_chunks"):
        read_rollouts([tmp_path / "session"], boundaries="outcomes")
    with pytest.raises(SourceError, match=f"no topic {ACTIVE}"):
        read_rollouts([tmp_path / "session"], boundaries="markers")
    with Session(tmp_path / "early") as bag:
        bag.say(SUCCESS, True)
        bag.decide(2)
    with pytest.raises(SourceError, match="no rollout ended"):
        read_rollouts([tmp_path / "early"], boundaries="outcomes")


def test_pauses_end_rollouts_and_each_has_its_outcome(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        for decisions, outcome in ((3, True), (2, None), (4, False)):
            bag.decide(decisions)
            if outcome is not None:
                bag.say(SUCCESS, outcome)
            bag.now += 2 * SECOND
    rollouts = read_rollouts([tmp_path / "session"], boundaries="pauses", pause=1.0)
    assert (lengths(rollouts), outcomes(rollouts)) == ([3, 2, 4], [True, None, False])
    with pytest.raises(SourceError, match="2 outcomes"):
        read_rollouts([tmp_path / "session"])


def test_a_long_pause_in_what_passes_for_one_rollout_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Session(tmp_path / "session") as bag:
        bag.decide(3)
        bag.now += 60 * SECOND
        bag.decide(3)
    assert lengths(read_rollouts([tmp_path / "session"])) == [6]
    assert "although it pauses for 60.1 s" in caplog.text


def test_group_and_task_are_those_that_were_last_said(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        bag.say(TASK, "pick")
        for group in ("none", "camera"):
            bag.say(GROUP, group)
            bag.say(ACTIVE, True)
            bag.decide(2)
            bag.say(ACTIVE, False)
        bag.say(TASK, "place")
        bag.say(ACTIVE, True)
        bag.decide(1)
        bag.say(ACTIVE, False)
    rollouts = read_rollouts([tmp_path / "session"]).rollouts
    assert [rollout.group for rollout in rollouts] == ["none", "camera", "camera"]
    assert [rollout.task for rollout in rollouts] == ["pick", "pick", "place"]


def test_a_group_that_is_said_after_its_rollout_is_its_own(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        bag.decide(2)
        bag.say(GROUP, "light")
    assert read_rollouts([tmp_path / "session"]).rollouts[0].group == "light"


@pytest.mark.parametrize(("said", "is_told"), [("false", True), ("true", False)])
def test_a_bag_that_begins_later_than_its_rollout_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, said: str, is_told: bool
) -> None:
    metadata = write_bag(tmp_path / "bag") / "metadata.yaml"
    custom = f"custom_data: {{incident.begins_with_rollout: '{said}'}}"
    metadata.write_text(metadata.read_text().replace("custom_data: null", custom))
    read_rollouts([tmp_path / "bag"])
    assert ("which is therefore incomplete" in caplog.text) is is_told


@pytest.mark.parametrize(("name", "success"), [("pick_s_01", True), ("pick_f_01", False)])
def test_the_name_of_a_bag_tells_its_outcome(tmp_path: Path, name: str, success: bool) -> None:
    write_bag(tmp_path / name, success=None)
    assert outcomes(read_rollouts([tmp_path / name])) == [success]


def test_a_name_that_contradicts_the_topic_is_refused(tmp_path: Path) -> None:
    write_bag(tmp_path / "pick_s_01", success=False)
    with pytest.raises(
        SourceError, match=r"by its name the rollout succeeded, by its topic it failed"
    ):
        read_rollouts([tmp_path / "pick_s_01"])


def test_the_name_of_a_bag_says_nothing_of_several_rollouts(tmp_path: Path) -> None:
    with Session(tmp_path / "day_f_1") as bag:
        for _ in range(2):
            bag.say(ACTIVE, True)
            bag.decide(2)
            bag.say(ACTIVE, False)
    assert outcomes(read_rollouts([tmp_path / "day_f_1"])) == [None, None]


def test_topics_of_boundaries_can_have_other_names(tmp_path: Path) -> None:
    with Session(tmp_path / "session") as bag:
        for task in ("pick", "place"):
            bag.say("/run", True)
            bag.say("/job", task)
            bag.decide(2)
            bag.say("/run", False)
    rollouts = read_rollouts([tmp_path / "session"], Topics(active="/run", task="/job")).rollouts
    assert [rollout.task for rollout in rollouts] == ["pick", "place"]


def test_decisions_outside_of_all_rollouts_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Session(tmp_path / "session") as bag:
        bag.decide(3)
        bag.say(ACTIVE, True)
        bag.decide(2)
        bag.say(ACTIVE, False)
    with caplog.at_level(logging.INFO):
        rollouts = read_rollouts([tmp_path / "session"])
    assert "left out 3 of 5 decisions" in caplog.text
    assert rollouts.receptions[rollouts.rollouts[0].sha256].left_out == 3


times = st.lists(st.integers(0, 1000), min_size=1, max_size=30, unique=True).map(sorted)


@given(outcomes=times, decisions=times)
def test_outcomes_put_every_decision_into_one_span(
    outcomes: list[int], decisions: list[int]
) -> None:
    spans = spans_of_outcomes(outcomes, decisions)
    for decision in decisions:
        assert sum(span.begin <= decision <= span.end for span in spans) == 1
    for span in spans[:-1]:
        assert any(span.begin <= outcome <= span.end for outcome in outcomes)
    assert spans[-1].ended == (outcomes[-1] >= decisions[-1])


@given(decisions=times, pause=st.integers(1, 300))
def test_no_span_pauses_and_between_two_there_is_a_pause(decisions: list[int], pause: int) -> None:
    spans = spans_of_pauses(decisions, decisions, pause)
    parts = [[d for d in decisions if span.begin <= d <= span.end] for span in spans]
    assert [decision for part in parts for decision in part] == decisions
    for part in parts:
        assert all(b - a <= pause for a, b in pairwise(part))
    for one, other in pairwise(parts):
        assert other[0] - one[-1] > pause


@given(st.lists(st.booleans(), max_size=30))
def test_marked_spans_are_apart_and_as_many_as_times_it_turned_true(running: list[bool]) -> None:
    spans = spans_of_markers(list(enumerate(running)))
    turned = sum(
        now and not before for before, now in zip([False, *running], running, strict=False)
    )
    assert len(spans) == turned
    assert all(one.end < other.begin for one, other in pairwise(spans))
