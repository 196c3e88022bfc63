# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A score that learns from failures, and is calibrated as if it had not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration import cross_fitting
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.chosen_rollouts import choose_failures
from failure_monitor.calibration.cross_fitting import ProbeRecipe, Recipe
from failure_monitor.calibration.fitting import probe as fitting
from failure_monitor.calibration.fitting.probe import RIDGE, ProbeExample, fit_probe, regress
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import InvalidDecisionError, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.scores.base.score import InstantScore, ScoreState, ScoreUndefinedError
from failure_monitor.scores.knn import NearestNeighbourDistance
from failure_monitor.scores.probe import Probe
from failure_monitor.scores.registry import restore_score
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.thresholds.conformal import CalibrationError

MOVING = dataclasses.replace(POLICY, executed_actions=2)
WEIGHED = ("ace", "knn", "rnd_oe", "stac", "one_step", "lag")
QUICK = CalibrationSettings(
    scores=("probe",), rule="mean", probed_scores=("knn", "ace"), window=2, folds=3, jobs=1
)


def failed_rollout(seed: int, *, decisions: int = 20, size: float = 1.0) -> Rollout:
    """Half of the embedding goes astray at the seventh decision; the rollout drags on."""
    rollout = synthetic_rollout(seed, decisions=decisions, success=False)
    rollout.embeddings[6:, :3] += np.float32(size)
    return rollout


def streamed(score, rollout):
    score.start_rollout()
    return np.array([score.update(decision) for decision in rollout.decisions()])


@pytest.fixture(scope="module")
def failures():
    return [failed_rollout(seed) for seed in range(100, 108)]


@pytest.fixture(scope="module")
def probe(rollouts, failures):
    recipe = Recipe(MOVING, ("probe",), 1, 0, ProbeRecipe(WEIGHED, tuple(failures), folds=3))
    (fitted,) = recipe.fit(rollouts)
    return fitted


def test_both_forms_agree(probe, rollouts, failures):
    for rollout in (rollouts[0], synthetic_rollout(99), failed_rollout(98), failures[0]):
        values = probe.score_rollout(rollout)
        np.testing.assert_allclose(values, streamed(probe, rollout), rtol=1e-6)
        assert np.isfinite(values).all()
        assert (values > 0).all()


def test_it_knows_the_past_only(probe):
    rollout = failed_rollout(98)
    begin = dataclasses.replace(
        rollout,
        **{part: getattr(rollout, part)[:5] for part in ("stamps", "embeddings", "chunks")},
    )
    np.testing.assert_allclose(
        probe.score_rollout(begin), probe.score_rollout(rollout)[:5], rtol=1e-6
    )


def test_after_a_gap_what_is_undefined_has_no_say_and_the_number_of_the_decision_is_kept(probe):
    rollout = failed_rollout(98)
    *before, _, _, after, later = list(rollout.decisions())[:9]
    probe.start_rollout()
    for decision in before:
        probe.update(decision)
    probe.resume(7)
    assert np.isfinite(probe.update(after))
    assert probe.update(later) == pytest.approx(probe.score_rollout(rollout)[8], rel=1e-6)


def test_a_failure_that_it_has_seen_the_like_of_raises_it(probe):
    normal = max(probe.score_rollout(synthetic_rollout(seed)).max() for seed in range(200, 210))
    astray = probe.score_rollout(failed_rollout(210))
    assert astray[:6].max() < 1.5 * normal
    assert astray[6:].min() > 2 * normal


def test_it_learns_which_score_tells(rollouts):
    """Failed rollouts differ in their chunks only: what looks at embeddings gets no weight."""
    shaky = []
    for seed in range(100, 110):
        rollout = synthetic_rollout(seed, success=False)
        centre = rollout.chunks.mean(axis=1, keepdims=True)
        shaky.append(dataclasses.replace(rollout, chunks=centre + 3 * (rollout.chunks - centre)))
    recipe = Recipe(MOVING, ("probe",), 1, 0, ProbeRecipe(("ace", "knn"), tuple(shaky), folds=3))
    (probe,) = recipe.fit(rollouts)
    ace, knn = probe.state().arrays["weights"][:2]
    assert ace > 5 * knn >= 0


