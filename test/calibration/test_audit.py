# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Defects that are planted among good rollouts, and which of them the audit finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.calibration import audit as audit_module
from failure_monitor.calibration.audit import Audit, ReceptionQuality, RolloutAudit, Unlike, audit
from failure_monitor.calibration.cross_fitting import HeldOutScores, Recipe
from failure_monitor.calibration.data_quality import DataQuality
from failure_monitor.decision import PolicyFormat, Rollout


def good(count: int = 12) -> list[Rollout]:
    return [synthetic_rollout(seed) for seed in range(count)]


def audited(planted: Rollout, **changes: object) -> Audit:
    rollouts = [*good(), replace(planted, name="planted", sha256="f" * 64)]
    return audit(rollouts, [POLICY] * len(rollouts), **changes)


def looked_at(rollouts: Sequence[RolloutAudit]) -> int:
    assert all(each.verdict != "drop" for each in rollouts)
    return sum(each.verdict == "look" for each in rollouts)


def test_hardly_anything_is_wrong_with_good_rollouts():
    found = audit(good(20), [POLICY] * 20)
    assert looked_at(found.rollouts) <= 1
    assert all(0 < each.trajectory_p <= 1 and 0 < each.scores_p <= 1 for each in found.rollouts)


def embeddings(rollout: Rollout, change: np.ndarray) -> Rollout:
    return replace(rollout, embeddings=(rollout.embeddings + change).astype(np.float32))


def with_nan() -> Rollout:
    rollout = synthetic_rollout(50)
    rollout.chunks[7, 3, 2, 1] = np.nan
    return rollout


def frozen() -> Rollout:
    rollout = synthetic_rollout(50)
    rollout.embeddings[5:8] = rollout.embeddings[5]
    return rollout


def gap() -> Rollout:
    rollout = synthetic_rollout(50)
    return replace(rollout, stamps=rollout.stamps + 0.9 * (np.arange(12) > 4))


def wrong_scene() -> Rollout:
    return embeddings(synthetic_rollout(50), np.full(POLICY.embedding_size, 3.0))


def aimless() -> Rollout:
    rollout = synthetic_rollout(50)
    noise = np.random.default_rng(0).normal(size=rollout.chunks.shape).astype(np.float32)
    return replace(rollout, chunks=rollout.chunks + 3 * noise)


@pytest.mark.parametrize(
    ("planted", "verdict", "reason"),
    [
        (replace(synthetic_rollout(50), success=False), "drop", "it failed"),
        (with_nan(), "drop", "1 decisions have NaN or infinite values, the first is 7"),
        (
            frozen(),
            "look",
            "2 decisions have the very embedding of the one before, the first is 6",
        ),
        (gap(), "look", "1.00 s without a decision after decision 4, usually 0.10 s"),
        (wrong_scene(), "look", "by its state trajectory it is unlike all others"),
        (aimless(), "look", "by its scores it is unlike all others"),
    ],
    ids=["failure", "nan", "frozen", "gap", "wrong scene", "aimless"],
)
def test_a_planted_defect_is_found_and_told(planted: Rollout, verdict: str, reason: str):
    *others, found = audited(planted).rollouts
    assert looked_at(others) <= 2
    assert found.verdict == verdict
    assert any(reason in told for told in found.reasons), found.reasons


def test_a_rollout_of_another_policy_is_told_by_what_differs():
    other = synthetic_rollout(50)
    other = replace(other, embeddings=np.tile(other.embeddings, 2))
    rollouts = [*good(), other]
    formats = [POLICY] * 12 + [replace(POLICY, embedding_size=12)]
    *_, found = audit(rollouts, formats).rollouts
    assert (found.verdict, found.trajectory_p) == ("drop", None)
    assert found.reasons == ("another policy: embedding size 12, most have 6",)


def test_measured_positions_far_from_all_others_are_worth_a_look():
    def measured(rollout: Rollout, offset: float) -> Rollout:
        positions = np.cumsum(np.full((12, 2), 0.01), axis=0) + offset
        return replace(rollout, positions=positions.astype(np.float32))

    rollouts = [measured(each, 0.0) for each in good()] + [measured(synthetic_rollout(50), 1.0)]
    *others, found = audit(rollouts, [POLICY] * 13).rollouts
    assert not any("position" in told for each in others for told in each.reasons)
    assert "position 0 is far outside of 0.01 to 0.12" in found.reasons[0]


