# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`fleet` shows many robots, the one to look at first on top, whatever lies in their folders."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from testbed.command_line import run_here
from testbed.fleet_folders import BEGIN, BUNDLE, RECORD, rollouts, write_incident, write_log
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle import folder as bundles
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.promise.reference import references
from failure_monitor.promise.state_file import PromiseFile, StoredPromise, StoredRollout

HOSTILE = "\x1b[31m<script>alert(1)</script>\u202e"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "bundle"
    settings = CalibrationSettings(scores=("ace", "knn"), rule="mean", folds=5, jobs=1)
    bundles.save(
        calibrate([synthetic_rollout(seed) for seed in range(20)], POLICY, settings), path
    )
    return path


def fleet_json(tmp_path: Path, *sources: object, html: bool = False) -> dict:
    found, page = tmp_path / "fleet.json", tmp_path / "fleet.html"
    options = ["--html", page] if html else []
    result = run_here("fleet", *sources, "--json", found, "--jobs", 1, *options)
    assert result.exit_code == 0, result.output
    return {**json.loads(found.read_text()), "output": result.stdout}


def robots_of(found: dict) -> dict[str, dict]:
    return {robot["name"]: robot for robot in found["robots"]}


def test_twenty_robots_fit_on_a_screen_and_the_one_that_differs_is_on_top(tmp_path):
    top = tmp_path / "robots"
    for number in range(20):
        rate = 0.4 if number == 7 else 0.1
        write_log(top / f"arm-{number:02d}", rollouts(100, alarm_rate=rate, seed=number))
    incidents = top / "arm-07" / "incidents"
    write_incident(incidents, "incident_0003_20251125T100000Z", cause="ALARM", reason="it <stuck>")
    found = fleet_json(tmp_path, top, html=True)
    lines = found["output"].splitlines()
    assert len(lines) < 40
    assert lines[2].startswith("arm-07")
    assert "more alarms" in lines[2]
    assert "incident_0003_20251125T100000Z" in found["output"]
    worst, *others = found["robots"]
    assert worst["name"] == "arm-07"
    assert worst["compared"]["is_unlike"]
    assert worst["compared"]["e_value"] > 200
    assert worst["concerns"][0].startswith("unlike the others: more alarms")
    assert not any(other["compared"]["is_unlike"] for other in others)
    low, high = worst["false_alarms"]["interval_95"]
    assert low < worst["false_alarms"]["alarms"] / 100 < high
    assert sum(shift["rollouts"] for shift in found["shifts"]) == 2000
    assert found["incidents"]["arm-07"][0]["reason"] == "it <stuck>"
    page = (tmp_path / "fleet.html").read_text()
    assert "it &lt;stuck&gt;" in page
    assert "<svg" in page
    # A page of ours is replaced, another one is not.
    assert run_here("fleet", top, "--html", tmp_path / "fleet.html").exit_code == 0
    (tmp_path / "other.html").write_text("<p>mine</p>")
    result = run_here("fleet", top, "--html", tmp_path / "other.html")
    assert result.exit_code == 1
    assert (tmp_path / "other.html").read_text() == "<p>mine</p>"


