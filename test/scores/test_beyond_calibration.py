# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What lies far beyond calibration never reads as more normal, whatever the score and the rule."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from testbed.moving_rollouts import MOVING, moving_rollout

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import Decision, InvalidDecisionError, Rollout
from failure_monitor.scores import registry
from failure_monitor.thresholds.value_limits import ValueLimits

pytestmark = pytest.mark.law(7)

LARGEST = float(np.finfo(np.float32).max)
EXTERNAL = "external:energy"
NAMES = (*(name for name in registry.SCORES if name != "probe"), EXTERNAL)
every_score = pytest.mark.parametrize("name", NAMES)

FACTORS = (1e1, 1e2, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18, 1e20, 1e30, LARGEST)


def energetic(seed: int) -> Rollout:
    rollout = moving_rollout(seed, decisions=12 + seed % 3)
    energy = 1 + 0.1 * np.random.default_rng(seed).normal(size=len(rollout))
    return dataclasses.replace(rollout, external={"energy": energy})


ROLLOUTS = [energetic(seed) for seed in range(12)]
EMBEDDING_LIMITS = 100 * np.abs(np.concatenate([r.embeddings for r in ROLLOUTS])).max(axis=0)
ACTION_LIMITS = 10 * np.abs(np.concatenate([r.chunks for r in ROLLOUTS])).max(axis=(0, 1, 2))
EMBEDDING_LIMITS = np.maximum(EMBEDDING_LIMITS, np.median(EMBEDDING_LIMITS))
ACTION_LIMITS = np.maximum(ACTION_LIMITS, np.median(ACTION_LIMITS))
RULES: dict[str, CalibrationSettings] = {
    **{name: CalibrationSettings(scores=(name,), rule="any", window=3) for name in NAMES},
    "all": CalibrationSettings(scores=("rnd_oe", "ace"), rule="all", window=1),
    "mean": CalibrationSettings(scores=("knn", "stac", "ace", EXTERNAL), rule="mean", window=5),
    "time-varying": CalibrationSettings(
        scores=("knn", "ace"), rule="any", window=2, threshold="time-varying"
    ),
}


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    common = {"alpha": 0.3, "folds": 2, "jobs": 1}
    return {
        name: calibrate(ROLLOUTS, MOVING, dataclasses.replace(settings, **common))
        for name, settings in RULES.items()
    }


Blow = Callable[[np.ndarray, float], np.ndarray]
"""Blows up values of (B, H, D) or (E,) by a factor."""


def _alternating(values: np.ndarray, factor: float) -> np.ndarray:
    signs = np.where(np.arange(len(values)) % 2, 1.0, -1.0)
    return values * factor * signs.reshape(-1, *[1] * (values.ndim - 1))


def _one(values: np.ndarray, factor: float) -> np.ndarray:
    blown = values.copy()
    blown[3] *= factor
    return blown


def _one_dimension(values: np.ndarray, factor: float) -> np.ndarray:
    blown = values.copy()
    blown[..., 0] *= factor
    return blown


BLOWS: dict[str, Blow] = {
    "scaled": lambda values, factor: values * factor,
    "scaled and turned round": lambda values, factor: -values * factor,
    "alternating": _alternating,
    "one sample or value": _one,
    "one dimension": _one_dimension,
    "shifted": lambda values, factor: values + factor,
    "all the same": lambda values, factor: np.full_like(values, factor),
    "all the same but for the sign": lambda values, factor: _alternating(
        np.ones_like(values), factor
    ),
}
WHERE = ("embedding", "chunks", "both")


def blown_up(decision: Decision, where: str, blow: Blow, factor: float) -> Decision:
    def of(values: np.ndarray) -> np.ndarray:
        return blow(values.astype(np.float64), factor).clip(-LARGEST, LARGEST).astype(np.float32)

    return dataclasses.replace(
        decision,
        embedding=decision.embedding if where == "chunks" else of(decision.embedding),
        chunks=decision.chunks if where == "embedding" else of(decision.chunks),
    )


def is_beyond(decision: Decision) -> bool:
    """Whether a value is much further from 0 than all values that calibration saw there."""
    return bool(
        (np.abs(decision.embedding) > EMBEDDING_LIMITS).any()
        or (np.abs(decision.chunks) > ACTION_LIMITS).any()
    )


decisions = st.integers(0, 11)
sizes = st.floats(1.0, 38.5).map(lambda exponent: min(10.0**exponent, LARGEST))


@pytest.mark.parametrize("name", RULES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    where=st.sampled_from(WHERE),
    blow=st.sampled_from(sorted(BLOWS)),
    factor=sizes,
    number=decisions,
)
def test_a_decision_beyond_the_limits_is_invalid_whatever_the_rule(
    bundles, name, where, blow, factor, number
):
    monitor = bundles[name].monitor()
    seen = list(ROLLOUTS[0].decisions())
    for decision in seen[:number]:
        monitor.update(decision)
    blown = blown_up(seen[number], where, BLOWS[blow], factor)
    if is_beyond(blown):
        with pytest.raises(InvalidDecisionError, match="times the largest of calibra"):
            monitor.update(blown)
    else:
        assert np.isfinite(monitor.update(blown).level)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("where", WHERE)
