# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a calibrated judge promises of both classes, and its file."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.judges.judge import (
    CalibratedJudge,
    JudgeWord,
    TooFewLabelsError,
    calibrated_judge,
)
from failure_monitor.judges.judge_file import JudgeFileError, load_judge, save_judge

JUDGE = calibrated_judge(
    "reward", successes=np.linspace(0.5, 1.0, 20), failures=np.linspace(0.0, 0.6, 19)
)


def share(judge: CalibratedJudge, values, word: JudgeWord) -> float:
    return float(np.mean([judge.verdict(float(value)).word is word for value in values]))


@pytest.mark.parametrize("worth", [0.0, 1.0, 4.0], ids=["worthless", "some", "good"])
@pytest.mark.parametrize(("failures", "alpha"), [(9, 0.1), (19, 0.05), (25, 0.2)])
def test_no_more_failures_are_accepted_than_the_labels_support(worth, failures, alpha):
    """Whatever the judge is worth, and however unequal the classes are."""
    random = np.random.default_rng(7)
    accepted, doubted = [], []
    for _ in range(300):
        judge = calibrated_judge(
            "reward",
            successes=random.normal(worth, 1, 30),
            failures=random.normal(0, 1, failures),
            accepted_failures=alpha,
        )
        accepted.append(share(judge, random.normal(0, 1, 40), JudgeWord.ACCEPTED))
        doubted.append(share(judge, random.normal(worth, 1, 40), JudgeWord.DOUBTFUL))
    # Three standard errors over the draw of the labels.
    assert np.mean(accepted) <= judge.supported_rate + 3 * np.std(accepted) / 300**0.5
    assert judge.supported_rate <= alpha
    assert np.mean(doubted) <= 0.1 + 3 * np.std(doubted) / 300**0.5
    # The doubts are not bought by silence: 3 of 31 ranks.
    assert np.mean(doubted) > 0.07


def test_a_number_is_accepted_doubted_or_for_a_human():
    words = {value: JUDGE.verdict(value).word for value in (0.2, 0.5, 0.55, 0.59, 0.7, 1.0)}
    assert words == {
        0.2: JudgeWord.DOUBTFUL,
        0.5: JudgeWord.DOUBTFUL,
        0.55: JudgeWord.ASK,
        0.59: JudgeWord.ACCEPTED,
        0.7: JudgeWord.ACCEPTED,
        1.0: JudgeWord.ACCEPTED,
    }
    verdict = JUDGE.verdict(0.59)
    assert verdict.reason == (
        "4 of 20 labelled successes are as low, and 1 of 19 labelled failures are as high"
    )
    assert (verdict.failure, verdict.success) == (2 / 20, 5 / 21)


def test_a_number_far_beyond_all_labels_is_for_a_human():
    """A judge that changes from shares to percents would accept everything."""
    for value in (95.0, 1e300):
        verdict = JUDGE.verdict(value)
        assert verdict.word is JudgeWord.ASK
        assert "has its scale changed?" in verdict.reason
    assert JUDGE.verdict(1.9).word is JudgeWord.ACCEPTED
    assert JUDGE.verdict(-95.0).word is JudgeWord.DOUBTFUL


@given(st.floats(-2, 2))
def test_lower_may_be_better(value):
    mirrored = calibrated_judge(
        "energy",
        better="lower",
        successes=[-each for each in JUDGE.successes],
        failures=[-each for each in JUDGE.failures],
    )
    one, other = JUDGE.verdict(value), mirrored.verdict(-value)
    assert (one.word, one.failure, one.success) == (other.word, other.failure, other.success)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_better_number_is_never_more_like_a_failure(one, other):
    low, high = (JUDGE.verdict(value) for value in sorted((one, other)))
    assert high.failure <= low.failure
    assert high.success >= low.success


def test_equal_numbers_count_against_acceptance():
    judge = calibrated_judge("reward", successes=[1.0] * 20, failures=[1.0] * 20)
    assert judge.verdict(1.0).word is JudgeWord.ASK
    assert (judge.verdict(1.0).failure, judge.verdict(1.0).success) == (1.0, 1.0)