def test_the_state_makes_the_same_probe_again(probe):
    again = restore_score("probe", probe.state())
    rollout = failed_rollout(98)
    np.testing.assert_array_equal(again.score_rollout(rollout), probe.score_rollout(rollout))
    assert again.score_names == probe.score_names == WEIGHED
    state, stored = again.state(), probe.state()
    assert (state.parameters, state.models) == (stored.parameters, stored.models)
    assert state.arrays.keys() == stored.arrays.keys()
    for name, array in stored.arrays.items():
        np.testing.assert_array_equal(state.arrays[name], array)
    assert list(stored.models) == ["rnd_oe.network"]


def test_the_order_of_failures_changes_nothing(rollouts, failures):
    one, other = (
        calibrate(rollouts, POLICY, QUICK, failures=given).levels(failed_rollout(98))
        for given in (failures, failures[::-1])
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_successes_alone_teach_it_nothing(rollouts):
    with pytest.raises(ScoreUndefinedError, match="probe: it learns from failed rollouts"):
        Probe.fit(rollouts, POLICY)


class Broken(InstantScore):
    """Not finite once time has come to 0.15 s."""

    name = "broken"
    value = np.nan

    def score_rollout(self, rollout):
        return np.where(rollout.stamps > 0.15, self.value, 1.0)

    def state(self):
        return ScoreState()

    @classmethod
    def from_state(cls, state):
        return cls()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_broken_breaks_it_in_both_forms(probe, rollouts, monkeypatch, value):
    broken = restore_score("probe", probe.state())
    first = Broken()
    first.value = value
    monkeypatch.setattr(broken, "_scores", (first, *broken._scores[1:]))
    for values in (broken.score_rollout(rollouts[0]), streamed(broken, rollouts[0])):
        assert np.isfinite(values[:2]).all()
        assert np.isnan(values[2:]).all()


def examples_of(draw_seed: int, count: int = 12, features: int = 3):
    rng = np.random.default_rng(draw_seed)
    failed = np.arange(count) % 3 == 0
    examples = [
        rng.normal(size=(int(rng.integers(1, 9)), features)) + (0.8 if fails else 0.0)
        for fails in failed
    ]
    return examples, failed


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_regression_is_that_of_an_independent_implementation(seed):
    examples, failed = examples_of(seed)
    weights = regress(examples, failed, raising=0)
    lengths = [len(example) for example in examples]
    of_a_decision = [
        len(examples) / 2 / (failed.sum() if fails else (~failed).sum()) / length
        for fails, length in zip(failed, lengths, strict=True)
    ]
    oracle = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", tol=1e-10)
    oracle.fit(
        np.concatenate(examples),
        np.repeat(failed, lengths),
        sample_weight=np.repeat(of_a_decision, lengths),
    )
    np.testing.assert_allclose(weights, oracle.coef_[0], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), times=st.integers(2, 20))
