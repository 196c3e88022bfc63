# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The outcome check: whether an end is like the ends of true successes."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import yaml
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle import folder as bundles
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.outcome_fitting import EndSettings, fit_outcome_check
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.joint_motion import JointMotion
from failure_monitor.outcome.rollout_end import RolloutEnd
from failure_monitor.outcome.stored_check import StoredEndsError, arrays_of, ends_from
from failure_monitor.outcome.verdict import OutcomeWord

SETTINGS = CalibrationSettings(scores=("mahalanobis", "ace"), jobs=1)


def lasting(seed, **changed):
    return replace(synthetic_rollout(seed, decisions=10 + seed % 5), **changed)


def end_of(rollout):
    end = RolloutEnd.of_rollout(rollout)
    assert end is not None
    return end


@pytest.fixture(scope="module")
def bundle():
    return calibrate([lasting(seed) for seed in range(20)], POLICY, SETTINGS)


@pytest.fixture(scope="module")
def check(bundle):
    return bundle.outcome_check


def test_true_successes_are_mostly_confirmed(check):
    words = [check.check(end_of(lasting(seed)), "").word for seed in range(100, 140)]
    assert set(words) <= {OutcomeWord.CONFIRMED, OutcomeWord.DOUBTFUL}
    assert words.count(OutcomeWord.DOUBTFUL) <= 10


def test_a_rollout_that_ends_half_way_is_doubted_for_its_length_and_its_embedding(check):
    verdict = check.check(end_of(lasting(101).beginning(5)), "")
    assert verdict.word is OutcomeWord.DOUBTFUL
    assert verdict.level > 1
    assert verdict.rollouts == 20
    assert verdict.rollouts_below >= 19
    assert "ended after 5 decisions, true successes after 10 to 14" in verdict.reason
    assert "what the policy sees at the end" in verdict.reason


def test_a_rollout_that_lasts_too_long_is_doubted(check):
    verdict = check.check(replace(end_of(lasting(101)), length=40), "")
    assert verdict.word is OutcomeWord.DOUBTFUL
    assert "ended after 40 decisions" in verdict.reason


def test_a_bundle_keeps_its_check(bundle, check, tmp_path):
    bundles.save(bundle, tmp_path / "bundle")
    read = bundles.load(tmp_path / "bundle").outcome_check
    for rollout in (lasting(101), lasting(102).beginning(6)):
        assert read.check(end_of(rollout), "") == check.check(end_of(rollout), "")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (end_of(lasting(101).beginning(1)), "ended after 1 decision, and the last 3 are compared"),
        (end_of(replace(lasting(101), embeddings=np.ones((11, 3), np.float32))), "shape"),
        (
            end_of(replace(lasting(101), embeddings=np.full((11, 6), np.nan, np.float32))),
            "NaN or infinite",
        ),
    ],
)
def test_what_cannot_be_compared_is_not_judged(check, end, reason):
    verdict = check.check(end, "")
    assert verdict.word is OutcomeWord.NOT_JUDGED
    assert reason in verdict.reason
    assert verdict.level is None


def test_each_task_has_its_own_ends_and_another_is_not_judged():
    def backwards(rollout):
        return replace(rollout, embeddings=rollout.embeddings[::-1].copy(), task="put back")

    rollouts = [lasting(seed, task="fetch") for seed in range(10)]
    rollouts += [backwards(lasting(seed)) for seed in range(10, 20)]
    check = calibrate(rollouts, POLICY, SETTINGS).outcome_check
    end = end_of(lasting(101))
    assert check.check(end, "put back").word is OutcomeWord.DOUBTFUL
    assert check.check(end, "fetch").word is OutcomeWord.CONFIRMED
    for task in ("", "sweep"):
        assert check.check(end, task).word is OutcomeWord.NOT_JUDGED
        assert "fetch, put back" in check.check(end, task).reason


def test_too_few_rollouts_for_its_alpha_leave_the_rule_as_it_is():
    settings = replace(SETTINGS, alpha=0.2)
    made = calibrate([lasting(seed) for seed in range(6)], POLICY, settings)
    verdict = made.outcome_check.check(end_of(lasting(101)), "")
    assert verdict.word is OutcomeWord.NOT_JUDGED
    assert "6 calibration rollouts cannot promise" in verdict.reason


