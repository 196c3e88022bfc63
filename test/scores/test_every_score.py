# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What holds of every score in the registry that successful rollouts alone can teach."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from testbed.moving_rollouts import MOVING, moving_rollout
from testbed.synthetic import POLICY

from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.fitting.fit import fit_score
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import InvalidDecisionError
from failure_monitor.monitoring.monitor import FailureMonitor, windowed_scores
from failure_monitor.scores import registry
from failure_monitor.scores.base.folded_score import FoldedScore
from failure_monitor.scores.base.network_score import NetworkScore
from failure_monitor.scores.base.score import InstantScore, ScoreState, ScoreUndefinedError

# The probe learns from failures too, so its laws stand in test_probe.py.
SCORES = {name: score for name, score in registry.SCORES.items() if name != "probe"}
OF_EMBEDDINGS = (
    "command_effect",
    "kernel_support",
    "knn",
    "logpzo",
    "mahalanobis",
    "one_step",
    "pca_kmeans",
    "phase_knn",
    "pseudo_count",
    "rnd_oe",
)
OF_CHUNKS = ("kernel_support", "kinematics", "pseudo_count", "rnd_a", "retrieval", "stac_single")
OF_SAMPLES = ("ace", "ace_per_dimension", "dispersion_profile", "stac")

every_score = pytest.mark.parametrize("name", SCORES)


@pytest.fixture(scope="module")
def rollouts():
    return [moving_rollout(seed, decisions=12 + seed % 3) for seed in range(12)]


@pytest.fixture(scope="module")
def fitted(rollouts):
    return {name: fit_score(name, rollouts[:-2], MOVING, seed=0) for name in SCORES}


@pytest.fixture(scope="module")
def bundles(rollouts):
    settings = CalibrationSettings(rule="any", alpha=0.3, window=3, folds=2, jobs=1)
    return {
        name: calibrate(rollouts, MOVING, dataclasses.replace(settings, scores=(name,)))
        for name in SCORES
    }


def streamed(score, rollout):
    score.start_rollout()
    return np.array([score.update(decision) for decision in rollout.decisions()])


@every_score
def test_both_forms_agree(fitted, rollouts, name):
    score = fitted[name]
    for rollout in rollouts[-3:]:
        np.testing.assert_allclose(
            score.score_rollout(rollout), streamed(score, rollout), rtol=1e-6, atol=1e-9
        )


@every_score
def test_it_is_undefined_exactly_before_its_first_defined_decision(fitted, rollouts, name):
    score = fitted[name]
    values = score.score_rollout(rollouts[-1])
    assert values.shape == (len(rollouts[-1]),)
    assert values.dtype == np.float64
    assert np.isnan(values[: score.first_defined]).all()
    assert np.isfinite(values[score.first_defined :]).all()
    assert (values[score.first_defined :] >= 0).all()


@every_score
def test_a_new_rollout_forgets_the_last_one(fitted, rollouts, name):
    score = fitted[name]
    fresh = streamed(score, rollouts[-1])
    streamed(score, rollouts[-2])
    np.testing.assert_array_equal(streamed(score, rollouts[-1]), fresh)


@every_score
def test_it_knows_the_past_only(fitted, rollouts, name):
    rollout = rollouts[-1]
    begin = rollout.beginning(5)
    np.testing.assert_allclose(
        fitted[name].score_rollout(begin), fitted[name].score_rollout(rollout)[:5], rtol=1e-6
    )


@every_score
def test_the_same_seed_gives_the_same_score(fitted, rollouts, name):
    again, state = fit_score(name, rollouts[:-2], MOVING, seed=0).state(), fitted[name].state()
    assert (again.parameters, again.models) == (state.parameters, state.models)
    assert again.arrays.keys() == state.arrays.keys()
    for part, array in state.arrays.items():
        np.testing.assert_array_equal(again.arrays[part], array)


@pytest.mark.parametrize("name", [n for n, s in SCORES.items() if not issubclass(s, NetworkScore)])
def test_the_order_of_the_fitting_rollouts_changes_nothing(fitted, rollouts, name):
    again = fit_score(name, rollouts[:-2][::-1], MOVING, seed=0)
    np.testing.assert_allclose(
        again.score_rollout(rollouts[-1]), fitted[name].score_rollout(rollouts[-1]), rtol=1e-6
    )


@every_score
def test_it_survives_being_stored_in_a_bundle(bundles, rollouts, tmp_path, name):
    save(bundles[name], tmp_path / "bundle")
    stored = load(tmp_path / "bundle")
    np.testing.assert_array_equal(stored.levels(rollouts[-1]), bundles[name].levels(rollouts[-1]))
    assert stored.policy == MOVING