def test_how_a_bag_was_received_is_part_of_it():
    drifting = ReceptionQuality(delay_spread=0.5, lost=0)
    *_, found = audited(synthetic_rollout(50), receptions={"f" * 64: drifting}).rollouts
    assert "bag time and header stamps drift apart by 0.50 s" in found.reasons[0]
    losing = ReceptionQuality(delay_spread=0.0, lost=9)
    *_, found = audited(synthetic_rollout(50), receptions={"f" * 64: losing}).rollouts
    assert "9 messages of its bag had no partner" in found.reasons[0]


def test_few_rollouts_are_not_compared_and_that_is_said():
    found = audit(good(3), [POLICY] * 3)
    assert [each.trajectory_p for each in found.rollouts] == [None] * 3
    assert "3 sound rollouts are too few" in found.remarks[0]


@given(arrays(np.float64, st.integers(5, 40), elements=st.floats(-1e6, 1e6), unique=True))
def test_p_values_of_rollouts_that_differ_are_their_ranks(maxima: np.ndarray):
    p = Unlike.of(maxima).p
    assert sorted(p) == pytest.approx(np.arange(1, len(maxima) + 1) / len(maxima))
    assert p[maxima.argmax()] == pytest.approx(1 / len(maxima))


def test_p_values_of_alike_rollouts_are_hardly_ever_small():
    rng = np.random.default_rng(0)
    shares = [np.mean(Unlike.of(rng.normal(size=19)).p <= 0.1) for _ in range(200)]
    assert np.mean(shares) <= 0.1


def test_the_situation_settles_all_or_nothing():
    rng = np.random.default_rng(0)

    def rollout(seed: int, *, settled: bool) -> Rollout:
        made = synthetic_rollout(seed)
        noise = rng.normal(size=made.chunks.shape).astype(np.float32)
        return made if settled else replace(made, chunks=noise)

    settled = DataQuality.of([rollout(seed, settled=True) for seed in range(20)])
    aimless = DataQuality.of([rollout(seed, settled=False) for seed in range(20)])
    assert settled.action_divergence < 0.3
    assert aimless.action_divergence == pytest.approx(1.0, abs=0.1)


def test_the_quality_of_what_never_changes_cannot_be_told():
    constant = [replace(each, embeddings=np.ones_like(each.embeddings)) for each in good(6)]
    assert DataQuality.of(constant) == DataQuality(None, None)
    assert DataQuality.of(good(1)) == DataQuality(None, None)


def test_an_unknown_format_does_not_hide_behind_a_known_one():
    formats = [POLICY] * 6 + [
        PolicyFormat(
            **{**vars(POLICY), "action_names": ("a", "b", "gripper"), "position_names": ()}
        )
    ]
    *_, found = audit([*good(6), synthetic_rollout(50)], formats).rollouts
    assert "action names ('a', 'b', 'gripper')" in found.reasons[0]


def alone(rollout: Rollout, reception: ReceptionQuality | None = None) -> RolloutAudit:
    """Return the audit of one rollout, which is compared with no other."""
    receptions = {} if reception is None else {rollout.sha256: reception}
    (found,) = audit([rollout], [POLICY], receptions=receptions).rollouts
    return found


def verdict_and_reasons(found: RolloutAudit, reason: str) -> tuple[str, list[bool]]:
    return found.verdict, [reason in each for each in found.reasons]


KEPT: tuple[str, list[bool]] = ("keep", [])
FLAGGED = ("look", [True])
"""Flagged for the reason in question, and for no other."""


@pytest.mark.parametrize("period", [0.1, 0.5])
@pytest.mark.parametrize(("periods", "expected"), [(2.99, KEPT), (3.01, FLAGGED)])
def test_a_gap_is_flagged_above_three_usual_times(period, periods, expected):
    steps = np.full(11, period)
    steps[4] = periods * period
    rollout = replace(synthetic_rollout(0), stamps=np.concatenate([[0.0], np.cumsum(steps)]))
    assert verdict_and_reasons(alone(rollout), "without a decision after decision 4") == expected


