# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`calibrate-judge`: the numbers of labelled rollouts from tables, logs, archives and bags."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import ACTIVE, BEGIN, LABEL, PERIOD, BagBuilder, decision_arrays
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.calibration.judge_numbers import calibrate_judge
from failure_monitor.judges.judge_file import load_judge
from failure_monitor.rollout_log.log_file import append
from failure_monitor.rollout_log.record import RolloutRecord
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet

NUMBER = "/judges/reward/number"
SECOND = 10**9
EACH = 12
SUCCESSES = tuple(0.5 + 0.01 * number for number in range(EACH))
FAILURES = tuple(0.01 * number for number in range(EACH))


def table(path: Path, rows: str = "", head: str = "rollout,value,outcome") -> Path:
    lines = [f"good {value},{value},success" for value in SUCCESSES]
    lines += [f"bad {value},{value},failure" for value in FAILURES]
    path.write_text("\n".join([head, *lines, rows]))
    return path


def judged_bag(path: Path, values: list[float], labels: list[bool]) -> Path:
    """Write a bag of several rollouts, each judged and labelled after its end."""
    embeddings, chunks = decision_arrays(3)
    at = BEGIN
    with BagBuilder(path) as bag:
        for value, label in zip(values, labels, strict=True):
            bag.flag(ACTIVE, True, at - 1)
            for index in range(3):
                bag.embedding(embeddings[index], at + index * PERIOD)
                bag.chunks(chunks[index], at + index * PERIOD)
            # A judge of finished rollouts has said nothing yet: this is of none.
            bag.number(NUMBER, 77.0, at + 2 * PERIOD)
            bag.flag(ACTIVE, False, at + 3 * PERIOD)
            bag.number(NUMBER, float("nan"), at + 4 * PERIOD)
            bag.number(NUMBER, value, at + 5 * PERIOD)
            bag.number(NUMBER, 88.0, at + 6 * PERIOD)
            bag.flag(LABEL, label, at + 7 * PERIOD)
            at += SECOND
    return path


def test_a_table_calibrates_a_judge(tmp_path):
    path, file = table(tmp_path / "numbers.csv", "late,,success"), tmp_path / "reward.json"
    result = run_here("calibrate-judge", path, "--name", "reward", "--output", file)
    assert result.exit_code == 0, result.stderr
    judge = load_judge(file)
    assert (judge.name, judge.successes, judge.failures) == ("reward", SUCCESSES, FAILURES)
    assert "at most 0.0769 of those like the 12 labelled ones" in result.stdout
    assert "1 rollout without a number of this judge" in result.stdout
    assert "12 accepted, 0 doubtful, 0 ask a human" in result.stdout


def test_the_numbers_of_a_bag_are_those_that_a_monitor_would_take(tmp_path):
    bag = judged_bag(tmp_path / "bag", [*SUCCESSES, *FAILURES], [True] * EACH + [False] * EACH)
    calibration = calibrate_judge("reward", [bag])
    assert calibration.judge.successes == SUCCESSES
    assert calibration.judge.failures == FAILURES
    assert {each.by for each in calibration.rollouts} == {"operator"}
    result = run_here(
        "archive", bag, "--output", tmp_path / "all.npz", "--judge-topic", NUMBER[1:]
    )
    assert result.exit_code == 0, result.stderr
    archived = calibrate_judge("reward", [tmp_path / "all.npz"])
    assert archived.judge == calibration.judge


def test_the_last_values_of_an_external_score_are_those_of_an_archive(tmp_path):
    rollouts = [
        replace(
            synthetic_rollout(seed),
            name=f"rollout_{seed:02d}",
            success=seed < EACH,
            external={"reward": np.linspace(-5.0, (*SUCCESSES, *FAILURES)[seed], 12)},
        )
        for seed in range(2 * EACH)
    ]
    write_archive(tmp_path / "rollouts.npz", RolloutSet(POLICY, tuple(rollouts)))
    judge = calibrate_judge("reward", [tmp_path / "rollouts.npz"]).judge
    assert (judge.successes, judge.failures) == (SUCCESSES, FAILURES)


