# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A decision in, a verdict out."""

import dataclasses

import numpy as np
import pytest
from testbed.synthetic import synthetic_rollout

from failure_monitor.decision import (
    Decision,
    InvalidDecisionError,
    PolicyFormat,
    ScoreVerdict,
    Verdict,
)
from failure_monitor.scores.registry import SCORES, score_named


@pytest.fixture
def monitor(bundle):
    return bundle.monitor()


def test_the_streaming_and_the_vectorised_form_agree(bundle, monitor, rollouts):
    for rollout in rollouts[:3]:
        monitor.start_rollout()
        streamed = [monitor.update(decision).level for decision in rollout.decisions()]
        np.testing.assert_allclose(bundle.levels(rollout), streamed, rtol=1e-6)


def test_both_forms_agree_with_thresholds_that_vary_over_time(time_varying_bundle, rollouts):
    monitor = time_varying_bundle.monitor()
    longer = synthetic_rollout(5, decisions=15)
    for rollout in (*rollouts[:3], longer):
        monitor.start_rollout()
        streamed = [monitor.update(decision).level for decision in rollout.decisions()]
        np.testing.assert_allclose(time_varying_bundle.levels(rollout), streamed, rtol=1e-6)


def test_a_verdict_says_that_the_rollout_outlasts_those_of_the_thresholds(time_varying_bundle):
    monitor = time_varying_bundle.monitor()
    longer = synthetic_rollout(5, decisions=14)
    verdicts = [monitor.update(decision) for decision in longer.decisions()]
    assert [verdict.past_calibration for verdict in verdicts] == [False] * 12 + [True] * 2
    assert "past the longest calibration rollout" in verdicts[-1].reason
    assert "past" not in verdicts[11].reason
    assert verdicts[-1].scores[0].threshold == verdicts[11].scores[0].threshold
    assert verdicts[0].scores[0].threshold != verdicts[11].scores[0].threshold


def test_a_new_rollout_counts_from_its_first_decision(time_varying_bundle, rollouts):
    monitor = time_varying_bundle.monitor()
    first, *rest = (monitor.update(decision) for decision in rollouts[0].decisions())
    monitor.start_rollout()
    assert monitor.update(next(rollouts[0].decisions())) == first != rest[0]


def test_a_rollout_like_those_calibrated_on_is_below_its_thresholds(monitor, rollouts):
    verdicts = [monitor.update(decision) for decision in rollouts[0].decisions()]
    assert not any(verdict.calls_for_alarm for verdict in verdicts)
    assert [verdict.index for verdict in verdicts] == list(range(len(rollouts[0])))


def test_an_unfamiliar_embedding_raises_its_score_and_the_alarm(monitor, rollouts):
    decision = next(rollouts[0].decisions())
    verdict = monitor.update(dataclasses.replace(decision, embedding=decision.embedding + 5))
    over = {score.name: score.is_above_threshold for score in verdict.scores}
    assert over == {"rnd_oe": True, "ace": False}
    assert verdict.calls_for_alarm
    assert "rnd_oe" in verdict.reason


def test_samples_that_disagree_raise_the_entropy(monitor, rollouts):
    decision = next(rollouts[0].decisions())
    rng = np.random.default_rng(0)
    scattered = rng.normal(size=decision.chunks.shape).astype(np.float32)
    verdict = monitor.update(dataclasses.replace(decision, chunks=scattered))
    assert {score.name: score.is_above_threshold for score in verdict.scores}["ace"]


def test_a_new_rollout_forgets_the_window(monitor, rollouts):
    first, *rest = rollouts[0].decisions()
    alone = monitor.update(first).level
    for decision in rest:
        monitor.update(decision)
    monitor.start_rollout()
    verdict = monitor.update(first)
    assert (verdict.level, verdict.index) == (alone, 0)


