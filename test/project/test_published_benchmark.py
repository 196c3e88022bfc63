# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""docs/published_benchmark.md shows what benchmarks/published_benchmark.py prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_parts.scored_archives import score_rollouts
from published.figures import FIGURES, draw_again, estimate, exact, false_alarms, figures_of
from published.methods import BASELINES, DEFAULT, FIPER, OURS, PROBE, compare, scores_of
from published.safe import SafeProbe, halves
from published.shipped import RESULTS, shipped_archives
from published.tables import markdown
from published_benchmark import check
from testbed.fiper_episodes import episode, metadata, write_episode
from testbed.repository import ROOT
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.chosen_rollouts import choose
from failure_monitor.calibration.rule_choice import choose_rule
from failure_monitor.calibration.settings import USUAL_FOLDS, CalibrationSettings
from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.evaluation.evaluate import evaluate
from failure_monitor.evaluation.metrics import RolloutResult, measure
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.thresholds.conformal import CalibrationError

PAGE = (ROOT / "docs" / "published_benchmark.md").read_text(encoding="utf-8")
SHIPPED = json.loads(RESULTS.read_text())
NETWORKS = {FIPER, BASELINES["rnd_oe"], BASELINES["logpzo"]}
TOLERANCE, TOLERANCE_OF_TRAINED = 1e-3, 0.06
"""How far figures may lie from the page's. Processors round differently: what is computed in
closed form then changes in its last digit, what is trained by a rollout or two."""


def run(folder: Path, *arguments: str | Path) -> tuple[dict, str]:
    """What the benchmark wrote as JSON, and what it printed."""
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "published_benchmark.py", *arguments),
            *("--dealings", "1", "--json", folder / "results.json"),
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "results.json").read_text()), done.stdout


def test_the_page_shows_the_tables_of_the_results():
    tables = re.split(r"### .*\n\n", markdown(SHIPPED))[1:]
    assert len(tables) == 4 + 2 * len(SHIPPED["tasks"])
    for table in tables:
        assert table.strip() in PAGE


def check_dealing(found: dict, expected: dict, tolerance: float, what: object) -> None:
    """Compare all figures of one method on one task, each with its interval."""
    for figure, values in expected.items():
        for value, kept in zip(found[figure], values, strict=True):
            same = value == kept or value == pytest.approx(kept, abs=tolerance)
            assert same, (what, figure, found[figure], values)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_on_the_shipped_rollouts_gives_the_figures_of_the_page(tmp_path):
    found, printed = run(tmp_path, "--no-networks")
    assert found["tasks"] == SHIPPED["tasks"]
    assert found["methods"].keys() == SHIPPED["methods"].keys() - NETWORKS
    for method, own in found["methods"].items():
        tolerance = TOLERANCE_OF_TRAINED if method == PROBE else TOLERANCE
        for task, [dealing] in own["dealings"].items():
            expected = SHIPPED["methods"][method]["dealings"][task][0]
            check_dealing(dealing, expected, tolerance, (method, task))
    assert "### Mean over the tasks, early" in printed


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_networks_on_one_of_the_shipped_tasks_give_the_figures_of_the_page():
    places = list(SHIPPED["tasks"])
    path = shipped_archives()[-1]
    rollout_set = read_rollouts([path])
    scored = score_rollouts(
        path.stem,
        rollout_set,
        ("rnd_oe", "ace", "logpzo"),
        seed=0,
        folds=USUAL_FOLDS,
        jobs=1,
        report=lambda step: None,
    )
    results = compare(scored, rollout_set, alpha=SHIPPED["alpha"], seed=0).results
    counts = draw_again(len(scored.tests), SHIPPED["draws"], places.index(path.stem))
    for method in NETWORKS:
        figures = figures_of(results[method], counts)
        found = {key: estimate(values) for key, values in figures.items()}
        found["false_alarm_rate"] = exact(*false_alarms(results[method]))
        expected = SHIPPED["methods"][method]["dealings"][path.stem][0]
        check_dealing(found, expected, TOLERANCE_OF_TRAINED, method)


@pytest.mark.slow
def test_the_default_rule_reaches_what_calibrate_and_evaluate_say():
    path = shipped_archives()[-1]
    rollout_set = read_rollouts([path])
    rollouts = choose(rollout_set.rollouts)[0]
    scores = choose_rule(rollouts, rollout_set.policy).scores
    settings = CalibrationSettings(scores=scores, jobs=1, outcome_alpha=0)
    overall = evaluate(calibrate(rollouts, rollout_set.policy, settings), rollout_set).metrics
    dealing = SHIPPED["methods"][DEFAULT]["dealings"][path.stem][0]
    for figure in set(FIGURES) - {"accuracy"}:
        value = getattr(overall.overall, figure)
        assert value == pytest.approx(dealing[figure][0], abs=TOLERANCE), figure