@pytest.mark.parametrize("period", [0.1, 0.5])
@pytest.mark.parametrize(("periods", "expected"), [(0.99, KEPT), (1.01, FLAGGED)])
def test_clocks_that_drift_are_flagged_above_one_usual_time(period, periods, expected):
    rollout = replace(synthetic_rollout(0), stamps=period * np.arange(12))
    drifting = ReceptionQuality(delay_spread=periods * period, lost=0)
    assert verdict_and_reasons(alone(rollout, drifting), "drift apart") == expected


@pytest.mark.parametrize(("decisions", "most"), [(100, 10), (1000, 100)])
@pytest.mark.parametrize(("more", "expected"), [(0, KEPT), (1, FLAGGED)])
def test_lost_messages_are_flagged_above_a_twentieth_of_two_a_decision(
    decisions, most, more, expected
):
    losing = ReceptionQuality(delay_spread=0.0, lost=most + more)
    found = alone(synthetic_rollout(0, decisions=decisions), losing)
    assert verdict_and_reasons(found, f"{most + more} messages of its bag") == expected


@pytest.mark.parametrize("compared_by", ["state trajectory", "scores"])
@pytest.mark.parametrize(("largest", "expected"), [(17.99, KEPT), (18.01, FLAGGED)])
def test_a_rollout_is_unlike_all_others_above_the_outer_fence(
    compared_by, largest, expected, monkeypatch
):
    # The quartiles are 2 and 6, so that the outer fence is at 6 + 3 (6 - 2) = 18.
    maxima = [*range(8), largest]

    def held_out(rollouts: Sequence[Rollout], recipe: Recipe, **settings: object) -> HeldOutScores:
        by_trajectory = recipe.scores == audit_module.TRAJECTORY_SCORES
        unlike = by_trajectory == (compared_by == "state trajectory")
        series = [
            np.full((len(rollout), len(recipe.scores)), value if unlike else 1.0)
            for rollout, value in zip(rollouts, maxima, strict=True)
        ]
        return HeldOutScores(np.zeros(len(rollouts), dtype=np.int64), tuple(series))

    monkeypatch.setattr(audit_module, "cross_fit", held_out)
    *others, found = audit(good(9), [POLICY] * 9).rollouts
    assert looked_at(others) == 0
    assert verdict_and_reasons(found, f"by its {compared_by} it is unlike all others") == expected


def positioned(rollout: Rollout, changed: float | None = None) -> Rollout:
    """Return a rollout with measured positions from 0 to 1, one of them changed."""
    positions = np.tile(np.linspace(0, 1, len(rollout), dtype=np.float32)[:, np.newaxis], 2)
    if changed is not None:
        positions[6, 1] = changed
    return replace(rollout, positions=positions)


@pytest.mark.parametrize(
    ("position", "flagged"), [(1.49, False), (1.51, True), (-0.49, False), (-0.51, True)]
)
def test_a_position_is_flagged_by_more_than_half_the_range_of_the_others_outside_of_it(
    position, flagged
):
    rollouts = [*map(positioned, good(9)), positioned(synthetic_rollout(9), position)]
    *others, found = audit(rollouts, [POLICY] * 10).rollouts
    assert looked_at(others) == 0
    reason = "position 1 is far outside of 0 to 1, where the others stay, first at decision 6"
    assert verdict_and_reasons(found, reason) == (FLAGGED if flagged else KEPT)


@pytest.mark.parametrize(("sound", "compared"), [(4, False), (5, True)])
def test_five_sound_rollouts_are_compared_with_one_another_and_four_are_not(sound, compared):
    unlike = embeddings(synthetic_rollout(50), np.full(POLICY.embedding_size, 3.0))
    failed = replace(synthetic_rollout(51), success=False)
    rollouts = [*map(positioned, good(sound - 1)), positioned(unlike, 9.0), positioned(failed)]
    result = audit(rollouts, [POLICY] * len(rollouts))
    found = result.rollouts[sound - 1]
    assert found.verdict == ("look" if compared else "keep")
    for reason in ("position 1 is far outside", "by its state trajectory it is unlike all others"):
        assert any(reason in each for each in found.reasons) == compared
    assert (found.trajectory_p is not None, found.scores_p is not None) == (compared, compared)
    too_few = "4 sound rollouts are too few to compare with one another: record 5 or more"
    assert (too_few in result.remarks) == (not compared)
