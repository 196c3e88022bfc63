# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""From torch modules to ONNX models that compute the same numbers."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from failure_monitor.errors import FailureMonitorError

TOLERANCE = 1e-4
"""Largest difference between torch and ONNX Runtime, relative to the output's largest value."""


def export_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    output: str,
    path: Path,
    *,
    dynamic: Mapping[str, str],
    metadata: Mapping[str, object],
) -> float:
    """Write a module to `path` and return how far its ONNX twin is off.

    Args:
        module: takes the inputs in their order, gives one tensor.
        inputs: example inputs by name.
        output: name of the output.
        path: the ONNX file.
        dynamic: name of the first axis of each input in which it may vary.
        metadata: what the model's metadata say; each value as JSON.

    Raises:
        FailureMonitorError: the difference exceeds `TOLERANCE`; nothing is left at `path`.
    """
    module = module.eval()
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=[output],
        dynamic_shapes=tuple(_first_axis(name, dynamic) for name in inputs),
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    with torch.no_grad():
        expected = module(*inputs.values()).numpy()
    difference = _difference(model, inputs, expected)
    if difference > TOLERANCE:
        raise FailureMonitorError(
            f"{path}: ONNX Runtime and torch differ by {difference:.1e} of the largest value, "
            f"more than {TOLERANCE:.0e}: the export is wrong, so nothing was written"
        )
    onnx.save(model, path)
    return difference


def _first_axis(name: str, dynamic: Mapping[str, str]) -> dict[int, torch.export.Dim]:
    return {0: torch.export.Dim(dynamic[name], min=1)} if name in dynamic else {}


def _difference(
    model: onnx.ModelProto, inputs: Mapping[str, Tensor], expected: npt.NDArray[np.float32]
) -> float:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (actual,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-12))