def test_promises_are_those_of_the_bundles_at_hand(made, tmp_path):
    sha256 = bundles.content_hash(made)
    known = references(bundles.load_description(made), sha256)[0]
    top = tmp_path / "robots"
    for name, below in (("good", range(known.rank)), ("drifted", [known.rank - 1] * 30)):
        log = write_log(top / name, rollouts(30, like=replace(RECORD, bundle=sha256)))
        empty = StoredPromise(monitor=RECORD.monitor, bundle=sha256, series=known.series)
        cells = [(number,) * len(known.series) for number in below]
        stored = replace(
            empty, rollouts=tuple(StoredRollout(task="", cells=each) for each in cells)
        )
        PromiseFile(log.with_name("failure_monitor.promise.json"), empty).write(stored)
    without = robots_of(fleet_json(tmp_path, top))
    assert {robot["promise"] for robot in without.values()} == {None}
    assert "bundle is not among the sources" in without["good"]["promise_unknown"]
    (top / "bundles").mkdir()
    (top / "bundles" / "now").symlink_to(made)
    found = fleet_json(tmp_path, top)
    assert [robot["name"] for robot in found["robots"]] == ["drifted", "good"]
    drifted, good = found["robots"]
    assert drifted["promise"]["word"] == "broken"
    assert drifted["concerns"][0].startswith("promise broken since rollout")
    assert good["promise"]["word"] == "holds"
    assert good["false_alarms"]["likely"] > good["false_alarms"]["promised"]
    assert {event["event"] for event in good["compared"]["events"]} == {
        "more alarms",
        "higher scores",
        "lower scores",
    }


def test_outcomes_are_the_best_that_is_known_and_stops_need_a_word(tmp_path):
    kinds = [
        {"check": "confirmed"},
        {"check": "doubtful", "label": "failure"},
        {"label": "failure", "judge_words": {"vlm": "doubtful", "reward": "accepted"}},
        {"alarm": 1.0, "stopped": True},
        {"alarm": 1.0, "stopped": True, "claim": None},
        {"claim": "failure"},
        {"claim": "failure", "label": "success", "alarm": 2.0, "score": "ace"},
        {"intervention": True, "alarm": 1.0},
        {"decisions": 0},
    ]
    records = [replace(RECORD, **{"rollout": str(at), **kind}) for at, kind in enumerate(kinds)]
    [robot] = fleet_json(tmp_path, f"one={write_log(tmp_path / 'x', records).parent}")["robots"]
    assert robot["name"] == "one"
    assert robot["outcomes"] == {
        "claimed": 6,
        "confirmed": 1,
        "doubtful": 1,
        "doubted_by_judges": 1,
        "labelled_false": 2,
        "failed": 3,
        "unknown": 1,
    }
    alarms = robot["false_alarms"]
    assert (alarms["alarms"], alarms["successes"], alarms["unknown"]) == (2, 3, 1)
    assert (robot["rollouts"], robot["alarms"], robot["stops"]) == (9, 4, 2)
    assert robot["interventions"] == 1
    assert robot["scores"] == {"phase_knn": 3, "ace": 1}
    assert robot["compared"] is None
    assert "2 of 6 claimed successes were failures" in robot["concerns"][0]


def test_damaged_files_are_named_and_cost_themselves_alone(tmp_path):
    top = tmp_path / "robots"
    for name in ("whole", "cut", "foreign", "strange"):
        write_log(top / name, rollouts(30, seed=len(name)))
    cut = next((top / "cut").iterdir())
    cut.write_bytes(cut.read_bytes()[:-30])
    foreign = next((top / "foreign").iterdir()).rename(top / "foreign" / "x.rollouts.jsonl")
    foreign.write_text("GIF89a\n" * 1000)
    os.mkfifo(top / "strange" / "pipe.rollouts.jsonl")
    (top / "strange" / "x.promise.json").write_text("[" * 100_000)
    (top / "strange" / "newer.rollouts.jsonl").write_text('{"version": 99}\n')
    impossible = replace(RECORD, monitor="/impossible", alpha=7.0)
    write_log(top / "strange", [impossible])
    (top / "strange" / "bundle").mkdir()
    (top / "strange" / "bundle" / "bundle.yaml").write_text("schema_version: no")
    (top / "strange" / "waiting").mkdir()
    os.mkfifo(top / "strange" / "waiting" / "bundle.yaml")
    (top / "strange" / "incident_0001_20251125T100000Z").mkdir()
    (top / "strange" / "incident_0002_99999999T999999Z").mkdir()
    found = fleet_json(tmp_path, top, html=True)
    unread = {Path(each["place"]).name: each["reason"] for each in found["unread"]}
    assert set(robots_of(found)) == {"whole", "cut", "strange"}
    assert robots_of(found)["cut"]["rollouts"] == 29
    assert "damaged lines left out: 30" in unread[cut.name]
    assert "no rollout log" in unread[foreign.name]
    assert "is no file" in unread["pipe.rollouts.jsonl"]
    assert "holds no rollouts of" in unread["x.promise.json"]
    assert "newer failure_monitor" in unread["newer.rollouts.jsonl"]
    assert "no rate between 0 and 1" in unread[f"impossible.{BUNDLE[:12]}.rollouts.jsonl"]
    assert "bundle" in unread
    assert "is no file" in unread["waiting"]
    assert "metadata.yaml is missing" in unread["incident_0001_20251125T100000Z"]
    assert len(unread) == 10
    assert "not read:" in found["output"]
    assert "and 4 more not read" in found["output"]