def test_alpha_0_turns_it_off():
    settings = replace(SETTINGS, outcome_alpha=0.0)
    made = calibrate([lasting(seed) for seed in range(10)], POLICY, settings)
    assert made.outcome_check is None
    assert made.description.outcome is None


def test_values_beyond_all_measure_are_doubted_without_an_error(check):
    far = replace(lasting(101), embeddings=np.full((11, 6), 3e38, np.float32))
    assert check.check(end_of(far), "").word is OutcomeWord.DOUBTFUL


def test_with_rollouts_to_fit_on_the_limits_are_of_the_others():
    made = calibrate(
        [lasting(seed) for seed in range(20)],
        POLICY,
        SETTINGS,
        fit_rollouts=[lasting(seed) for seed in range(40, 60)],
    )
    verdict = made.outcome_check.check(end_of(lasting(101).beginning(5)), "")
    assert (verdict.word, verdict.rollouts) == (OutcomeWord.DOUBTFUL, 20)
    assert made.outcome_check.check(end_of(lasting(102)), "").word is OutcomeWord.CONFIRMED


def test_across_tasks_an_end_of_a_new_task_is_judged():
    tasks = [f"task {number}" for number in range(10)]
    rollouts = [
        lasting(10 * row + column, task=task)
        for row, task in enumerate(tasks)
        for column in range(3)
    ]
    made = calibrate(rollouts, POLICY, replace(SETTINGS, promise="across-tasks"))
    verdict = made.outcome_check.check(end_of(lasting(200).beginning(5)), "another")
    assert verdict.word is OutcomeWord.DOUBTFUL


def with_positions(rollout):
    path = np.linspace(0, 1, len(rollout))[:, np.newaxis] * [0.3, 0.1]
    noise = 0.01 * np.random.default_rng(len(rollout)).normal(size=path.shape)
    return replace(rollout, positions=(path + noise).astype(np.float32))


def test_measured_positions_count_where_the_rule_needs_them_and_must_not_be_missing():
    policy = replace(POLICY, executed_actions=2)
    rollouts = [with_positions(lasting(seed)) for seed in range(20)]
    settings = replace(SETTINGS, scores=("tracking", "mahalanobis"))
    check = calibrate(rollouts, policy, settings).outcome_check
    assert "positions" in check.parts
    moved = with_positions(lasting(101))
    moved.positions[-1] += [0.0, 0.2]
    verdict = check.check(end_of(moved), "")
    assert verdict.word is OutcomeWord.DOUBTFUL
    assert "dy is" in verdict.reason
    without = check.check(end_of(lasting(101)), "")
    assert without.word is OutcomeWord.NOT_JUDGED
    assert "no positions were measured" in without.reason


def test_what_is_left_out_is_told_with_the_reason(check):
    assert check.parts == ("embedding", "actions", "length")
    assert "no score of the rule needs them" in check.left_out["positions"]


def test_a_check_travels_to_another_process(check):
    end = end_of(lasting(101).beginning(6))
    assert pickle.loads(pickle.dumps(check)).check(end, "") == check.check(end, "")


def test_a_bundle_whose_ends_are_damaged_is_rejected(bundle, tmp_path):
    ends = bundle.outcome_check.tasks[""]
    ends = replace(ends, threshold=replace(ends.threshold, limits=np.full(20, np.nan)))
    damaged = replace(bundle, outcome_check=replace(bundle.outcome_check, tasks={"": ends}))
    bundles.save(damaged, tmp_path / "bundle")
    with pytest.raises(bundles.BundleError, match="'limits' of the ends of true successes"):
        bundles.load(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("needed", np.array(21.0)),
        ("needed", np.array(0.0)),
        ("needed", np.array([18.0])),
        ("weights", np.zeros(20)),
        ("weights", np.full(20, "1")),
        ("weights", np.full(20, 1j)),
        ("embedding.low", np.zeros(5)),
        ("length.mean", np.zeros((10, 2))),
        ("length.noise", np.array(1.0)),
    ],
)
def test_ends_that_would_fail_when_a_rollout_ends_are_rejected_before(check, name, value):
    stored = arrays_of(check.tasks[""])
    assert ends_from(stored, check.parts, "any", check.format).models.keys() == {*check.parts}
    with pytest.raises(StoredEndsError):
        ends_from({**stored, name: value}, check.parts, "any", check.format)


