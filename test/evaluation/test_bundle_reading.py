# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Sources are read for a bundle by what it holds, and what contradicts it is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor import demo
from failure_monitor.bundle.additions import with_external_topics, with_models
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.calibration.from_sources import calibrate
from failure_monitor.decision import PolicyFormat
from failure_monitor.errors import UsageError
from failure_monitor.evaluation.bundle_reading import reading_for
from failure_monitor.evaluation.evaluate import EvaluationError
from failure_monitor.evaluation.from_sources import evaluate
from failure_monitor.policy_models.onnx_file import OnnxFile, read_onnx_file
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.reading_options import ReadingOptions
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import BlackBox, SourceError, Topics

MODELS = Path(demo.__file__).parent / "models"
ENCODER, SAMPLER = (MODELS / "drawer-open-v3" / f"{name}.onnx" for name in ("encoder", "sampler"))
OTHERS = MODELS / "button-press-topdown-v3"
CAMERAS = {"camera": "/front/image_raw"}


@pytest.fixture(scope="module")
def black_box(bundle: Bundle) -> Bundle:
    return with_models(
        bundle,
        read_onnx_file(ENCODER),
        read_onnx_file(SAMPLER),
        cameras=CAMERAS,
        observation_rate=10.0,
        matching_tolerance=0.02,
        noise_seed=3,
    )


def test_what_is_not_stated_is_the_bundles(black_box: Bundle):
    with reading_for(black_box, ReadingOptions()) as completed:
        read = completed.black_box
        assert (read.rate, read.matching_tolerance, read.noise_seed) == (10.0, 0.02, 3)
        assert (read.sample_count, read.cameras) == (black_box.policy.samples, CAMERAS)
        for path, original in ((read.encoder, ENCODER), (read.sampler, SAMPLER)):
            assert path is not None
            assert path.read_bytes() == original.read_bytes()
    assert not path.exists()


def test_weights_lie_beside_their_model_again(black_box: Bundle):
    assert black_box.encoder is not None
    heavy = OnnxFile("encoder", black_box.encoder.model, {"deep/weights.bin": b"weights"})
    with reading_for(replace(black_box, encoder=heavy), ReadingOptions()) as completed:
        assert completed.black_box.encoder is not None
        assert (completed.black_box.encoder.parent / "deep/weights.bin").read_bytes() == b"weights"


def test_what_is_repeated_is_taken_and_pictures_may_be_compressed(black_box: Bundle):
    cameras = {"camera": "/front/image_raw/compressed"}
    stated = BlackBox(ENCODER, SAMPLER, cameras, "/joints", POLICY.samples, 3, 10.0, 0.02)
    with reading_for(black_box, ReadingOptions(black_box=stated)) as completed:
        assert (completed.black_box.cameras, completed.black_box.joints) == (cameras, "/joints")


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        (BlackBox(encoder=OTHERS / "encoder.onnx"), r"'--encoder .*' is another encoder than the"),
        (BlackBox(sampler=OTHERS / "sampler.onnx"), r"'--sampler .*' is another sampler than the"),
        (BlackBox(seed=0), r"'--noise-seed 0' contradicts the bundle, .* calibrated with 3"),
        (BlackBox(rate=2.5), r"'--decision-rate 2.5' contradicts the bundle, .* with 10"),
        (BlackBox(samples=999), r"'--samples 999' contradicts the bundle"),
        (BlackBox(tolerance=0.05), r"'--stamp-tolerance 0.05' contradicts .* with 0.02"),
        (BlackBox(cameras={"wrist": "/w"}), r"names the cameras wrist, .* encoder takes camera"),
        (
            BlackBox(cameras={"camera": "/w"}),
            r"'--image-topic camera:=/w' is another camera .*front",
        ),
    ],
)
def test_what_contradicts_the_bundle_is_refused_by_name(
    black_box: Bundle, stated: BlackBox, why: str
):
    with (
        pytest.raises(UsageError, match=why),
        reading_for(black_box, ReadingOptions(black_box=stated)),
    ):
        pass


def test_a_model_of_which_the_bundle_has_none_is_refused(bundle: Bundle):
    how = {"cameras": {}, "observation_rate": 0.0, "matching_tolerance": 0.05, "noise_seed": 0}
    half = with_models(bundle, None, read_onnx_file(SAMPLER), **how)
    for stated, why in (
        (BlackBox(encoder=ENCODER), "which holds no encoder"),
        (BlackBox(rate=5.0), r"'--decision-rate 5' contradicts .* calibrated without it"),
    ):
        with (
            pytest.raises(UsageError, match=why),
            reading_for(half, ReadingOptions(black_box=stated)),
        ):
            pass


def test_a_bundle_of_unknown_models_leaves_them_to_the_options(bundle: Bundle):
    stated = ReadingOptions(black_box=BlackBox(encoder=ENCODER, seed=7))
    with reading_for(bundle, stated) as completed:
        assert completed.black_box == stated.black_box


def test_topics_of_the_bundle_need_not_be_repeated(bundle: Bundle):
    description = replace(bundle.description, external_topics={"gap": "/gap", "force": "/force"})
    stated = ReadingOptions(topics=Topics(external={"gap": "/renamed"}))
    with reading_for(replace(bundle, description=description), stated) as completed:
        assert completed.topics.external == {"gap": "/renamed", "force": "/force"}
    assert with_external_topics(bundle, {"gap": "/gap"}).description.external_topics == {}


# What archives state of actions


def archive(path: Path, policy: PolicyFormat, seeds: range) -> Path:
    rollouts = tuple(replace(synthetic_rollout(seed), success=True) for seed in seeds)
    write_archive(path, RolloutSet(policy, rollouts))
    return path


STATED = replace(POLICY, action_kind="delta", executed_actions=2)
CONTRADICTIONS = [
    (replace(STATED, action_kind="position"), r"another action kind \(position\) .* \(delta\)"),
    (replace(STATED, executed_actions=3), r"another number of executed actions \(3\) .* \(2\)"),
]


@pytest.mark.parametrize(("policy", "why"), CONTRADICTIONS)
def test_evaluate_refuses_an_archive_that_contradicts_the_bundle(
    tmp_path: Path, bundle: Bundle, policy: PolicyFormat, why: str
):
    section = replace(bundle.description.policy, action_kind="delta", executed_actions=2)
    calibrated = replace(bundle, description=replace(bundle.description, policy=section))
    evaluate(calibrated, archive(tmp_path / "same.npz", STATED, range(100, 103)))
    with pytest.raises(SourceError, match=why):
        evaluate(calibrated, archive(tmp_path / "other.npz", policy, range(100, 103)))


@pytest.mark.parametrize(("policy", "why"), CONTRADICTIONS)
def test_calibrate_refuses_to_fit_on_rollouts_that_contradict_the_others(
    tmp_path: Path, policy: PolicyFormat, why: str
):
    rollouts = archive(tmp_path / "a.npz", STATED, range(9))
    others = archive(tmp_path / "b.npz", policy, range(20, 24))
    with pytest.raises(SourceError, match=why):
        calibrate(rollouts, fit=others, scores="ace", alpha=0.2)


def test_evaluate_refuses_other_position_names(tmp_path: Path, bundle: Bundle):
    some = replace(POLICY, position_names=POLICY.action_names[:1])
    section = replace(bundle.description.policy, position_names=())
    everything = replace(bundle, description=replace(bundle.description, policy=section))
    with pytest.raises(EvaluationError, match="the rollouts' position names are"):
        evaluate(everything, archive(tmp_path / "a.npz", some, range(100, 103)))
