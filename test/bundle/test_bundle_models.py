# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The exported models, and what else made the decisions, are part of the bundle."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import yaml
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor import demo
from failure_monitor.bundle.additions import with_models, with_positions_topic
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import BundleError, load, save
from failure_monitor.decision import Rollout
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.measured_positions import PositionsTopic
from failure_monitor.policy_models.onnx_file import OnnxFile, OnnxFileError, read_onnx_file
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.replay_models import unchanged_files
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import BlackBox

DEMO = Path(demo.__file__).parent
TASK = "drawer-open-v3"
MODELS = {name: DEMO / "models" / TASK / f"{name}.onnx" for name in ("encoder", "sampler")}
CAMERA = "/camera/image_raw/compressed"
HOW: Mapping[str, object] = {
    "cameras": {"front": "/front/image_raw"},
    "observation_rate": 10.0,
    "matching_tolerance": 0.05,
    "noise_seed": 3,
}


@pytest.fixture(scope="module")
def with_halves(bundle: Bundle) -> Bundle:
    encoder, sampler = (read_onnx_file(path) for path in MODELS.values())
    return with_models(bundle, encoder, sampler, **HOW)


@pytest.fixture
def folder(with_halves: Bundle, tmp_path: Path) -> Path:
    save(with_halves, tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(folder: Path, change) -> None:
    path = folder / "bundle.yaml"
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def test_models_are_kept_to_the_byte_with_what_they_were_run_with(folder: Path) -> None:
    loaded = load(folder)
    for name, path in MODELS.items():
        assert (folder / f"{name}.onnx").read_bytes() == path.read_bytes()
    assert loaded.encoder is not None
    assert loaded.sampler is not None
    assert loaded.encoder.sha256 == read_onnx_file(MODELS["encoder"]).sha256
    assert loaded.encoder.name == str(folder / "encoder.onnx")
    section = loaded.description.black_box
    assert section is not None
    said = {name: getattr(section, name) for name in HOW}
    assert said == HOW


def test_half_a_policy_may_be_kept(bundle: Bundle, tmp_path: Path) -> None:
    sampler = read_onnx_file(MODELS["sampler"])
    save(with_models(bundle, None, sampler, **HOW), tmp_path / "bundle")
    loaded = load(tmp_path / "bundle")
    assert (loaded.encoder, loaded.sampler.sha256) == (None, sampler.sha256)


def test_a_bundle_without_models_says_nothing_of_them(bundle: Bundle, tmp_path: Path) -> None:
    save(with_models(bundle, None, None, **HOW), tmp_path / "bundle")
    assert load(tmp_path / "bundle").description.black_box is None


def test_a_bundle_from_before_models_were_kept_is_read(folder: Path) -> None:
    edit(folder, lambda content: content.pop("black_box"))
    edit(folder, lambda content: content.pop("positions_topic"))
    loaded = load(folder)
    assert (loaded.encoder, loaded.sampler, loaded.description.black_box) == (None, None, None)


@pytest.mark.parametrize("name", ["encoder.onnx", "sampler.onnx"])
def test_a_model_that_is_missing_or_changed_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b"\0")
    with pytest.raises(BundleError, match=f"{name} is not the file that was calibrated"):
        load(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        load(folder)


def test_a_model_without_a_hash_is_refused(folder: Path) -> None:
    edit(folder, lambda content: content["files"].pop("encoder.onnx"))
    with pytest.raises(BundleError, match=r"no SHA-256 of the model's file 'encoder\.onnx'"):
        load(folder)


def with_weights_beside(folder: Path) -> Path:
    folder.mkdir()
    onnx.save_model(
        onnx.load(MODELS["sampler"]),
        folder / "sampler.onnx",
        save_as_external_data=True,
        location="of the sampler.bin",
        size_threshold=0,
    )
    return folder / "sampler.onnx"


def test_weights_beside_a_model_become_files_of_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    model = read_onnx_file(with_weights_beside(tmp_path / "policy"))
    save(with_models(bundle, None, model, **HOW), tmp_path / "bundle")
    shutil.rmtree(tmp_path / "policy")
    loaded = load(tmp_path / "bundle")
    assert loaded.sampler.weights == model.weights
    assert set(loaded.description.files) >= {"sampler.onnx", "sampler.weights_0"}
    from failure_monitor.policy_models.models import PolicySampler

    assert PolicySampler(loaded.sampler).horizon == 8


def test_a_model_that_names_a_file_outside_the_bundle_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    model = read_onnx_file(with_weights_beside(tmp_path / "policy"))
    save(with_models(bundle, None, model, **HOW), tmp_path / "bundle")
    edit(tmp_path / "bundle", lambda content: content["black_box"]["sampler"].pop("weights"))
    with pytest.raises(OnnxFileError, match=r"keeps weights in of the sampler\.bin"):
        load(tmp_path / "bundle")


def test_where_positions_are_measured_is_kept_where_a_score_asks(bundle: Bundle) -> None:
    topic = PositionsTopic("/joint_states", "sensor_msgs/msg/JointState", ("dx", "dy"))
    assert with_positions_topic(bundle, topic).description.positions_topic is None
    assert with_positions_topic(bundle, None) is bundle


# From the command line


def options(models: Mapping[str, Path] = MODELS) -> list[object]:
    named = [part for name, path in models.items() for part in (f"--{name}", path)]
    how = ["--decision-rate", 5, "--samples", 4, "--noise-seed", 7, "--jobs", 1]
    return [*named, "--image-topic", f"camera:={CAMERA}", *how]


CALIBRATION = ["--scores", "ace,knn", "--folds", 3]


@pytest.fixture(scope="module")
def of_bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("black_box")
    bags = [DEMO / "bags" / TASK / f"rollout_{number:04d}" for number in range(9)]
    made = run_here("calibrate", *bags, "--output", folder / "bundle", *options(), *CALIBRATION)
    assert made.exit_code == 0, made.output
    return folder / "bundle"


def test_calibrating_a_black_box_puts_all_of_it_into_the_bundle(of_bags: Path) -> None:
    loaded = load(of_bags)
    for model, path in ((loaded.encoder, "encoder"), (loaded.sampler, "sampler")):
        assert model is not None
        assert model.sha256 == read_onnx_file(MODELS[path]).sha256
    section = loaded.description.black_box
    assert section is not None
    assert section.cameras == {"camera": CAMERA}
    assert (section.observation_rate, section.noise_seed) == (5.0, 7)
    assert loaded.policy.samples == 4


def test_inspect_shows_what_decisions_were_made_of(of_bags: Path) -> None:
    result = run_here("inspect", of_bags)
    text = re.sub(r"\s+", " ", re.sub(r"[─-╿]", " ", result.output))
    assert "embeddings by encoder.onnx" in text
    assert f"camera camera on {CAMERA}" in text
    assert "observations 5 Hz, stamps within 0.05 s" in text
    assert "noise seed 7" in text


def test_decisions_that_the_models_did_not_make_are_refused(tmp_path: Path) -> None:
    rollouts: tuple[Rollout, ...] = tuple(
        replace(synthetic_rollout(seed), success=True) for seed in range(9)
    )
    write_archive(tmp_path / "set.npz", RolloutSet(POLICY, rollouts))
    result = run_here(
        "calibrate",
        tmp_path / "set.npz",
        "--output",
        tmp_path / "bundle",
        "--sampler",
        MODELS["sampler"],
        *CALIBRATION,
    )
    assert result.exit_code == 2
    assert "9 of the rollouts come from no bag" in result.output
    assert not (tmp_path / "bundle").exists()


def test_a_model_that_changes_while_bags_are_read_is_refused(tmp_path: Path) -> None:
    path = shutil.copy(MODELS["sampler"], tmp_path / "sampler.onnx")
    with pytest.raises(FailureMonitorError, match="was changed while the rollouts were read"):  # noqa: PT012, SIM117
        with unchanged_files(BlackBox(sampler=Path(path))) as (_, sampler):
            assert isinstance(sampler, OnnxFile)
            model = onnx.load(path)
            model.doc_string = "another one"
            onnx.save(model, path)