def test_the_rate_is_never_below_what_ranks_allow():
    for failures in (9, 10, 19, 20, 37):
        judge = calibrated_judge("reward", successes=range(20), failures=range(failures))
        # The smallest rate above 0 that so many ranks can have is 1/(n+1).
        assert 1 / (failures + 1) <= judge.supported_rate <= 0.1
        low, high = judge.rate_interval
        assert low < judge.supported_rate < high


@pytest.mark.parametrize(
    ("successes", "failures", "sentence"),
    [
        (
            20,
            4,
            "the judge 'reward' has numbers of 4 labelled failures, which support no rate below "
            "0.2, and 0.1 was asked for: label 5 more failures, or ask for --accepted-failures "
            "0.2 or more",
        ),
        (8, 20, "label 1 more successes, or ask for --doubted-successes 0.112 or more"),
        (20, 0, "has numbers of 0 labelled failures, which support no rate below 1, and 0.1 was"),
    ],
)
def test_too_few_labels_are_refused_with_how_many_more(successes, failures, sentence):
    with pytest.raises(TooFewLabelsError) as caught:
        calibrated_judge("reward", successes=range(successes), failures=range(failures))
    assert sentence in str(caught.value)


def test_what_the_refusal_asks_for_is_enough():
    for alpha, needed in ((0.1, 9), (0.05, 19), (0.3, 3)):
        settings = {"successes": range(9), "accepted_failures": alpha}
        with pytest.raises(TooFewLabelsError):
            calibrated_judge("reward", failures=range(needed - 1), **settings)
        calibrated_judge("reward", failures=range(needed), **settings)
    calibrated_judge("reward", successes=range(8), failures=range(9), doubted_successes=0.112)


def test_a_judge_is_kept_in_a_file(tmp_path):
    save_judge(JUDGE, tmp_path / "reward.json")
    assert load_judge(tmp_path / "reward.json") == JUDGE


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 2}, "was written by a newer failure_monitor"),
        ({"name": "a/b"}, "name: expected letters, digits and underscores"),
        ({"better": "faster"}, "better: expected one of 'higher', 'lower'"),
        ({"accepted_failures": 0}, "accepted_failures: expected a number above 0"),
        ({"accepted_failures": 0.01}, "19 labelled failures do not support a rate of 0.01"),
        ({"failures": [3.0, *range(19)]}, "its numbers of failures in ascending order"),
        ({"failures": [float("nan")] * 20}, "expected a finite number"),
        ({"accepted_failures": 5e-324}, "do not support a rate of 4.94066e-324"),
        ({"what": "a bundle"}, "what: expected one of"),
        ({"more": 1}, "more: unknown"),
    ],
)
def test_a_file_is_read_strictly(tmp_path, changes, sentence):
    path = tmp_path / "reward.json"
    save_judge(JUDGE, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(JudgeFileError) as caught:
        load_judge(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_file_of_a_judge_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "half.json").write_text('{"what": ')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "large.json").write_bytes(b" " * 5_000_000)
    for name, sentence in {
        "missing.json": "does not exist",
        "pipe": "is no file",
        "half.json": "it is not valid JSON",
        "deep.json": "it is not valid JSON",
        "large.json": "has more than 4000000 bytes",
    }.items():
        with pytest.raises(JudgeFileError, match=sentence):
            load_judge(tmp_path / name)


def test_a_judge_that_could_not_be_read_again_is_not_written(tmp_path):
    numbers = np.random.default_rng(0).random(100_000)
    judge = calibrated_judge("reward", successes=numbers, failures=numbers, better="lower")
    # No verdict goes through all numbers again.
    words = {judge.verdict(float(number)).word for number in numbers[:20_000]}
    assert words == {JudgeWord.ACCEPTED, JudgeWord.DOUBTFUL, JudgeWord.ASK}
    with pytest.raises(JudgeFileError, match="of 200000 labelled rollouts would have"):
        save_judge(judge, tmp_path / "judge.json")
    assert not any(tmp_path.iterdir())


def test_a_judge_that_could_not_have_been_calibrated_is_none():
    with pytest.raises(ValueError, match="do not support"):
        replace(JUDGE, failures=JUDGE.failures[:5])