@pytest.mark.parametrize("field", ["embedding", "chunks"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_and_leaves_no_trace(
    monitor, rollouts, field, value
):
    first, second, *_ = rollouts[0].decisions()
    expected = [monitor.update(first).level, monitor.update(second).level]
    monitor.start_rollout()
    monitor.update(first)
    broken = getattr(second, field).copy()
    broken.flat[3] = value
    with pytest.raises(InvalidDecisionError, match=r"1 of .* NaN or infinite"):
        monitor.update(dataclasses.replace(second, **{field: broken}))
    assert monitor.update(second).level == expected[1]


def test_sizes_other_than_the_calibrated_ones_are_refused(monitor, policy):
    embedding = np.zeros(policy.embedding_size, np.float32)
    chunks = np.zeros(policy.chunk_shape, np.float32)
    with pytest.raises(InvalidDecisionError, match=r"embedding has shape \(7,\), expected \(6,\)"):
        monitor.update(Decision(0, np.zeros(7, np.float32), chunks))
    with pytest.raises(InvalidDecisionError, match=r"expected \(B, H, D\) = \(16, 5, 3\)"):
        monitor.update(Decision(0, embedding, chunks[:, :-1]))


def test_a_score_that_comes_out_as_nan_is_no_verdict(bundle, rollouts, monkeypatch):
    monitor = bundle.monitor()
    monkeypatch.setattr(bundle.scores[0], "update", lambda decision: np.full(3, np.nan))
    with pytest.raises(InvalidDecisionError, match="score rnd_oe is NaN"):
        monitor.update(next(rollouts[0].decisions()))


def test_measured_positions_must_be_those_of_the_position_actions(monitor, rollouts):
    decision = next(rollouts[0].decisions())
    with pytest.raises(InvalidDecisionError, match="expected one number for each of dx, dy"):
        monitor.update(dataclasses.replace(decision, positions=np.zeros(3, np.float32)))
    with pytest.raises(InvalidDecisionError, match="1 of 2 of the measured positions are NaN"):
        monitor.update(dataclasses.replace(decision, positions=np.float32([0, np.nan])))


@pytest.mark.parametrize("executed", [0, 6])
def test_a_chunk_bounds_how_many_actions_are_executed(policy, executed):
    with pytest.raises(InvalidDecisionError, match="give a number from 1 to 5"):
        dataclasses.replace(policy, executed_actions=executed)


def test_position_names_must_be_action_names():
    with pytest.raises(InvalidDecisionError, match=r"\['dz'\] are not among"):
        PolicyFormat(4, 2, 2, ("dx", "dy"), position_names=("dz",))


# What it says, to an operator


def said(*scores: tuple[str, float, str], level: float = 1.3) -> str:
    verdicts = tuple(ScoreVerdict(name, value, value, 1.0, words) for name, value, words in scores)
    return Verdict(0, 0, verdicts, "mean", level).reason


def test_a_reason_begins_with_what_is_amiss_and_with_the_worst_of_it():
    words = said(("ace", 0.9, "unsure"), ("lag", 1.2, "slow"), ("knn", 3.96, "unfamiliar"))
    assert words == (
        "unfamiliar (knn 3.96 of its threshold); slow (lag 1.20 of its threshold); "
        "below its threshold: ace 0.90 (rule 'mean' at 1.30)"
    )


def test_a_reason_calls_nothing_amiss_that_is_below_its_threshold():
    words = said(("ace", 0.9, "unsure"), ("knn", 1.0, "unfamiliar"), level=0.95)
    assert words == "below their thresholds: ace 0.90, knn 1.00 (rule 'mean' at 0.95)"


@pytest.mark.parametrize("name", [*SCORES, "external:energy"])
def test_every_score_tells_an_operator_what_is_amiss(name):
    meaning = score_named(name).meaning
    assert 10 < len(meaning) < 60
    assert name not in meaning.split()


@pytest.mark.parametrize("name", SCORES)
def test_no_score_tells_what_is_amiss_in_the_words_of_the_one_it_is_derived_from(name):
    assert "meaning" in vars(SCORES[name])


def test_a_verdict_of_a_bundle_says_what_is_amiss_in_words(monitor, rollouts):
    decision = next(rollouts[0].decisions())
    verdict = monitor.update(dataclasses.replace(decision, embedding=decision.embedding + 5))
    assert verdict.reason.startswith("what it sees is unlike successful rollouts (rnd_oe ")