def test_the_evaluation_raises_an_alarm_where_the_monitor_halts(bundles, name, where):
    rollout = ROLLOUTS[0]
    decisions = list(rollout.decisions())
    for at in (0, 7):
        blown = blown_up(decisions[at], where, BLOWS["scaled"], 1e20)
        chunks, embeddings = rollout.chunks.copy(), rollout.embeddings.copy()
        chunks[at], embeddings[at] = blown.chunks, blown.embedding
        changed = dataclasses.replace(rollout, chunks=chunks, embeddings=embeddings)
        levels = bundles[name].levels(changed)
        assert (levels[at:] > 1).all()
        assert np.isfinite(levels).all()
        np.testing.assert_allclose(levels[:at], bundles[name].levels(rollout)[:at])


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("embedding", r"value \d of the embedding is -?4e\+04, beyond"),
        ("chunks", r"action (dx|dy|gripper) of a sampled chunk is -?4e\+04, beyond"),
        ("positions", r"the measured position (dx|dy) is -?4e\+04, beyond"),
    ],
)
def test_the_sentence_names_the_value_its_limit_and_what_to_check(bundles, part, sentence):
    decision = next(ROLLOUTS[0].decisions())
    wild = np.full_like(getattr(decision, part), -4e4)
    with pytest.raises(InvalidDecisionError, match=sentence) as raised:
        bundles["tracking"].monitor().update(dataclasses.replace(decision, **{part: wild}))
    assert "calibration: check the" in str(raised.value)


def test_no_decision_of_calibration_comes_near_its_limit(bundles):
    for rollout in ROLLOUTS:
        assert bundles["ace"].limits.levels(rollout).max() <= 1 / 10


@pytest.mark.parametrize("value", [-1e300, -1e30, -50.0, 0.0])
def test_no_external_value_outweighs_other_decisions_or_scores(bundles, value):
    monitor = bundles["mean"].monitor()
    first, second, *_ = (
        dataclasses.replace(decision, embedding=decision.embedding + np.float32(5))
        for decision in ROLLOUTS[0].decisions()
    )
    monitor.update(first)
    usual = monitor.update(second)
    monitor.start_rollout()
    monitor.update(dataclasses.replace(first, external={"energy": value}))
    praised = monitor.update(dataclasses.replace(second, external={"energy": value}))
    lowest = min(rollout.external["energy"].min() for rollout in ROLLOUTS)
    assert praised.scores[-1].value == lowest
    assert praised.level > usual.level - 0.5
    assert praised.calls_for_alarm == usual.calls_for_alarm


# Bundles of older versions know no limits: what the scores themselves make of it.


def without_limits(bundle: Bundle) -> Bundle:
    return dataclasses.replace(bundle, limits=ValueLimits.unknown(MOVING))


# A rate of signs knows no size, and no older bundle has it.
of_older_bundles = pytest.mark.parametrize("name", [n for n in NAMES if n != "reversal_rate"])


@of_older_bundles
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("factor", FACTORS)
def test_by_its_own_mathematics_no_score_falls_where_all_values_are_blown_up(
    bundles, name, where, factor
):
    usual = bundles[name].levels(ROLLOUTS[0])
    monitor = without_limits(bundles[name]).monitor()
    for decision, level in zip(ROLLOUTS[0].decisions(), usual, strict=True):
        blown = blown_up(decision, where, BLOWS["scaled"], factor)
        if not is_beyond(blown):
            blown = decision
        try:
            verdict = monitor.update(blown)
        except InvalidDecisionError:
            return
        assert verdict.calls_for_alarm or verdict.level >= level - 1e-6


@every_score
@pytest.mark.parametrize("blow", BLOWS)
@pytest.mark.parametrize("where", WHERE)
def test_what_no_robot_can_mean_is_invalid_even_where_no_limits_are_known(
    bundles, name, blow, where
):
    monitor = without_limits(bundles[name]).monitor()
    _, second, *_ = ROLLOUTS[0].decisions()
    for factor in (1e12, 1e18, 1e30, LARGEST):
        with pytest.raises(InvalidDecisionError):
            monitor.update(blown_up(second, where, BLOWS[blow], factor))


@every_score
@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-40, 1e-30])
def test_values_that_all_but_vanish_have_a_score(bundles, name, tiny):
    monitor = bundles[name].monitor()
    for decision in ROLLOUTS[0].decisions():
        verdict = monitor.update(blown_up(decision, "both", BLOWS["scaled"], tiny))
        assert np.isfinite(verdict.level)


def test_limits_survive_being_stored_and_bundles_of_before_have_wide_ones(bundles, tmp_path):
    save(bundles["ace"], tmp_path / "bundle")
    stored = load(tmp_path / "bundle").limits
    for name, array in bundles["ace"].limits.arrays().items():
        np.testing.assert_array_equal(stored.arrays()[name], array)
    save(without_limits(bundles["elapsed_time"]), tmp_path / "old")
    assert load(tmp_path / "old").limits.embedding.min() == 1e9
