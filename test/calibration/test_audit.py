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

from failure_monitor.calibration.audit import Audit, ReceptionQuality, RolloutAudit, Unlike, audit
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
        (frozen(), "look", "2 decisions have the very embedding of the one before, the first is 6"),
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
