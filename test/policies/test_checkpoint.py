# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is known by what is in it, not by where it lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from failure_monitor.policies.checkpoint import (
    CheckpointError,
    checkpoint_hash,
    checkpoint_of,
    folder_of,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "pretrained_model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"type": "act"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "policy_postprocessor.json").write_text("{}")
    (folder / "policy_postprocessor_step_0_unnormalizer_processor.safetensors").write_bytes(b"1")
    return folder


def test_a_copy_has_the_same_hash_whatever_else_lies_in_it(checkpoint: Path, tmp_path: Path):
    copied = shutil.copytree(checkpoint, tmp_path / "elsewhere")
    (copied / "train_config.json").write_text("{}")
    (copied / "README.md").write_text("mine")
    assert checkpoint_hash(copied) == checkpoint_hash(checkpoint)
    assert len(checkpoint_hash(checkpoint)) == 64


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "policy_postprocessor.json",
        "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
    ],
)
def test_every_part_counts(checkpoint: Path, name: str):
    before = checkpoint_hash(checkpoint)
    content = json.dumps({"type": "act", "other": 1}) if name == "config.json" else "other"
    (checkpoint / name).write_text(content)
    assert checkpoint_hash(checkpoint) != before


def test_the_folder_above_is_meant_too(checkpoint: Path):
    """Training writes checkpoints/last/pretrained_model."""
    assert checkpoint_hash(checkpoint.parent) == checkpoint_hash(checkpoint)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: shutil.rmtree(folder), "is no folder|cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "is no JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "the type of the policy"),
        (lambda folder: [each.unlink() for each in folder.glob("*.safetensors")], "no weights"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_refused(checkpoint: Path, change, sentence: str):
    change(checkpoint)
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint_hash(checkpoint)


WEIGHTS, STEP = "model.safetensors", "policy_postprocessor.json"


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (WEIGHTS, lambda path: path.unlink(), "has no weights"),
        (WEIGHTS, lambda path: path.write_bytes(b""), "empty, or a link to nothing"),
        (WEIGHTS, lambda path: (path.unlink(), path.symlink_to("nowhere")), "a link to nothing"),
        (WEIGHTS, lambda path: (path.unlink(), path.mkdir()), "a link to nothing"),
        (STEP, lambda path: (path.unlink(), path.symlink_to("nowhere")), "a link to nothing"),
    ],
)
def test_a_part_that_is_not_there_is_not_left_out(checkpoint: Path, name, change, sentence: str):
    """Checkpoints with other weights would have the same hash."""
    change(checkpoint / name)
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint_hash(checkpoint)


@pytest.mark.parametrize("stated", [None, "", "somebody/policy"])
def test_a_policy_may_not_know_its_folder(stated):
    policy = SimpleNamespace(config=SimpleNamespace(pretrained_path=stated))
    assert checkpoint_of(policy) == (stated or "")
    assert folder_of(checkpoint_of(policy)) is None