def test_names_are_text_in_a_terminal_and_on_the_page(tmp_path):
    top = tmp_path / "robots"
    hostile = replace(
        RECORD, robot=HOSTILE, monitor=f"/{HOSTILE.replace('/', '')}", score=HOSTILE, alarm=1.0
    )
    for name in ("a", "b"):
        folder = top / f"{name}{HOSTILE.replace('/', '')}"
        log = write_log(folder, rollouts(30, like=RECORD, seed=ord(name)))
        log.write_text("")
        log.with_name("x.rollouts.jsonl").write_bytes(
            write_log(tmp_path / "made", [hostile]).read_bytes()
        )
    write_incident(
        top / f"a{HOSTILE.replace('/', '')}", "incident_0001_20251125T100000Z", reason=HOSTILE
    )
    (top / os.fsdecode(b"\xff\xfe")).mkdir()
    write_log(top / os.fsdecode(b"\xff\xfe"), rollouts(30))
    result = run_here("fleet", top, "--html", tmp_path / "f.html", "--json", tmp_path / "f.json")
    assert result.exit_code == 0, result.output
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", result.output)
    page = (tmp_path / "f.html").read_text()
    assert "<script" not in page
    assert "\u202e" not in page
    assert len(json.loads((tmp_path / "f.json").read_text())["robots"]) == 3


def test_clocks_that_jump_cost_a_shift_and_no_count(tmp_path):
    records = rollouts(20)
    records[3] = replace(records[3], started=5.0, ended=25.0)
    records[4] = replace(records[4], started=1e300, ended=1e300)
    records[5] = replace(records[5], ended=BEGIN - 3600)
    arm = write_log(tmp_path / "arm", records).parent
    for year in ("0001", "9999"):
        write_incident(arm, f"incident_0001_{year}0101T000000Z", reason="set back")
    [robot] = fleet_json(tmp_path, arm, html=True)["robots"]
    assert robot["name"] == "arm"
    assert robot["rollouts"] == 20
    assert (robot["undated"], robot["set_back"]) == (2, 1)
    assert sum(shift["rollouts"] for shift in robot["shifts"]) == 18


def test_several_monitors_bundles_copies_and_links_in_a_circle(tmp_path):
    top = tmp_path / "robots"
    left, right = (
        replace(RECORD, monitor=f"/{side}/failure_monitor") for side in ("left", "right")
    )
    write_log(top / "two_arms", rollouts(30, like=left, seed=1))
    write_log(top / "two_arms", rollouts(30, like=right, seed=2))
    old = rollouts(30, like=replace(RECORD, bundle="cd" * 32), seed=3)
    write_log(top / "renewed", [replace(each, started=each.started - 1e6) for each in old])
    write_log(top / "renewed", rollouts(30, seed=4))
    write_log(top / "copy", rollouts(30, seed=4))
    (top / "copy" / "again").symlink_to(top)
    found = fleet_json(tmp_path, top, html=True)
    names = sorted(robot["name"] for robot in found["robots"])
    assert names == [
        "copy",
        "renewed",
        "renewed",
        "two_arms /left/failure_monitor",
        "two_arms /right/failure_monitor",
    ]
    present = {robot["bundle"]: robot for robot in found["robots"] if robot["name"] == "renewed"}
    assert present[BUNDLE]["is_present_bundle"]
    assert not present["cd" * 32]["is_present_bundle"]
    assert present["cd" * 32]["compared"] is None
    assert found["output"].count("renewed ") == 1
    [remark] = found["unread"]
    assert "one is a copy of the other" in remark["reason"]


