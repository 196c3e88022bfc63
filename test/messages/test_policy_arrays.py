# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What policies have in their hands becomes float32 arrays, or an error in a sentence."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from failure_monitor.messages.policy_arrays import float_array

VALUES = [[0.5, -1.25], [3.0, 1024.0]]


class OnAGpu:
    """Behaves as a tensor on a GPU: numpy cannot read it before it is on the CPU."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def detach(self) -> OnAGpu:
        return self

    def is_complex(self) -> bool:
        return False

    def float(self) -> OnAGpu:
        return OnAGpu(self.tensor.float())

    def cpu(self) -> torch.Tensor:
        return self.tensor

    def __array__(self, *_: object, **__: object) -> None:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        np.array(VALUES),
        np.array(VALUES, np.float16),
        np.array(VALUES).T.copy().T,
        torch.tensor(VALUES),
        torch.tensor(VALUES, dtype=torch.float64),
        torch.tensor(VALUES, dtype=torch.bfloat16),
        torch.tensor(VALUES, requires_grad=True),
        torch.tensor(VALUES).T.contiguous().T,
        OnAGpu(torch.tensor(VALUES, dtype=torch.bfloat16)),
    ],
    ids=lambda values: type(values).__name__ + str(getattr(values, "dtype", "")),
)
def test_numbers_come_out_as_they_are(values: object):
    array = float_array(values, "embedding")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, VALUES)


def test_a_float32_array_is_not_copied():
    array = np.zeros(3, np.float32)
    assert float_array(array, "embedding") is array


@pytest.mark.parametrize(
    "values",
    [
        None,
        "0.5",
        [[1.0], [1.0, 2.0]],
        np.array([1j]),
        np.array([object()]),
        torch.tensor([1j]),
        torch.zeros(3, device="meta"),
        torch.zeros(3).to_sparse(),
    ],
    ids=("nothing", "text", "ragged", "complex", "objects", "complex tensor", "meta", "sparse"),
)
def test_what_holds_no_real_numbers_is_refused_in_a_sentence(values: object):
    with pytest.raises(TypeError, match=r"^the embedding, a .*pass a numpy array or a torch tens"):
        float_array(values, "embedding")


def test_torch_is_not_loaded_for_it():
    program = (
        "import sys; from failure_monitor.messages.policy_arrays import float_array; "
        "float_array([1.0], 'embedding'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