def test_a_rollout_log_calibrates_by_what_operators_said_else_by_claims(tmp_path, caplog):
    log = tmp_path / "failure_monitor.0123456789ab.rollouts.jsonl"
    blank = RolloutRecord(
        rollout="", robot="", monitor="/m", bundle="0", alpha=0.1, started=0, ended=1, decisions=9
    )
    for number, value in enumerate((*SUCCESSES, *FAILURES)):
        word = "success" if number < EACH else "failure"
        said = {"label": word} if number % 2 else {"claim": word}
        append(log, replace(blank, rollout=f"r-{number}", judges={"reward": value}, **said))
    append(log, replace(blank, rollout="r-90", judges={"reward": 0.3}))
    append(log, replace(blank, rollout="r-91", judges={"reward": 0.3}, intervention=True))
    append(log, replace(blank, rollout="r-92", judges={"other": 0.3}, claim="success"))
    log.write_bytes(log.read_bytes() + b"half a line\n")
    calibration = calibrate_judge("reward", [log])
    assert (calibration.judge.successes, calibration.judge.failures) == (SUCCESSES, FAILURES)
    assert calibration.claims == EACH // 2
    assert sum(calibration.left_out.values()) == 3
    assert "damaged lines left out: 28" in caplog.text
    result = run_here(
        "calibrate-judge", log, "--name", "reward", "--output", tmp_path / "judge.json"
    )
    assert "6 of the successes are claims that nobody has confirmed" in result.stdout


def test_a_judge_that_tells_nothing_is_said_to(tmp_path):
    lines = [f"{kind}{number},1,{kind}" for kind in ("success", "failure") for number in range(12)]
    (tmp_path / "same.csv").write_text("\n".join(["rollout,value,outcome", *lines]))
    result = run_here(
        "calibrate-judge",
        tmp_path / "same.csv",
        "--name",
        "reward",
        "--output",
        tmp_path / "judge.json",
    )
    assert result.exit_code == 0
    assert "no labelled success is accepted" in result.stdout


@pytest.mark.parametrize(
    ("rows", "head", "sentence"),
    [
        ("x,much,success", "rollout,value,outcome", "line 26: the value is 'much'"),
        ("x,1,perhaps", "rollout,value,outcome", "line 26: the outcome is 'perhaps'"),
        ("x,1", "rollout,value,outcome", "line 26: there are more or fewer fields"),
        (",1,success", "rollout,value,outcome", "line 26: the rollout has no name"),
        ("", "rollout,number,outcome", "has the columns rollout, number, outcome, expected"),
        ("good 0.5,1,success", "rollout,value,outcome", "good 0.5 are named twice"),
    ],
)
def test_a_bad_table_is_refused_by_its_line(tmp_path, rows, head, sentence):
    path = table(tmp_path / "numbers.csv", rows, head)
    result = run_here(
        "calibrate-judge", path, "--name", "reward", "--output", tmp_path / "judge.json"
    )
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert not (tmp_path / "judge.json").exists()


def test_tables_and_logs_are_files_of_this_machine(tmp_path):
    def calibrate(source):
        return run_here(
            "calibrate-judge", source, "--name", "reward", "--output", tmp_path / "judge.json"
        )

    path = table(tmp_path / "numbers.csv")
    assert calibrate(f"file://{path}").exit_code == 0
    for address in ("s3://robots/numbers.csv", "s3://robots/monitor.rollouts.jsonl"):
        assert f"{address} is an address" in calibrate(address).stderr
    os.mkfifo(tmp_path / "pipe.csv")
    assert "pipe.csv cannot be read: it is no file" in calibrate(tmp_path / "pipe.csv").stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--name", "a/b"), "'a/b' cannot name a judge"),
        (("--name", "reward", "--accepted-failures", "0.05"), "label 7 more failures"),
        (("--name", "reward", "--better", "faster"), "there is no better 'faster'"),
        (("--name", "reward", "--labels", "labels.csv"), "'--labels' is for recordings"),
    ],
)
def test_what_has_no_meaning_is_refused(tmp_path, options, sentence):
    path = table(tmp_path / "numbers.csv")
    result = run_here("calibrate-judge", path, "--output", tmp_path / "judge.json", *options)
    assert result.exit_code != 0
    assert sentence in " ".join(result.stderr.split())


def test_recordings_without_a_number_name_the_topic(tmp_path):
    bag = judged_bag(tmp_path / "bag", [1.0], [True])
    result = run_here("calibrate-judge", bag, "--name", "vlm", "--output", tmp_path / "judge.json")
    assert "none of 1 rollouts has a number of the judge 'vlm'" in result.stderr
    assert "'/judges/vlm/number'" in result.stderr
