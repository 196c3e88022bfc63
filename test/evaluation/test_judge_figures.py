# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What an outside judge makes of labelled rollouts that did not calibrate it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.evaluation.evaluate import evaluate, text_tables
from failure_monitor.evaluation.judge_figures import judge_figures, judge_table
from failure_monitor.judges.judge import calibrated_judge
from failure_monitor.judges.judge_file import save_judge
from failure_monitor.report.headline import evaluated
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.judged_rollouts import JudgedRollout
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import SourceError

JUDGE = calibrated_judge(
    "reward", successes=np.linspace(0.5, 1.0, 20), failures=np.linspace(0.0, 0.6, 19)
)
FAILED = {0.1: "doubtful", 0.5: "doubtful", 0.55: "ask a human", 0.7: "accepted"}
SUCCEEDED = {0.51: "doubtful", 0.56: "ask a human", 0.8: "accepted", 0.9: "accepted"}


def judged() -> list[JudgedRollout]:
    rollouts = [JudgedRollout(f"bad {value}", value, False, "labels") for value in FAILED]
    rollouts += [JudgedRollout(f"good {value}", value, True, "operator") for value in SUCCEEDED]
    return [
        *rollouts,
        JudgedRollout("late", None, True),
        JudgedRollout("nobody looked", 0.9, None),
        JudgedRollout("touched", 0.9, True, why_not="in which a human acted"),
    ]


def test_accepted_failures_and_doubted_successes_are_counted_with_intervals():
    figures = judge_figures(JUDGE, judged())
    failures, successes = figures.failures, figures.successes
    assert (failures.accepted, failures.doubtful, failures.asked) == (1, 2, 1)
    assert (successes.accepted, successes.doubtful, successes.asked) == (2, 1, 1)
    for count in (failures, successes):
        assert count.share == 0.25
        # Clopper and Pearson, of 1 in 4.
        assert count.interval == pytest.approx((0.006309, 0.805880), abs=1e-6)
    assert sum(figures.left_out.values()) == 3
    table = judge_table(figures)
    assert table.rows[0] == (
        "failures",
        *("4", "1", "2", "1", "0.25", "0.01–0.81"),
        "≤ 0.1 accepted",
    )
    assert "at most 0.1 of failures like the 19 labelled ones are accepted" in table.caption
    assert "Left out, 1: in which a human acted." in table.caption
    assert "Beware" not in table.caption


def test_a_class_without_rollouts_has_no_share():
    figures = judge_figures(JUDGE, [JudgedRollout("one", 0.9, True, "labels")])
    assert (figures.failures.share, figures.failures.interval) == (None, None)
    assert judge_table(figures).rows[0][-3:-1] == ("–", "–")


def test_the_rollouts_that_calibrated_it_flatter_it():
    own = [JudgedRollout(f"g{value}", value, True) for value in JUDGE.successes]
    own += [JudgedRollout(f"b{value}", value, False) for value in JUDGE.failures]
    assert "these rollouts calibrated the judge" in judge_figures(JUDGE, own).summary
    assert "Beware" not in judge_figures(JUDGE, own[1:]).summary


def test_a_judge_that_said_nothing_is_named():
    with pytest.raises(SourceError, match="none of 1 rollouts has a number of the judge 'reward'"):
        judge_figures(JUDGE, [JudgedRollout("one", None, True)])


def rollouts() -> RolloutSet:
    return RolloutSet(
        POLICY,
        tuple(
            replace(synthetic_rollout(200 + seed), success=success, judged=value)
            for seed, (value, success) in enumerate(
                [*((value, False) for value in FAILED), *((value, True) for value in SUCCEEDED)]
            )
        ),
    )


@pytest.fixture(scope="module")
def bundle():
    settings = CalibrationSettings(scores=("mahalanobis", "ace"), jobs=1)
    return calibrate([synthetic_rollout(seed) for seed in range(20)], POLICY, settings)


def test_an_evaluation_and_its_report_state_what_a_judge_made_of_the_rollouts(bundle):
    found = evaluate(bundle, rollouts(), judge=JUDGE)
    assert any(table.title == "The judge reward" for table in text_tables(found))
    words = {each["value"]: each["word"] for each in found.to_json()["judge"]["rollouts"]}
    assert words == {**FAILED, **SUCCEEDED}
    assert (
        "Of 4 failures the judge reward accepted 1, and at most 10 % were promised; of 4 true "
        "successes it doubted 1, and at most 10 % were promised; 2 it left to a human."
    ) in evaluated(bundle, found)
    without = evaluate(bundle, rollouts())
    assert without.to_json()["judge"] is None
    assert len(text_tables(without)) == len(text_tables(found)) - 1


def test_the_command_measures_a_judge_beside_a_bundle(bundle, tmp_path):
    save(bundle, tmp_path / "bundle")
    save_judge(JUDGE, tmp_path / "reward.json")
    scored = [
        replace(each, judged=None, external={"reward": np.full(len(each), each.judged)})
        for each in rollouts().rollouts
    ]
    write_archive(tmp_path / "rollouts.npz", RolloutSet(POLICY, tuple(scored)))
    result = run_here(
        "evaluate",
        *(tmp_path / "bundle", tmp_path / "rollouts.npz"),
        *("--judge", tmp_path / "reward.json", "--json", tmp_path / "figures.json"),
    )
    assert result.exit_code == 0, result.stderr
    assert "The judge reward" in result.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())["judge"]
    assert (figures["failures"]["wrong"], figures["successes"]["wrong"]) == (1, 1)


def test_the_command_measures_a_judge_on_a_table(tmp_path):
    save_judge(JUDGE, tmp_path / "reward.json")
    lines = [f"bad {value},{value},failure" for value in FAILED]
    lines += [f"good {value},{value},success" for value in SUCCEEDED]
    (tmp_path / "numbers.csv").write_text("\n".join(["rollout,value,outcome", *lines]))
    result = run_here(
        "evaluate-judge",
        *(tmp_path / "reward.json", tmp_path / "numbers.csv", "--json", tmp_path / "figures.json"),
    )
    assert result.exit_code == 0, result.stderr
    assert "The judge reward" in result.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["failures"]["accepted"] == 1
    missing = run_here("evaluate-judge", tmp_path / "missing.json", tmp_path / "numbers.csv")
    assert missing.exit_code == 1
    assert "does not exist" in missing.stderr