def test_a_failure_counts_once_however_long_it_drags_on(seed, times):
    examples, failed = examples_of(seed)
    longer = [np.repeat(examples[0], times, axis=0), *examples[1:]]
    np.testing.assert_allclose(
        regress(longer, failed, raising=3), regress(examples, failed, raising=3), atol=1e-6
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_score_talks_another_down(seed):
    """Failures with a low first feature: it gets no weight, rather than a negative one."""
    examples, failed = examples_of(seed)
    lower = [
        example - [3.0, 0.0, 0.0] if fails else example
        for example, fails in zip(examples, failed, strict=True)
    ]
    free = regress(lower, failed, raising=0)
    held = regress(lower, failed, raising=1)
    assert free[0] < 0
    assert held[0] == 0


def scored(value: float, decisions: int, seed: int) -> ProbeExample:
    rng = np.random.default_rng(seed)
    return ProbeExample(value + 0.1 * rng.random((decisions, 1)), rng.normal(size=(decisions, 4)))


def test_what_comes_after_the_longest_success_and_before_the_middle_is_not_learned(monkeypatch):
    seen = []
    monkeypatch.setattr(
        fitting,
        "regress",
        lambda examples, failed, raising: (
            seen.extend(map(len, examples)) or np.ones(examples[0].shape[1])
        ),
    )
    fit_probe(
        [NearestNeighbourDistance.__new__(NearestNeighbourDistance)],
        [scored(1, decisions, seed) for seed, decisions in enumerate((8, 10, 9))],
        [scored(2, decisions, seed) for seed, decisions in enumerate((40, 6, 1))],
    )
    assert seen == [8, 10, 9, 5, 3, 1]


def test_scores_that_are_nowhere_defined_or_never_change_are_refused():
    knn = NearestNeighbourDistance.__new__(NearestNeighbourDistance)
    successes = [scored(1, 8, seed) for seed in range(3)]
    undefined = [dataclasses.replace(r, values=np.full((8, 1), np.nan)) for r in successes]
    constant = [dataclasses.replace(r, values=np.zeros((8, 1))) for r in successes]
    with pytest.raises(ScoreUndefinedError, match="probe: the score knn is undefined at every"):
        fit_probe([knn], undefined, successes)
    with pytest.raises(ScoreUndefinedError, match="probe: the scores knn are the same"):
        fit_probe([knn], constant, successes)
    same = [dataclasses.replace(r, embeddings=np.ones((8, 4))) for r in successes]
    with pytest.raises(ScoreUndefinedError, match="probe: the embeddings are the same"):
        fit_probe([knn], same, successes)


def test_failures_that_look_like_successes_to_every_score_are_refused(rollouts, failures):
    calm = [
        dataclasses.replace(
            failure, chunks=failure.chunks.mean(axis=1, keepdims=True) + 0 * failure.chunks
        )
        for failure in failures
    ]
    settings_ = dataclasses.replace(QUICK, probed_scores=("ace",))
    with pytest.raises(
        ScoreUndefinedError, match="probe: none of the scores ace is higher in the"
    ):
        calibrate(rollouts, POLICY, settings_, failures=calm)


def test_every_fold_has_the_same_scale(rollouts, failures):
    """However steep the regression is: a threshold is made of several."""
    quantiles = []
    for size in (0.1, 3.0):
        given = [failed_rollout(seed, size=size) for seed in range(100, 110)]
        recipe = Recipe(POLICY, ("probe",), 1, 0, ProbeRecipe(("knn", "ace"), tuple(given), 3))
        (probe,) = recipe.fit(rollouts)
        fresh = [probe.score_rollout(synthetic_rollout(seed)) for seed in range(300, 340)]
        quantiles.append(np.quantile(np.log(np.expm1(np.concatenate(fresh))), [0.5, 0.95]))
    np.testing.assert_allclose(quantiles, [[0, 1], [0, 1]], atol=0.4)


def test_what_judges_a_rollout_learned_nothing_from_it(rollouts, failures, monkeypatch):
    """Neither the probe nor any score that it weighs, in any fold, at any depth."""
    held_out, taught = [], []
    fit_part, fit_score = cross_fitting._Dealing.fit, cross_fitting.fit_score

    def spy_on_fold(dealing, part):
        within = zip(dealing.rollouts, dealing.dealt, strict=True)
        held_out.append({rollout.name for rollout, fold in within if fold == part.fold})
        result = fit_part(dealing, part)
        held_out.pop()
        return result

    def spy_on_fit(name, given, *rest):
        names = {rollout.name for rollout in given}
        assert not any(names & out for out in held_out)
        assert not names & {rollout.name for rollout in failures}
        taught.append((len(held_out), len(names)))
        return fit_score(name, given, *rest)

    monkeypatch.setattr(cross_fitting._Dealing, "fit", spy_on_fold)
    monkeypatch.setattr(cross_fitting, "fit_score", spy_on_fit)
    calibrate(rollouts, POLICY, QUICK, failures=failures)
    assert set(taught) == {(2, 5), (2, 6), (1, 8)}


def false_alarm_rates(fitting_rollouts: int, of_failures) -> list[float]:
    """Of 40 calibrations on 19 fresh rollouts, each on 20 more."""
    rates = []
    for repetition in range(40):
        seeds = iter(range(1000 * repetition + 300, 1000 * repetition + 400))
        fit, calibration, fresh = (
            [synthetic_rollout(next(seeds)) for _ in range(count)]
            for count in (fitting_rollouts, 19, 20)
        )
        bundle = calibrate(
            calibration,
            POLICY,
            dataclasses.replace(QUICK, probed_scores=("knn",)),
            fit_rollouts=fit,
            failures=[of_failures(next(seeds)) for _ in range(6)],
        )
        rates.append(np.mean([bundle.levels(rollout).max() > 1 for rollout in fresh]))
    return rates


@pytest.mark.slow
@pytest.mark.parametrize(("fitting_rollouts", "size"), [(0, 0.3), (0, 1.0), (8, 1.0)])
def test_the_promise_holds_whatever_the_failures_are(fitting_rollouts, size):
    """Also where they hardly differ from successes, and regressions learn mostly noise."""
    rates = false_alarm_rates(fitting_rollouts, lambda seed: failed_rollout(seed, size=size))
    standard_error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= 0.1 + 2 * standard_error
    assert np.mean(rates) > 0.1 / 5


def test_failures_teach_to_detect_more_of_their_kind():
    """Disturbances of half of the embedding that are too small to be seen without them."""
    calibration = [synthetic_rollout(seed) for seed in range(19)]
    failures = [failed_rollout(seed, size=0.1) for seed in range(100, 120)]
    others = [failed_rollout(seed, size=0.1) for seed in range(200, 230)]
    without = dataclasses.replace(QUICK, scores=QUICK.probed_scores, probed_scores=())
    rates = [
        np.mean([bundle.levels(rollout).max() > 1 for rollout in others])
        for bundle in (
            calibrate(calibration, POLICY, without),
            calibrate(calibration, POLICY, QUICK, failures=failures),
        )
    ]
    assert rates[1] > rates[0] + 0.3


@pytest.mark.slow
def test_the_bundle_names_the_failures_and_keeps_the_probe(rollouts, failures, tmp_path):
    mixed = dataclasses.replace(QUICK, scores=("stac", "rnd_oe", "probe"), probed_scores=())
    bundle = calibrate(rollouts, MOVING, mixed, failures=failures)
    save(bundle, tmp_path / "bundle")
    loaded = load(tmp_path / "bundle")
    assert loaded.description.failures == bundle.description.failures
    assert [section.sha256 for section in loaded.description.failures] == [
        failure.sha256 for failure in failures
    ]
    assert {section.sha256 for section in loaded.fit} == {r.sha256 for r in failures}
    assert loaded.scores[-1].models[0].score_names == ("stac", "rnd_oe")
    rollout = failed_rollout(98)
    np.testing.assert_array_equal(loaded.levels(rollout), bundle.levels(rollout))
    monitor = loaded.monitor()
    for failure in (rollout, failures[0]):
        monitor.start_rollout()
        levels = [monitor.update(decision).level for decision in failure.decisions()]
        np.testing.assert_allclose(loaded.levels(failure), levels, rtol=1e-6)


@pytest.mark.slow
def test_more_processes_give_the_same_probe(rollouts, failures):
    one, two = (
        calibrate(rollouts, POLICY, dataclasses.replace(QUICK, jobs=jobs), failures=failures)
        for jobs in (1, 2)
    )
    assert one.description.promises == two.description.promises


def test_it_is_calibrated_over_time_too(rollouts, failures):
    settings_ = dataclasses.replace(QUICK, threshold="time-varying")
    bundle = calibrate(rollouts, POLICY, settings_, failures=failures)
    assert bundle.levels(failed_rollout(98)).max() > 1


def test_failures_without_a_score_that_learns_from_them_are_refused(rollouts, failures):
    settings_ = CalibrationSettings(scores=("ace",), folds=3, jobs=1)
    with pytest.raises(UsageError, match="8 failures are given, and none of the scores ace"):
        calibrate(rollouts, POLICY, settings_, failures=failures)


def test_a_probe_without_failures_or_without_scores_to_weigh_is_refused(rollouts, failures):
    with pytest.raises(UsageError, match="'probe' learns from failed rollouts: give some"):
        calibrate(rollouts, POLICY, QUICK)
    for probed in ((), ("probe",)):
        alone = dataclasses.replace(QUICK, probed_scores=probed)
        with pytest.raises(UsageError, match="'probe' weighs other scores: name at least one"):
            calibrate(rollouts, POLICY, alone, failures=failures)
    unknown = dataclasses.replace(QUICK, probed_scores=("wisdom",))
    with pytest.raises(UsageError, match="there is no score 'wisdom'"):
        calibrate(rollouts, POLICY, unknown, failures=failures)


def test_failures_that_succeeded_or_calibrate_or_are_few_are_refused_by_name(rollouts, failures):
    succeeded = dataclasses.replace(failures[2], success=True)
    with pytest.raises(CalibrationError, match=r"1 of the failures succeeded \(rollout 102\)"):
        calibrate(rollouts, POLICY, QUICK, failures=[*failures, succeeded])
    unlabelled = dataclasses.replace(rollouts[4], success=None)
    with pytest.raises(CalibrationError, match=r"1 of the failures are also among .*rollout 4\)"):
        calibrate(rollouts, POLICY, QUICK, failures=[*failures, unlabelled])
    with pytest.raises(CalibrationError, match="4 failures are too few to learn from: give 5"):
        calibrate(rollouts, POLICY, QUICK, failures=failures[:4])


def test_failures_of_another_policy_are_refused_by_name(rollouts, failures):
    other = dataclasses.replace(failures[3], embeddings=failures[3].embeddings[:, :4])
    with pytest.raises(InvalidDecisionError, match=r"rollout 103, decision 0: the embedding has"):
        calibrate(rollouts, POLICY, QUICK, failures=[*failures, other])


def test_folds_that_leave_a_single_rollout_to_learn_from_are_refused(rollouts, failures):
    settings_ = dataclasses.replace(QUICK, folds=2, alpha=0.4)
    with pytest.raises(CalibrationError, match="3 rollouts in 2 folds leave one to fit the score"):
        calibrate(rollouts[:3], POLICY, settings_, failures=failures)


def test_successes_among_failures_are_left_out_and_unlabelled_ones_taken(failures, rollouts):
    unlabelled = dataclasses.replace(failures[0], success=None)
    chosen, remarks = choose_failures([unlabelled, rollouts[0], rollouts[1], failures[1]])
    assert chosen == [unlabelled, failures[1]]
    assert remarks == [
        "2 rollouts that succeeded are left out",
        "1 rollouts without an outcome are taken as failed",
    ]
    assert choose_failures([]) == ([], [])
    with pytest.raises(CalibrationError, match="all 2 rollouts given as failures succeeded"):
        choose_failures(rollouts[:2])


def archive(path: Path, rollouts: list[Rollout]) -> Path:
    write_archive(path, RolloutSet(POLICY, tuple(rollouts)))
    return path


@pytest.fixture(scope="module")
def archives(tmp_path_factory, rollouts, failures):
    """One with calibration rollouts and tests of both outcomes, one with failures only."""
    folder = tmp_path_factory.mktemp("archives")
    calibration = [dataclasses.replace(rollout, calibration=True) for rollout in rollouts]
    tests = [*failures, *(synthetic_rollout(seed) for seed in range(20, 24))]
    archive(
        folder / "task.npz",
        [*calibration, *(dataclasses.replace(test, calibration=False) for test in tests)],
    )
    incidents = [failed_rollout(seed) for seed in range(110, 116)]
    archive(
        folder / "incidents.npz",
        [dataclasses.replace(incidents[0], success=None), *incidents[1:], synthetic_rollout(30)],
    )
    return folder


QUICKLY = ("--folds", 3, "--jobs", 1, "--window", 2)


def test_calibrate_learns_from_failures_and_evaluate_says_what_it_has_seen(archives, tmp_path):
    task, incidents = archives / "task.npz", archives / "incidents.npz"
    made = run_here(
        *("calibrate", task, "--failures", incidents, "--failures", task),
        *("--output", tmp_path / "bundle", *QUICKLY),
    )
    assert made.exit_code == 0, made.output
    for remark in (
        "failures: 17 rollouts that succeeded are left out",
        "failures: 1 rollouts without an outcome are taken as failed",
        "the score probe, which learns from 14 failures, joins the rule",
    ):
        assert remark in made.stderr
    assert "learned from 14 failures how to weigh dispersion_profile, one_step" in made.stdout
    bundle = load(tmp_path / "bundle")
    *others, folded = bundle.scores
    probe = folded.models[0]
    assert probe.score_names == ("dispersion_profile", "one_step", "phase_knn", "chunk_lag")
    assert tuple(score.name for score in others) == probe.score_names
    assert len(bundle.description.failures) == 14
    evaluated = run_here("evaluate", tmp_path / "bundle", task)
    assert evaluated.exit_code == 0, evaluated.output
    assert "8 of the rollouts made this bundle" in evaluated.output
    others = archive(tmp_path / "others.npz", [failed_rollout(seed) for seed in range(200, 205)])
    run_here("evaluate", tmp_path / "bundle", others, "--json", tmp_path / "results.json")
    overall = json.loads((tmp_path / "results.json").read_text())["metrics"]["overall"]
    assert (overall["n_failure"], overall["early_tpr"]) == (5, 1.0)


@pytest.mark.parametrize(
    ("named", "scores", "weighed"),
    [
        ("knn,ace", ("knn", "ace", "probe"), ("knn", "ace")),
        ("probe,knn,ace", ("probe", "knn", "ace"), ("knn", "ace")),
        ("probe", ("probe",), ("dispersion_profile", "one_step", "phase_knn", "chunk_lag")),
    ],
)
def test_the_probe_weighs_the_scores_that_are_named_or_else_the_default_ones(
    archives, tmp_path, named, scores, weighed
):
    made = run_here(
        *("calibrate", archives / "task.npz", "--failures", archives / "incidents.npz"),
        *("--scores", named, "--output", tmp_path / "bundle", *QUICKLY),
    )
    assert made.exit_code == 0, made.output
    by_name = {score.name: score for score in load(tmp_path / "bundle").scores}
    assert tuple(by_name) == scores
    assert by_name["probe"].models[0].score_names == weighed


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["--scores", "probe"],
            2,
            "'probe' learns from failed rollouts: give some as failures (-",
        ),
        (["--failures", "incidents.npz", "--rule", "fiper"], 2, "'fiper' learns nothing from"),
        (["--failures", "successes.npz"], 1, "all 3 rollouts given as failures succeeded"),
        (["--failures", "few.npz"], 1, "4 failures are too few to learn from: give 5 or more"),
        (["--failures", "other.npz"], 1, "embedding size 6 against 5"),
        (["--failures", "shared.npz"], 1, "5 of the failures are also among the rollouts"),
        (["--failures", "nowhere.npz"], 1, "nowhere.npz does not exist"),
    ],
)
def test_failures_that_cannot_teach_are_refused_in_one_sentence(
    archives, tmp_path, rollouts, arguments, code, sentence
):
    archive(archives / "successes.npz", [synthetic_rollout(seed) for seed in range(40, 43)])
    archive(archives / "few.npz", [failed_rollout(seed) for seed in range(40, 44)])
    archive(archives / "shared.npz", [dataclasses.replace(r, success=None) for r in rollouts[:5]])
    other = dataclasses.replace(POLICY, embedding_size=5)
    narrow = [failed_rollout(seed) for seed in range(40, 46)]
    narrow = [dataclasses.replace(r, embeddings=r.embeddings[:, :5]) for r in narrow]
    write_archive(archives / "other.npz", RolloutSet(other, tuple(narrow)))
    given = [archives / each if str(each).endswith("npz") else each for each in arguments]
    result = run_here(
        "calibrate", archives / "task.npz", *given, "--output", tmp_path / "bundle", *QUICKLY
    )
    assert result.exit_code == code, result.output
    assert sentence in result.stderr
    assert not (tmp_path / "bundle").exists()
