# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Torch networks to ONNX models, checked to compute the same."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policy_models.onnx_network import OnnxNetwork

TOLERANCE = 1e-4
"""Largest difference between torch and ONNX Runtime, relative to the largest output."""


class ExportError(FailureMonitorError):
    """A torch module that cannot be exported, or whose exported model computes something else."""


def export_network(network: nn.Module, example: Tensor) -> bytes:
    """Return a network of one input (N, …) and one output (N, …), for any N, as an ONNX model.

    Args:
        network: the network, which is exported in evaluation mode.
        example: an input on which torch and ONNX Runtime are compared.

    Raises:
        ExportError: their outputs differ by more than `TOLERANCE`.
    """
    network.eval()
    model = to_onnx(network, {"input": example}, ["output"], free={"input": "N", "output": "N"})
    with torch.no_grad():
        expected = network(example)
    difference = torch.from_numpy(OnnxNetwork(model, name="export")(example.numpy())) - expected
    allowed = TOLERANCE * max(float(expected.abs().max()), 1.0)
    if float(difference.abs().max()) > allowed:
        raise ExportError(
            f"the exported {type(network).__name__} differs from torch by "
            f"{float(difference.abs().max()):.2g}, expected at most {allowed:.2g}: the installed "
            "versions of torch and onnxruntime do not agree on one of its operators; install "
            "others"
        )
    return model


def to_onnx(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    *,
    free: Mapping[str, str],
) -> bytes:
    """Return a network as a serialised ONNX model, without comparing the two.

    Args:
        network: the network, which is exported in its present mode.
        inputs: an example of each input, by name, in the order in which the network takes them.
        outputs: the names of the outputs, in the order in which the network returns them.
        free: a letter for each leading axis that may have any length, by input and output.
    """
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter built on torch.export needs seconds per model, even for small graphs.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            buffer,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(enumerate(axes)) for name, axes in free.items()},
            dynamo=False,
        )
    return buffer.getvalue()