@pytest.mark.slow
def test_rollouts_as_fiper_publishes_them_are_compared(tmp_path):
    folder = tmp_path / "sorting" / "rollouts"
    for number in range(46):
        calibrates, success = number < 16, number < 16 or number % 2 == 0
        part = "calibration" if calibrates else "test"
        name = f"episode_{'s' if success else 'f'}_{number:04d}.pkl"
        content = episode(
            metadata=metadata(success=success, rollout_subtype="ca" if calibrates else "id"),
            rollout=episode_steps(6 if success else 12, seed=number),
        )
        write_episode(folder / part / name, content)
    found, printed = run(tmp_path, folder, "--no-networks", "--draws", "20")
    assert found["tasks"]["sorting"]["failures"] == 15
    assert found["tasks"]["sorting"]["calibration"] == 16
    expected = {*OURS, *BASELINES.values(), PROBE, "elapsed time"} - {
        *("default rule, without joints", "joint_effect", "gripper_effect"),
        *("RND-OE", "logpZO"),
    }
    assert set(found["methods"]) == expected
    assert "| elapsed time |" in printed


def test_rollouts_that_cannot_be_compared_are_rejected_before_any_work():
    def set_apart(*outcomes: bool, calibrating: int) -> RolloutSet:
        calibration = [replace(rollout, calibration=True) for rollout in successes[:calibrating]]
        tests = [replace(successes[0], success=each, calibration=False) for each in outcomes]
        return RolloutSet(POLICY, (*calibration, *tests))

    successes = [synthetic_rollout(seed) for seed in range(9)]
    check(Path("task"), set_apart(True, False, calibrating=9), 0.1)
    with pytest.raises(UsageError, match="task: none of 2 test rollouts failed"):
        check(Path("task"), set_apart(True, True, calibrating=9), 0.1)
    with pytest.raises(UsageError, match="task: none of 1 test rollouts succeeded"):
        check(Path("task"), set_apart(False, calibrating=9), 0.1)
    for calibrating in (0, 8):
        with pytest.raises(CalibrationError, match=f"{calibrating} calibration rollouts cannot"):
            check(Path("task"), set_apart(True, False, calibrating=calibrating), 0.1)


def episode_steps(decisions: int, *, seed: int) -> list[dict]:
    """Decisions at random, of which two actions are executed and move what is embedded."""
    random = np.random.default_rng(seed)
    place = np.zeros(3)
    steps = []
    for index in range(decisions):
        chunks = random.normal(size=(4, 5, 3)).astype(np.float32)
        embedding = np.concatenate([place, random.normal(size=3)])
        steps.append(
            {
                "action": chunks[0],
                "action_pred": chunks,
                "obs_embedding": embedding.astype(np.float32),
                "timestamp": 0.14 * index,
            }
        )
        place = place + chunks[0, :2].sum(axis=0)
    return steps


def test_figures_are_those_of_an_evaluation_also_of_tests_drawn_again():
    results = some_results(24)
    counts = draw_again(len(results), 5, seed=3)
    figures = figures_of(results, counts)
    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == len(results)).all()
    longest = max(result.decisions for result in results)
    for number, drawn in enumerate(counts):
        again = [each for each, times in zip(results, drawn, strict=True) for _ in range(times)]
        expected = measure(again, longest=longest)
        right = [result.alarms != result.success for result in again]
        assert figures["accuracy"][number] == pytest.approx(np.mean(right))
        for key in set(FIGURES) - {"accuracy"}:
            assert figures[key][number] == pytest.approx(getattr(expected, key)), key


def some_results(number: int) -> list[RolloutResult]:
    random = np.random.default_rng(5)
    return [
        RolloutResult(
            name=str(place),
            success=place % 3 > 0,
            group="id" if place % 2 else "camera",
            levels=np.round(random.uniform(0, 1.2, random.integers(3, 9)), 1),
            stamps=np.arange(9.0),
            early_decisions=4.0,
        )
        for place in range(number)
    ]


def rollouts_of_both_outcomes(number: int = 24) -> list[Rollout]:
    """Half of them fail, and their embeddings say so."""
    random = np.random.default_rng(1)
    made = []
    for place in range(number):
        success = place % 2 == 0
        decisions = 8 if success else 16
        embeddings = random.normal(size=(decisions, 5)) + (0 if success else 2)
        made.append(
            Rollout(
                name=str(place),
                stamps=np.arange(float(decisions)),
                embeddings=embeddings.astype(np.float32),
                chunks=np.zeros((decisions, 2, 4, 3), np.float32),
                success=success,
            )
        )
    return made


