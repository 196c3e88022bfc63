# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A human's intervention is a failure with an onset, and nothing after it counts anywhere."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.calibration.audit import audit
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.chosen_rollouts import choose, choose_failures
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import Rollout
from failure_monitor.evaluation.evaluate import evaluate, text_tables
from failure_monitor.evaluation.watched_promise import promise_course
from failure_monitor.report.rollout_row import fate
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.thresholds.conformal import CalibrationError

T = 12
ONSETS = st.integers(0, T - 1)


def taken_over(seed: int, onset: int, *, success: bool | None = True, noise: int = 0) -> Rollout:
    """Return a rollout in which a human acts from the onset on, and makes what follows."""
    rollout = synthetic_rollout(seed, success=success)
    after = np.arange(T) > onset
    rng = np.random.default_rng(noise)
    embeddings, chunks = rollout.embeddings.copy(), rollout.chunks.copy()
    embeddings[after] = 100 * noise * rng.normal(size=embeddings[after].shape)
    chunks[after] = 100 * noise * rng.normal(size=chunks[after].shape)
    helped = np.arange(T) == onset
    # Whether the human acts on, or hands back, changes nothing.
    helped |= after & (rng.random(T) < 0.5)
    return replace(rollout, embeddings=embeddings, chunks=chunks, interventions=helped)


def rollout_set(*rollouts: Rollout) -> RolloutSet:
    return RolloutSet(POLICY, rollouts)


def as_bytes(rollouts) -> list[bytes]:
    return [
        b"".join(each.tobytes() for each in (one.stamps, one.embeddings, one.chunks))
        + repr(one.success).encode()
        for one in rollouts
    ]


@given(ONSETS, st.integers(1, 9), st.sampled_from([True, False, None]))
@settings(max_examples=10)
def test_nothing_after_an_onset_judges_or_teaches(bundle, rollouts, onset, noise, success):
    plain, wild = (taken_over(50, onset, success=success, noise=n) for n in (0, noise))
    others = rollouts[:5]
    evaluations = [
        evaluate(bundle, rollout_set(*others, each)).to_json() for each in (plain, wild)
    ]
    assert evaluations[0] == evaluations[1]
    assert evaluations[0]["metrics"]["overall"]["n_failure"] == 1
    taught = [as_bytes(choose_failures([each])[0]) for each in (plain, wild)]
    assert taught[0] == taught[1]
    for each in (plain, wild):
        assert choose([*others, each])[0] == others
        with pytest.raises(CalibrationError, match="a human intervened"):
            calibrate([*others, each], POLICY, CalibrationSettings(scores=("ace",), jobs=1))
        course = promise_course(bundle, "0" * 64, [each])
        assert course.names == ()


def test_an_audit_compares_nothing_with_it():
    good = [synthetic_rollout(seed) for seed in range(6)]
    found = [
        audit([*good, taken_over(50, 4, noise=noise)], [POLICY] * 7).rollouts for noise in (0, 7)
    ]
    assert found[0][:6] == found[1][:6]
    assert found[1][6].verdict == "drop"
    assert "a human intervened" in found[1][6].reasons


def test_the_probe_learns_the_same_whatever_the_human_made_of_it():
    good = [synthetic_rollout(seed) for seed in range(6)]
    made = CalibrationSettings(scores=("ace", "probe"), folds=2, jobs=1, alpha=0.2)
    bundles = [
        calibrate(
            good,
            POLICY,
            made,
            failures=[taken_over(50 + seed, 6, noise=noise * (seed + 1)) for seed in range(6)],
        )
        for noise in (0, 3)
    ]
    levels = [each.levels(synthetic_rollout(90)) for each in bundles]
    np.testing.assert_array_equal(levels[0], levels[1])


def test_what_evaluate_says_of_interventions(bundle):
    foreseen = taken_over(60, 8)
    chunks = foreseen.chunks.copy()
    chunks[3:] += 5.0 * np.random.default_rng(0).normal(size=chunks[3:].shape)
    foreseen = replace(foreseen, name="foreseen", chunks=chunks)
    unforeseen = taken_over(61, 6)
    followed_by_nobody = replace(
        foreseen, name="nobody", interventions=np.zeros(T, bool), success=True, sha256="e" * 64
    )
    calm = replace(synthetic_rollout(62), interventions=np.zeros(T, bool))
    unknown = synthetic_rollout(63)
    found = evaluate(bundle, rollout_set(foreseen, unforeseen, followed_by_nobody, calm, unknown))
    figures = found.metrics.overall
    assert (figures.interventions, figures.interventions_foreseen) == (2, 0.5)
    assert figures.unfollowed_alarms == 1
    alarm = found.results[0].alarm_decision
    assert alarm is not None
    assert 3 <= alarm <= 8
    assert figures.intervention_lead_time_s == pytest.approx(0.1 * (8 - alarm))
    assert [each.decisions for each in found.results] == [9, 7, T, T, T]
    assert [each["intervention"] for each in found.to_json()["rollouts"]] == [
        *(True, True, False, False, None),
    ]
    assert fate(found.results[0]).endswith(" s before a human took over")
    assert fate(found.results[1]).startswith("7 decisions until a human took over, no alarm")
    titles = [table.title for table in text_tables(found)]
    assert titles[-1].startswith("Interventions: a failure each")
    without = evaluate(bundle, rollout_set(calm, replace(unknown, success=False)))
    assert not any(table.title.startswith("Interv") for table in text_tables(without))