@every_score
def test_the_monitor_says_of_each_decision_what_calibration_says_of_the_rollout(
    bundles, rollouts, name
):
    monitor = bundles[name].monitor()
    shifted = dataclasses.replace(rollouts[-1], embeddings=rollouts[-1].embeddings + np.float32(1))
    for rollout in (rollouts[-1], shifted):
        monitor.start_rollout()
        levels = [monitor.update(decision).level for decision in rollout.decisions()]
        np.testing.assert_allclose(bundles[name].levels(rollout), levels, rtol=1e-6, atol=1e-9)


@every_score
def test_a_rollout_of_one_decision_has_a_verdict(bundles, rollouts, name):
    first = next(rollouts[-1].decisions())
    verdict = bundles[name].monitor().update(first)
    (score,) = verdict.scores
    assert score.is_defined == (SCORES[name].first_defined == 0)
    assert np.isfinite(verdict.level)
    if not score.is_defined:
        assert not verdict.calls_for_alarm
        assert not score.is_above_threshold
        assert verdict.level == 0
        assert f"{name} undefined" in verdict.reason


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_an_unfamiliar_embedding_raises_it(fitted, rollouts, name):
    score, rollout = fitted[name], rollouts[-1]
    shift = np.linspace(0, 3, len(rollout), dtype=np.float32)[:, np.newaxis] ** 2
    far = dataclasses.replace(rollout, embeddings=rollout.embeddings + shift)
    assert np.nanmax(score.score_rollout(far)) > 1.5 * np.nanmax(score.score_rollout(rollout))


@pytest.mark.parametrize("name", ["rnd_oe", "knn", "mahalanobis"])
@given(direction=arrays(np.float64, POLICY.embedding_size, elements=st.floats(-1, 1)))
def test_far_away_in_any_direction_is_worse_than_all_that_was_fitted_on(
    fitted, rollouts, name, direction
):
    assume(np.abs(direction).max() > 0.1)
    seen = np.concatenate([rollout.embeddings for rollout in rollouts[:-2]])
    steps = direction / np.abs(direction).max() * seen.std(axis=0)
    # As far as standardised features go, and not so far that they are clipped.
    far = seen.mean(axis=0) + 9 * steps
    decision = next(rollouts[0].decisions())
    usual = max(np.max(fitted[name].score_rollout(rollout)) for rollout in rollouts[:-2])
    unusual = dataclasses.replace(decision, embedding=far.astype(np.float32))
    assert fitted[name].update(unusual) > usual


