# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The network of a learned score, run by ONNX Runtime on one thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.policy_models.onnx_file import OnnxFile


class OnnxNetworkError(FailureMonitorError):
    """A network that ONNX Runtime cannot load, or with other inputs and outputs than a score's."""


class OnnxNetwork:
    """A network of one float32 input (N, …) and one float32 output (N, …)."""

    def __init__(self, model: bytes, *, name: str) -> None:
        """Load a serialised ONNX model.

        Args:
            model: the model, as in an `.onnx` file.
            name: the model's name in errors.

        Raises:
            OnnxNetworkError: ONNX Runtime cannot load it, or it has more than one input or output.
            OnnxFileError: it is no ONNX model, or keeps weights in other files.
        """
        # Imported here, because a monitor whose rule needs no network does without it.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # A single decision is too little work to share between threads.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Rejects external weights, which ONNX Runtime would search in the working directory.
        OnnxFile(name, model)
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise OnnxNetworkError(
                f"{name}: ONNX Runtime cannot load this model ({error}): calibrate again"
            ) from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if (len(inputs), len(outputs)) != (1, 1):
            raise OnnxNetworkError(
                f"{name}: expected one input and one output, got {len(inputs)} and "
                f"{len(outputs)}: this is another model; calibrate again"
            )
        self.model = model
        self._input = inputs[0].name
        self._outputs = [outputs[0].name]

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's output (N, …) for a batch (N, …)."""
        output: NDArray[np.float32] = self._session.run(self._outputs, {self._input: batch})[0]
        return output