def test_a_bundle_that_knows_the_ends_of_another_task_is_rejected(bundle, tmp_path):
    bundles.save(bundle, tmp_path / "bundle")
    path = tmp_path / "bundle" / "bundle.yaml"
    content = yaml.safe_load(path.read_text())
    content["outcome"]["tasks"][0]["task"] = "another"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(bundles.BundleError, match="the ends of other tasks"):
        bundles.load(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        (["put back"] * 20, "none of the rollouts to fit on is of this task"),
        (["put back"] * 18 + ["fetch"] * 2, "3 ends or more are needed to learn from"),
    ],
)
def test_rollouts_to_fit_on_of_another_task_leave_the_ends_unjudged_with_the_reason(
    others, reason
):
    made = calibrate(
        [lasting(seed, task="fetch") for seed in range(20)],
        POLICY,
        SETTINGS,
        fit_rollouts=[lasting(40 + place, task=task) for place, task in enumerate(others)],
    )
    verdict = made.outcome_check.check(end_of(lasting(101)), "fetch")
    assert verdict.word is OutcomeWord.NOT_JUDGED
    assert reason in verdict.reason


def with_the_same_end(seed):
    rollout = synthetic_rollout(seed, decisions=12)
    embeddings, chunks = rollout.embeddings.copy(), rollout.chunks.copy()
    embeddings[-3:], chunks[-3:] = 1.0, 0.5
    return replace(rollout, embeddings=embeddings, chunks=chunks)


def test_ends_that_are_all_the_same_judge_nothing():
    made = calibrate([with_the_same_end(seed) for seed in range(20)], POLICY, SETTINGS)
    verdict = made.outcome_check.check(end_of(with_the_same_end(30)), "")
    assert verdict.word is OutcomeWord.NOT_JUDGED
    assert "most of these ends are exactly alike" in verdict.reason


def test_what_never_differed_is_far_off_in_plain_words():
    rollouts = [synthetic_rollout(seed, decisions=12) for seed in range(20)]
    check = calibrate(rollouts, POLICY, SETTINGS).outcome_check
    verdict = check.check(end_of(synthetic_rollout(101, decisions=13)), "")
    assert verdict.reason.startswith(
        "ended after 13 decisions, true successes after 12 (more than 1000 times its limit)"
    )


def test_a_single_named_task_need_not_be_named_but_no_other_is_judged():
    rollouts = [lasting(seed, task="fetch") for seed in range(12)]
    check = calibrate(rollouts, POLICY, SETTINGS).outcome_check
    assert check.check(end_of(lasting(101)), "").word is OutcomeWord.CONFIRMED
    assert check.check(end_of(lasting(101)), "sweep").word is OutcomeWord.NOT_JUDGED


def with_gripper(rollout, opening):
    states = np.full((len(rollout), 1), opening)
    return replace(rollout, joints=JointMotion(("finger/position",), states, states))


def test_a_gripper_that_is_open_at_the_end_is_named():
    openings = 0.02 + 0.001 * np.random.default_rng(0).normal(size=20)
    rollouts = [with_gripper(lasting(seed), opening) for seed, opening in enumerate(openings)]
    settings = EndSettings(0.1, ("joints", "length"), ("finger/position",))
    check = fit_outcome_check(rollouts, np.arange(20) % 10, POLICY, settings)
    verdict = check.check(end_of(with_gripper(lasting(101), 0.04)), "")
    assert verdict.word is OutcomeWord.DOUBTFUL
    assert verdict.reason.startswith("finger/position is 0.04 at the end, 0.01")
    assert check.check(end_of(with_gripper(lasting(101), 0.02)), "").word is OutcomeWord.CONFIRMED
    for missing in (lasting(101), with_gripper(lasting(101), np.nan)):
        assert check.check(end_of(missing), "").word is OutcomeWord.NOT_JUDGED
