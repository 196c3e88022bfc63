# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""That docs/onnx_contract.md is true: its example runs, and its tables name what is checked."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any, get_args

import onnx
import pytest
from testbed.repository import ROOT

from failure_monitor.messages.camera_image import ENCODINGS
from failure_monitor.policy_models.contract import (
    CONTRACT_VERSION,
    METADATA_KEY,
    TOKENS,
    TOKENS_MASK,
    EncoderContract,
    NoiseDistribution,
    SamplerContract,
)
from failure_monitor.policy_models.export import TOLERANCE
from failure_monitor.policy_models.models import ImageSize, ObservationEncoder, PolicySampler
from failure_monitor.policy_models.onnx_file import read_onnx_file

PAGE = (ROOT / "docs" / "onnx_contract.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's code leaves behind, and where it wrote its models."""
    folder = tmp_path_factory.mktemp("page")
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
            exec(compile(code, "docs/onnx_contract.md", "exec"), names)
    return names | {"folder": folder / "my_policy"}


def test_the_example_prints_what_it_says(example: dict[str, Any]):
    (shapes,) = re.findall(r"print\(embedding\.shape, chunks\.shape\)  # (.*)", PAGE)
    assert f"{example['embedding'].shape} {example['chunks'].shape}" == shapes


def test_the_example_writes_models_that_keep_the_contract(example: dict[str, Any]):
    encoder = ObservationEncoder(read_onnx_file(example["folder"] / "encoder.onnx"))
    assert encoder.cameras == {"front": ImageSize(240, 320), "wrist": ImageSize(128, 128)}
    assert encoder.joint_names == tuple(f"joint_{index}" for index in range(1, 8))
    sampler = PolicySampler(read_onnx_file(example["folder"] / "sampler.onnx"))
    policy = sampler.policy_format(samples=16)
    assert policy.chunk_shape == (16, 8, 4)
    assert policy.position_names == ("dx", "dy", "dz")
    assert policy.executed_actions == 4


def test_the_example_samples_differ(example: dict[str, Any]):
    assert (example["chunks"].std(axis=0) > 1e-3).all()


def table(heading: str, which: str = "") -> list[list[str]]:
    """The cells of a section's table; of the one behind a line, where there are several."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    parts = section[section.index(which) :].strip().split("\n\n")
    rows = next(part.splitlines()[2:] for part in parts if part.startswith("|"))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize(
    ("line", "contract"),
    [("An encoder's:", EncoderContract), ("A sampler's:", SamplerContract)],
)
def test_the_metadata_tables_name_every_key_and_whether_it_is_needed(line: str, contract: Any):
    rows = table("Metadata", line)
    fields = {field.name: field for field in dataclasses.fields(contract)}
    assert [row[0].strip("`") for row in rows] == list(fields)
    for key, _, meaning in rows:
        needed = fields[key.strip("`")].default is dataclasses.MISSING
        assert ("may be left out" not in meaning) == needed


def test_the_tables_name_the_inputs_and_outputs_of_the_models(example: dict[str, Any]):
    models = {
        name: onnx.load(example["folder"] / f"{name}.onnx") for name in ("encoder", "sampler")
    }
    named = {
        name: set(re.findall(r"`(\w+)`", " ".join(row[0] for row in table(f"The {name}"))))
        for name in models
    }
    sides = {
        name: {value.name for value in (*model.graph.input, *model.graph.output)}
        for name, model in models.items()
    }
    keys = {"tasks", "conditioning"}
    assert named["encoder"] - keys == (sides["encoder"] - {"front", "wrist"}) | {
        TOKENS,
        TOKENS_MASK,
    }
    assert named["sampler"] - keys == sides["sampler"]


def test_the_key_the_version_and_the_distributions_are_those_of_the_code(example: dict[str, Any]):
    assert f"under the key `{METADATA_KEY}`" in PAGE
    model = onnx.load(example["folder"] / "sampler.onnx")
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    assert json.loads(entry.value)["contract"] == 1
    assert {row[1] for row in table("Metadata", "An encoder's:")[:1]} == {str(CONTRACT_VERSION)}
    assert " or ".join(f'`"{name}"`' for name in get_args(NoiseDistribution)) in PAGE
    assert SamplerContract.noise == get_args(NoiseDistribution)[0]


def test_the_page_names_every_family_of_encodings():
    (listed,) = re.findall(r"Image messages in (.*) become RGB", PAGE)
    families = {"bayer": "Bayer", "yuv422": "YUV 4:2:2", "uyvy": "YUV 4:2:2", "yuyv": "YUV 4:2:2"}
    for encoding in ENCODINGS:
        assert families.get(encoding.split("_")[0], encoding) in listed


def test_the_tolerance_is_the_one_of_the_code():
    assert TOLERANCE == 1e-4
    assert "more than 10⁻⁴ of the largest value" in PAGE