def test_robots_of_one_name_below_two_sources_are_said_to_count_as_one(tmp_path):
    for site in ("north", "south"):
        write_log(tmp_path / site / "arm-01", rollouts(20, seed=len(site) + ord(site[0])))
    write_incident(tmp_path / "bags" / "arm-01", "incident_0001_20251125T100000Z", reason="x")
    sources = [tmp_path / name for name in ("north", "bags", "south")]
    found = fleet_json(tmp_path, *sources)
    [robot] = found["robots"]
    assert robot["rollouts"] == 40
    [remark] = found["unread"]
    assert remark["place"] == str(tmp_path / "south" / "arm-01")
    assert f"has the name of '{tmp_path / 'north' / 'arm-01'}'" in remark["reason"]
    apart = fleet_json(tmp_path, f"other={sources[0]}", *sources[1:])
    assert set(robots_of(apart)) == {"other", "arm-01"}
    assert not apart["unread"]
    both = [f"same={tmp_path / name / 'arm-01'}" for name in ("north", "south")]
    [remark] = fleet_json(tmp_path, *both)["unread"]
    assert remark["place"] == str(tmp_path / "south" / "arm-01")


def test_a_folder_of_two_robots_is_said_and_counts_once(tmp_path):
    top = tmp_path / "robots"
    write_log(top / "a", rollouts(5))
    (top / "b").symlink_to("a")
    (tmp_path / "link").symlink_to(top / "a")
    [remark] = fleet_json(tmp_path, top)["unread"]
    assert (remark["place"], remark["robot"]) == (str(top / "b"), "b")
    assert f"the folder of the robot 'a', '{top / 'a'}'" in remark["reason"]
    for other in (top / "a", tmp_path / "link"):
        result = run_here("fleet", f"one={top / 'a'}", f"two={other}")
        assert result.exit_code == 2
        assert f"'two={other}' is the folder of the robot 'one'" in result.stderr
    # A name that is given counts, in any order.
    renamed = fleet_json(tmp_path, top, f"one={top / 'a'}")
    assert set(robots_of(renamed)) == {"one"}
    assert not renamed["unread"]


def test_a_folder_of_many_levels_is_looked_into(tmp_path):
    top, log = tmp_path / "robots", write_log(tmp_path, rollouts(5))
    deep = Path(top, *["d"] * 1200)
    # Python's own tools call themselves for each level, too.
    subprocess.run(["mkdir", "-p", deep], check=True)
    try:
        log.rename(deep / log.name)
        [robot] = fleet_json(tmp_path, top)["robots"]
        assert (robot["name"], robot["rollouts"]) == ("d", 5)
    finally:
        subprocess.run(["rm", "-r", top], check=True)


@pytest.mark.parametrize(
    ("source", "code", "sentence"),
    [
        ("s3://robots/logs", 2, "'s3://robots/logs' is an address"),
        ("empty", 2, "no robot has left a rollout log"),
        ("nowhere", 2, "is not there"),
        ("file", 2, "is no folder"),
        ("=empty", 2, "write ROBOT=PATH"),
    ],
)
def test_sources_without_a_robot_are_rejected(tmp_path, monkeypatch, source, code, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    result = run_here("fleet", source)
    assert result.exit_code == code
    assert sentence in re.sub(r"\s+", " ", result.output)
