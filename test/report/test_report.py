# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The report: what stands on the page for whatever was evaluated, and how it comes to disk."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from testbed.report_pages import ORIGIN, calibration_page, evaluated_page, failed_rollout
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.atomic_file import UnwritableError
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import Rollout
from failure_monitor.evaluation.metrics import RolloutResult
from failure_monitor.report.page import ReportError, reject_other_content, render, write
from failure_monitor.report.promise_figure import MeasuredRate
from failure_monitor.report.selection import FRAMES, shown_decisions

VOID = {"meta", "link", "img", "br"}


class Parsed(HTMLParser):
    """The elements of a page, and the text of each heading; refuses what is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.elements if "id" in attributes]

    def figures(self) -> set[str]:
        return {name.removeprefix("figure-") for name in self.ids() if name.startswith("figure-")}

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def parsed(bundle: Bundle, rollouts: Sequence[Rollout]) -> Parsed:
    return Parsed(render(evaluated_page(bundle, rollouts)))


@pytest.fixture(scope="module")
def two_task_bundle() -> Bundle:
    rollouts = [
        replace(synthetic_rollout(seed), task=("press $x$", "pull <b>")[seed % 2])
        for seed in range(24)
    ]
    settings = CalibrationSettings(scores=("rnd_oe", "ace"), rule="any", folds=3, jobs=1)
    return calibrate(rollouts, POLICY, settings)


@pytest.fixture(scope="module")
def undefined_score_bundle() -> Bundle:
    """One of its scores needs two decisions."""
    policy = replace(POLICY, executed_actions=2)
    settings = CalibrationSettings(scores=("stac_single", "ace"), rule="any", folds=3, jobs=1)
    return calibrate([synthetic_rollout(seed) for seed in range(12)], policy, settings)


def successes(count: int) -> list[Rollout]:
    return [replace(synthetic_rollout(seed), group="id") for seed in range(20, 20 + count)]


def failures(count: int) -> list[Rollout]:
    return [failed_rollout(seed) for seed in range(60, 60 + count)]


def test_a_page_has_every_section_and_figure(bundle) -> None:
    rollouts = [*successes(6), *failures(3)]
    page = Parsed(render(evaluated_page(bundle, rollouts, with_audit=True)))
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == [
        *("promise", "watched_promise", "detection", "tables", "dial", "scores", "thresholds"),
        *("lengths", "timelines", "rollouts", "audit", "reproduce"),
    ]
    assert page.figures() >= {
        *("promise", "promise_course", "early_roc", "roc", "detection_times", "dial", "levels"),
        *("score_0", "score_1", "lengths"),
    }
    assert sum(name.startswith("timeline_") for name in page.figures()) >= 3


def test_it_says_whether_the_promise_still_holds(bundle) -> None:
    drifted = [replace(each, embeddings=each.embeddings + 0.5) for each in successes(30)]
    disturbed = [replace(each, group="lamp") for each in drifted]
    assert "broken since rollout" in parsed(bundle, drifted).words()
    assert "promise_course" not in parsed(bundle, disturbed).figures()


def test_the_headline_says_what_was_promised_and_what_was_measured(bundle) -> None:
    page = parsed(bundle, [*successes(6), *failures(3)])
    assert "At most 10 % of successful rollouts were to raise an alarm; 0 of 6" in page.words()
    assert "Of 3 rollouts that failed, 3 raised an alarm" in page.words()


def test_more_false_alarms_than_chance_explains_are_called_so(bundle) -> None:
    alarming = [replace(failed_rollout(seed), success=True) for seed in range(60, 66)]
    words = parsed(bundle, [*alarming, *failures(1)]).words()
    assert "6 of 6 undisturbed ones did (100 %): more than chance explains" in words
    (promise,) = bundle.description.promises
    assert MeasuredRate(6, 6).interval[0] > promise.false_alarm_interval_90[1]


def test_a_rate_above_the_promise_within_chance_is_called_so(bundle) -> None:
    rollouts = [replace(failed_rollout(60), success=True), *successes(5)]
    assert (
        "more than promised, and no more than chance explains" in parsed(bundle, rollouts).words()
    )


@pytest.mark.parametrize(
    ("evaluated", "sentence"),
    [
        (successes(6), "None of these rollouts failed"),
        (failures(3), "no undisturbed rollout here succeeded"),
        (successes(1), "0 of 1 undisturbed ones did"),
        (failures(1), "Of 1 rollout that failed, 1 raised an alarm"),
    ],
    ids=["no failures", "no successes", "one success", "one failure"],
)
def test_what_cannot_be_told_is_said(bundle, evaluated, sentence) -> None:
    page = parsed(bundle, evaluated)
    assert sentence in page.words()
    assert not {"roc", "early_roc"} & page.figures()
    assert "There is no ROC curve" in page.words()
    assert {"detection_times", "levels", "lengths"} <= page.figures()


def test_time_varying_thresholds_are_drawn_over_a_rollout(time_varying_bundle) -> None:
    page = parsed(time_varying_bundle, [*successes(2), *failures(2)])
    assert {"course_0", "course_1"} <= page.figures()


def test_every_task_has_a_row_of_the_promise_and_a_threshold(two_task_bundle) -> None:
    rollouts = [
        replace(rollout, task=("press $x$", "pull <b>")[number % 2])
        for number, rollout in enumerate([*successes(4), *failures(2)])
    ]
    page = parsed(two_task_bundle, rollouts)
    # In the figure as well, where `$` must make no formula.
    assert page.words().count("press $x$") > 2
    assert "pull <b>" in page.words()


def test_rollouts_are_compared_with_calibration_rollouts_of_their_own_task(
    two_task_bundle,
) -> None:
    rollouts = [replace(rollout, task="pull <b>") for rollout in successes(2)]
    assert "calibration, held out (12)" in parsed(two_task_bundle, rollouts).words()
    assert len(two_task_bundle.calibration) == 24


def test_scores_that_are_nowhere_defined_leave_gaps(undefined_score_bundle) -> None:
    single = [replace(rollout, **_first_decision(rollout)) for rollout in successes(2)]
    page = parsed(undefined_score_bundle, single)
    assert {"levels", "score_1", "timeline_0"} <= page.figures()
    # What is drawn of a score is no mark for a rollout that never had one.
    assert page.words().count("succeeded (2)") == len(
        {"levels", "score_1", "lengths", "detection_times"}
    )
    assert "calibration, held out (12)" in page.words()


def _first_decision(rollout: Rollout) -> dict[str, object]:
    return {
        "stamps": rollout.stamps[:1],
        "embeddings": rollout.embeddings[:1],
        "chunks": rollout.chunks[:1],
    }


HOSTILE = "<script>alert('x')</script>&\"<img src=x onerror=alert(1)>"


def test_what_data_say_is_text_wherever_it_stands(bundle) -> None:
    rollouts = [
        replace(rollout, name=f"{HOSTILE}{number}", group=HOSTILE, source=HOSTILE, task=HOSTILE)
        for number, rollout in enumerate([*successes(3), *failures(2)])
    ]
    page = parsed(bundle, rollouts)
    assert page.all("script") == []
    assert page.all("img") == []
    assert HOSTILE in page.words()


def test_a_name_that_is_no_text_is_written_with_escapes(bundle, tmp_path) -> None:
    rollouts = [replace(rollout, name=f"{rollout.name}\ud800") for rollout in successes(3)]
    for _ in range(2):
        page = write(evaluated_page(bundle, rollouts), tmp_path / "report")
        assert "\\ud800" in page.read_text(encoding="utf-8")


def test_no_element_asks_the_network_for_anything(bundle) -> None:
    page = parsed(bundle, [*successes(3), *failures(2)])
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:")), (tag, address)
    html = render(evaluated_page(bundle, successes(3)))
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []


def test_identifiers_are_unique(bundle) -> None:
    ids = parsed(bundle, [*successes(6), *failures(6)]).ids()
    assert len(ids) == len(set(ids))


def test_the_same_results_give_the_same_page(bundle) -> None:
    rollouts = [*successes(3), *failures(2)]
    assert render(evaluated_page(bundle, rollouts)) == render(evaluated_page(bundle, rollouts))


def test_a_page_of_three_hundred_rollouts_shows_them_all_and_stays_small(bundle) -> None:
    rollouts = [
        *(replace(synthetic_rollout(seed), group="id") for seed in range(100, 250)),
        *(failed_rollout(seed) for seed in range(300, 450)),
    ]
    html = render(evaluated_page(bundle, rollouts))
    page = Parsed(html)
    lines = [a for a in page.all("li") if a.get("class") == "rollout"]
    assert len(lines) == 300
    assert len(html) < 4_000_000
    assert sum(name.startswith("timeline_") for name in page.figures()) <= 22


def test_alarms_of_disturbed_rollouts_that_succeeded_are_no_false_alarms(bundle) -> None:
    alarming = [replace(failed_rollout(seed), success=True, group="light") for seed in (60, 61)]
    page = parsed(bundle, [*alarming, *successes(4)])
    assert "0 of 4 undisturbed ones did" in page.words()
    assert "2 rollouts that succeeded although something disturbed them" in page.words()
    assert "Succeeded, though disturbed, with an alarm (2)" in page.words()
    assert "false alarms (" not in page.words()


def test_frames_of_the_alarm_are_among_those_shown() -> None:
    levels = np.full(50, 0.5)
    levels[17:] = 2.0
    result = RolloutResult("", False, "", levels, np.arange(50.0))
    shown = shown_decisions(result)
    assert 17 in shown
    assert (shown[0], shown[-1], len(shown)) == (0, 49, FRAMES)
    assert shown_decisions(replace(result, levels=levels[:1])) == (0,)


def test_a_calibration_has_its_held_out_scores_and_audit_on_the_page(bundle, rollouts) -> None:
    page = Parsed(render(calibration_page(bundle, rollouts)))
    assert {"promise", "levels", "score_0", "score_1", "lengths"} <= page.figures()
    assert "At most 10 % of successful rollouts will raise an alarm" in page.words()
    assert ORIGIN.bundle_sha256 in page.words()
    assert rollouts[0].sha256 in page.words()


def test_a_calibration_across_tasks_has_a_page_too(bundle, rollouts) -> None:
    named = [replace(each, task=f"task {n % 4}") for n, each in enumerate(rollouts)]
    settings = CalibrationSettings(scores=("ace", "knn"), promise="across-tasks", jobs=1)
    page = Parsed(render(calibration_page(calibrate(named, POLICY, settings), named)))
    assert {"levels", "lengths"} <= page.figures()
    # Four tasks promise one in five.
    assert "At most 20 % of successful rollouts will raise an alarm" in page.words()


# On disk


def test_a_report_is_written_with_its_folders_and_replaces_an_older_one(
    bundle, tmp_path: Path
) -> None:
    page = evaluated_page(bundle, successes(2))
    folder = tmp_path / "reports" / "monday"
    assert write(page, folder) == folder / "index.html"
    (folder / "notes.txt").write_text("mine")
    write(replace(page, title="again"), folder)
    assert "again" in (folder / "index.html").read_text()
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["monday"]


def test_a_page_of_somebody_else_is_refused_and_left(bundle, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>my home page</title>")
    with pytest.raises(ReportError, match="no report of failure-monitor: name another place"):
        write(evaluated_page(bundle, successes(2)), tmp_path)
    assert "my home page" in (tmp_path / "index.html").read_text()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("")
    with pytest.raises(ReportError, match="is a file: name a folder"):
        reject_other_content(tmp_path / "report")


@pytest.mark.parametrize("there", [True, False], ids=["replacing", "new"])
def test_what_fails_while_it_is_written_leaves_what_was_there(
    bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    folder = tmp_path / "report"
    page = evaluated_page(bundle, successes(2))
    if there:
        write(page, folder)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    monkeypatch.setattr(os, "rename", full_disk)
    with pytest.raises(UnwritableError, match="No space left"):
        write(replace(page, title="again"), folder)
    assert folder.exists() is there
    assert [path.name for path in tmp_path.iterdir()] == (["report"] if there else [])
    if there:
        assert "again" not in (folder / "index.html").read_text()
