# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy that publishes no embedding is calibrated, evaluated and inspected like any other."""

from __future__ import annotations

import numpy as np
import pytest
from testbed.bags import BEGIN, EMBEDDING, PERIOD, BagBuilder
from testbed.command_line import run_here, write_rollout_bag
from testbed.synthetic import synthetic_rollout, without_embedding

from failure_monitor.bundle.folder import load
from failure_monitor.decision import InvalidDecisionError
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError, Topics

OPTIONS = ("--executed-actions", "2", "--action-kind", "delta", "--jobs", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bags of a policy with an embedding and without, and a bundle of the latter."""
    folder = tmp_path_factory.mktemp("policies")
    for seed in range(12):
        rollout = synthetic_rollout(seed)
        write_rollout_bag(folder / "without" / f"rollout_{seed}", without_embedding(rollout))
        if seed < 2:
            write_rollout_bag(folder / "with" / f"rollout_{seed}", rollout)
    result = run_here("calibrate", folder / "without", "--output", folder / "bundle", *OPTIONS)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "the rule is of dispersion_profile, chunk_lag, stac: the best that is known" in said
    assert "no embedding: with it the rule knows what the policy sees" in said
    return folder


def test_the_bundle_is_of_a_policy_without_an_embedding(folder):
    bundle = load(folder / "bundle")
    assert bundle.policy.embedding_size == 0
    assert [score.name for score in bundle.scores] == ["dispersion_profile", "chunk_lag", "stac"]
    assert bundle.limits.embedding.shape == (0,)
    text = " ".join(run_here("inspect", folder / "bundle").stdout.split())
    assert "embeddings │ none" in text
    assert "no embedding: with it" in text


def test_its_rollouts_are_evaluated(folder):
    result = run_here("evaluate", folder / "bundle", folder / "without", "--jobs", "1")
    assert result.exit_code == 0, result.output


def test_a_rollout_is_scored_the_same_decision_by_decision(folder):
    bundle = load(folder / "bundle")
    rollout = without_embedding(synthetic_rollout(99))
    monitor = bundle.monitor()
    levels = [monitor.update(decision).level for decision in rollout.decisions()]
    np.testing.assert_allclose(levels, bundle.levels(rollout), rtol=1e-6)


@pytest.mark.parametrize("kind", ["archive", "dataset"])
def test_archives_and_datasets_hold_them_too(folder, tmp_path, kind):
    if kind == "archive":
        path = tmp_path / "rollouts.npz"
        written = run_here("archive", folder / "without", "--output", path)
        assert written.exit_code == 0, written.output
        assert "obs_embedding" not in np.load(path).files
    else:
        path = tmp_path / "dataset"
        written = run_here("archive", folder / "without", "--lerobot", path, *OPTIONS[:4])
        assert written.exit_code == 0, written.output
    before, after = read_rollouts([folder / "without"]), read_rollouts([path])
    assert after.policy.embedding_size == 0
    for one, other in zip(before.rollouts, after.rollouts, strict=True):
        assert other.embeddings.shape == (len(one), 0)
        np.testing.assert_array_equal(other.chunks, one.chunks)


def test_an_archive_may_hold_an_embedding_of_no_number(folder, tmp_path):
    path = tmp_path / "rollouts.npz"
    run_here("archive", folder / "without", "--output", path)
    arrays = dict(np.load(path))
    np.savez(path, **arrays, obs_embedding=np.empty((len(arrays["action_chunks"]), 0), np.float32))
    assert read_rollouts([path]).policy.embedding_size == 0


def test_recorded_embeddings_can_be_left_out(folder):
    rollout_set = read_rollouts([folder / "with"], Topics(embedding=""))
    assert rollout_set.policy.embedding_size == 0
    result = run_here(
        *("evaluate", folder / "bundle", folder / "with", "--jobs", "1"),
        *("--embedding-topic", ""),
    )
    assert result.exit_code == 0, result.output


def test_a_topic_without_a_message_is_no_embedding(tmp_path):
    """A tap that is given no embedding has announced one before."""
    rollout = synthetic_rollout(0)
    with BagBuilder(tmp_path / "bag") as bag:
        bag.topic(EMBEDDING, "sensor_msgs/msg/PointCloud2")
        for index, chunks in enumerate(rollout.chunks):
            bag.chunks(chunks, BEGIN + index * PERIOD)
    assert read_rollouts([tmp_path / "bag"]).policy.embedding_size == 0


def test_a_topic_that_is_named_must_be_there(folder):
    with pytest.raises(SourceError, match="has no topic /other/embedding"):
        read_rollouts([folder / "without"], Topics(embedding="/other/embedding"))


def test_policies_with_and_without_are_not_mixed(folder):
    result = run_here("inspect", folder / "with", folder / "without")
    assert result.exit_code == 1
    assert "embedding size 6 against 0" in " ".join(result.stderr.split())


def test_a_decision_of_the_other_policy_is_refused(folder):
    bundle = load(folder / "bundle")
    with pytest.raises(InvalidDecisionError, match="the policy had none in calibration"):
        bundle.policy.check(next(synthetic_rollout(0).decisions()))


def test_scores_that_need_an_embedding_say_so(folder, tmp_path):
    for score in ("phase_knn", "mahalanobis", "one_step", "command_effect", "rnd_oe"):
        result = run_here(
            *("calibrate", folder / "without", "--output", tmp_path / "bundle", *OPTIONS),
            *("--scores", score),
        )
        assert result.exit_code == 1
        said = " ".join(result.stderr.split())
        assert f"{score}: the embeddings are missing, as the policy publishes none" in said


def test_failures_teach_by_the_scores_alone(folder, tmp_path):
    for seed in range(20, 26):
        failed = without_embedding(synthetic_rollout(seed, decisions=20))
        failed.chunks[8:] += 1.0
        write_rollout_bag(tmp_path / "failures" / f"rollout_{seed}", failed, success=False)
    result = run_here(
        *("calibrate", folder / "without", "--output", tmp_path / "bundle", *OPTIONS),
        *("--failures", tmp_path / "failures"),
    )
    assert result.exit_code == 0, result.output
    bundle = load(tmp_path / "bundle")
    assert [score.name for score in bundle.scores][-1] == "probe"
    failed = without_embedding(synthetic_rollout(30, decisions=20))
    failed.chunks[8:] += 1.0
    assert bundle.levels(failed).max() > 1
    shown = " ".join(run_here("inspect", tmp_path / "bundle").stdout.split())
    assert "and the embedding" not in shown


def test_the_audit_finds_nothing_frozen(folder):
    result = run_here("audit", folder / "without", "--jobs", "1", *OPTIONS[:4])
    assert result.exit_code == 0, result.output
    assert "very embedding" not in result.output