def test_the_probe_learns_from_failures_and_adds_up():
    rollouts = rollouts_of_both_outcomes()
    dealt = halves(rollouts, seed=0)
    teachers, others = ([rollouts[i] for i in np.flatnonzero(dealt == half)] for half in (0, 1))
    assert sum(not each.success for each in teachers) == 6
    probe = SafeProbe.train(teachers, seed=0)
    for rollout in others:
        steps = np.diff(probe.score_rollout(rollout), prepend=0.0)
        assert ((steps >= 0) & (steps <= 1)).all()
        assert (steps.mean() < 0.5) == rollout.success
    again = SafeProbe.train(teachers, seed=0)
    np.testing.assert_array_equal(probe.score_rollout(others[0]), again.score_rollout(others[0]))


def test_the_probe_does_not_learn_how_long_failures_last():
    """What comes after the longest success changes nothing."""
    rollouts = rollouts_of_both_outcomes()
    longer = [
        each
        if each.success
        else replace(
            each, embeddings=np.concatenate([each.embeddings[:8], 50 + each.embeddings[8:]])
        )
        for each in rollouts
    ]
    scores = [
        SafeProbe.train(each, seed=0).score_rollout(rollouts[0]) for each in (rollouts, longer)
    ]
    np.testing.assert_array_equal(*scores)


def test_the_default_rule_is_compared_for_a_policy_of_one_chunk_without_an_embedding():
    """It then has scores that are compared nowhere else."""
    random = np.random.default_rng(2)
    rollouts = tuple(
        replace(
            each,
            embeddings=np.zeros((len(each), 0), np.float32),
            chunks=random.normal(size=(len(each), 1, 4, 3)).astype(np.float32),
            calibration=each.success and place < 24,
        )
        for place, each in enumerate(rollouts_of_both_outcomes(36))
    )
    policy = PolicyFormat(0, 1, 4, ("x", "y", "z"), executed_actions=2)
    rollout_set = RolloutSet(policy, rollouts)
    scored = score_rollouts(
        "arm",
        rollout_set,
        scores_of(rollout_set, networks=False),
        seed=0,
        folds=4,
        jobs=1,
        report=lambda step: None,
    )
    found = compare(scored, rollout_set, alpha=0.1, seed=0)
    assert len(found.results[DEFAULT]) == len(scored.tests) == 24


def test_a_probe_without_failures_to_learn_from_is_rejected():
    successes = [each for each in rollouts_of_both_outcomes() if each.success]
    with pytest.raises(CalibrationError, match="0 failed and 12 successful rollouts are too few"):
        SafeProbe.train(successes, seed=0)


@pytest.mark.parametrize("path", shipped_archives(), ids=lambda path: path.stem)
def test_shipped_rollouts_are_small_and_set_apart(path: Path):
    rollout_set: RolloutSet = read_rollouts([path])
    assert path.stat().st_size < 3_000_000
    calibration = [each for each in rollout_set.rollouts if each.calibration]
    assert len(calibration) == 40
    assert all(each.success and each.group == "id" for each in calibration)
    tests = [each for each in rollout_set.rollouts if each.calibration is False]
    assert len({each.group for each in tests}) == 8
    assert 20 <= sum(not each.success for each in tests) <= len(tests) - 40


@pytest.mark.slow
def test_the_shipped_rollouts_can_be_made_again():
    from published_rollouts import RolloutMaker

    path = shipped_archives()[0]
    shipped = {each.name: each for each in read_rollouts([path]).rollouts}
    maker = RolloutMaker(path.stem)
    try:
        for rollout in (next(maker.calibration()), next(maker.perturbed("camera"))):
            kept = shipped[rollout.name]
            assert (rollout.success, rollout.group) == (kept.success, kept.group)
            # Another processor draws and computes a little differently, which adds up.
            np.testing.assert_allclose(rollout.embeddings[0], kept.embeddings[0], atol=0.05)
            np.testing.assert_allclose(rollout.chunks[0], kept.chunks[0], atol=0.05)
    finally:
        maker.close()


def claims() -> list[tuple[str, str, str]]:
    """The rows of the table of claims: what is claimed, on which page, and the command."""
    return re.findall(r"^\| “(.+)” \| \[[\w.]+\]\((\S+?)\) \| (.+) \|$", PAGE, re.MULTILINE)


def test_what_the_page_quotes_stands_where_it_says():
    assert len(claims()) > 15
    for quote, page, _ in claims():
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert quote in text, (page, quote)


def test_every_page_with_figures_of_a_benchmark_has_its_claim():
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\(\.\./docs/(\w+\.md)\)", table)) - {"published_benchmark.md"}
    assert named <= {Path(page).name for _, page, _ in claims()}