@pytest.mark.parametrize("name", OF_CHUNKS)
def test_an_unfamiliar_chunk_raises_it(fitted, rollouts, name):
    score, rollout = fitted[name], rollouts[-1]
    noise = np.random.default_rng(0).normal(size=(len(rollout), 1, *rollout.chunks.shape[2:]))
    far = dataclasses.replace(rollout, chunks=rollout.chunks + noise.astype(np.float32))
    assert np.nanmax(score.score_rollout(far)) > 1.5 * np.nanmax(score.score_rollout(rollout))


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_a_change_of_mind_raises_it(fitted, rollouts, name):
    score, rollout = fitted[name], rollouts[-1]
    chunks = rollout.chunks.copy()
    chunks[6, : chunks.shape[1] // 2 + 1] *= -1
    torn = dataclasses.replace(rollout, chunks=chunks)
    assert score.score_rollout(torn)[6] > score.score_rollout(rollout)[6] + 0.1


@pytest.mark.parametrize(
    "name", [*(name for name in OF_EMBEDDINGS if name != "pseudo_count"), "lag", "retrieval"]
)
def test_embeddings_that_never_change_are_refused(rollouts, name):
    same = [dataclasses.replace(r, embeddings=np.ones_like(r.embeddings)) for r in rollouts]
    with pytest.raises(ScoreUndefinedError, match=f"{name}: the embeddings are the same"):
        fit_score(name, same, MOVING, seed=0)


@pytest.mark.parametrize(
    "name", ["chunk_lag", "rnd_a", "retrieval", "one_step", "kernel_support", "kinematics"]
)
def test_action_chunks_that_never_change_are_refused(rollouts, name):
    same = [dataclasses.replace(r, chunks=np.ones_like(r.chunks)) for r in rollouts]
    with pytest.raises(ScoreUndefinedError, match=f"{name}: .*chunk"):
        fit_score(name, same, MOVING, seed=0)


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_a_policy_whose_samples_are_all_the_same_is_refused(rollouts, name):
    same = [
        dataclasses.replace(r, chunks=np.repeat(r.chunks[:, :1], POLICY.samples, axis=1))
        for r in rollouts
    ]
    with pytest.raises(ScoreUndefinedError, match=f"{name}: .* deterministic"):
        fit_score(name, same, MOVING, seed=0)
    single = [dataclasses.replace(r, chunks=r.chunks[:, :1]) for r in rollouts]
    with pytest.raises(ScoreUndefinedError, match=f"{name}: .* one action chunk per decision"):
        fit_score(name, single, dataclasses.replace(MOVING, samples=1), seed=0)


@pytest.mark.parametrize("name", [n for n in SCORES if n not in OF_SAMPLES])
def test_one_sample_per_decision_is_enough(rollouts, name):
    single = [dataclasses.replace(r, chunks=r.chunks[:, :1]) for r in rollouts]
    score = fit_score(name, single, dataclasses.replace(MOVING, samples=1), seed=0)
    assert np.nanmax(score.score_rollout(single[0])) >= 0


@pytest.mark.parametrize(
    "name",
    [
        "command_effect",
        "gripper_effect",
        "joint_effect",
        "reversal_rate",
        "stac",
        "stac_single",
        "tracking",
    ],
)
def test_it_must_know_how_much_of_a_chunk_is_executed(rollouts, name):
    with pytest.raises(ScoreUndefinedError, match=f"{name}: .* --executed-actions"):
        fit_score(name, rollouts, POLICY, seed=0)


@pytest.mark.parametrize("name", ["stac", "stac_single"])
def test_chunks_that_do_not_overlap_are_refused(rollouts, name):
    whole = dataclasses.replace(POLICY, executed_actions=POLICY.horizon)
    with pytest.raises(
        ScoreUndefinedError, match=f"{name}: all 5 actions of a chunk are executed"
    ):
        fit_score(name, rollouts, whole, seed=0)


@pytest.mark.parametrize("name", SCORES)
def test_rollouts_of_one_decision_are_refused_where_the_score_needs_two(rollouts, name):
    short = [rollout.beginning(1) for rollout in rollouts]
    if SCORES[name].first_defined == 0 and name != "command_effect":
        score = fit_score(name, short, MOVING, seed=0)
        assert score.score_rollout(short[0]).shape == (1,)
        return
    sentence = f"{name}: every rollout, rollout 0 among them, has a single decision"
    with pytest.raises(ScoreUndefinedError, match=sentence):
        fit_score(name, short, MOVING, seed=0)
    # One that has a second decision is enough.
    assert np.isfinite(
        fit_score(name, [*short, *rollouts], MOVING, seed=0).score_rollout(rollouts[0])[-1]
    )


@pytest.mark.parametrize("name", [name for name in SCORES if name != "elapsed_time"])
def test_a_bundle_without_its_arrays_is_refused(fitted, name):
    with pytest.raises(KeyError):
        type(fitted[name]).from_state(ScoreState())


def test_a_rule_over_scores_that_begin_at_different_decisions(rollouts):
    settings = CalibrationSettings(
        scores=("knn", "stac", "elapsed_time"), alpha=0.2, window=3, folds=2, jobs=1
    )
    for rule in ("all", "any", "mean"):
        bundle = calibrate(rollouts, MOVING, dataclasses.replace(settings, rule=rule))
        monitor = bundle.monitor()
        verdicts = [monitor.update(decision) for decision in rollouts[0].decisions()]
        np.testing.assert_allclose(
            bundle.levels(rollouts[0]), [v.level for v in verdicts], rtol=1e-6
        )
        assert [score.is_defined for score in verdicts[0].scores] == [True, False, True]
        assert all(score.is_defined for score in verdicts[1].scores)
        if rule == "all":
            assert verdicts[0].level == 0
        else:
            assert verdicts[0].level != 0


class Broken(InstantScore):
    """Infinite at the third decision."""

    name = "broken"

    def score_rollout(self, rollout):
        return np.where(rollout.stamps > 0.15, np.inf, 1.0)

    def state(self):
        return ScoreState()

    @classmethod
    def from_state(cls, state):
        return cls()


def test_a_score_that_is_not_finite_where_it_is_defined_is_refused_in_both_forms(
    bundles, rollouts
):
    with pytest.raises(InvalidDecisionError, match="rollout 0, decision 2: the score broken"):
        windowed_scores([FoldedScore([Broken()])], rollouts[0], window=2)
    monitor = FailureMonitor(
        MOVING,
        [FoldedScore([Broken()] * 2)],
        window=2,
        threshold=bundles["elapsed_time"].threshold(),
    )
    first, second, third, *_ = rollouts[0].decisions()
    monitor.update(first)
    monitor.update(second)
    with pytest.raises(InvalidDecisionError, match="score broken is NaN or infinite"):
        monitor.update(third)
