# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How undecided an autoregressive policy was."""

import math

import numpy as np
import pytest
import torch

from failure_monitor.policies.token_entropy import token_entropy


def test_a_token_that_is_certain_has_none_and_an_even_choice_has_most():
    assert token_entropy([[0.0, -math.inf, -math.inf]]) == 0
    assert token_entropy(np.zeros((3, 8))) == pytest.approx(math.log(8))
    assert token_entropy([[0.0, 0.0], [1e30, -1e30]]) == pytest.approx(math.log(2) / 2)


def test_it_is_what_torch_says_of_the_distribution_in_any_precision():
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(0))
    expected = float(torch.distributions.Categorical(logits=logits).entropy().mean())
    assert token_entropy(logits) == pytest.approx(expected, abs=1e-6)
    assert token_entropy(logits.bfloat16()) == pytest.approx(expected, abs=0.02)
    # What is added to all logits of a token changes nothing.
    assert token_entropy(logits + 7) == pytest.approx(expected, abs=1e-5)


def test_wrong_logits_are_refused():
    for shape in ((3,), (1, 2, 3), (0, 3)):
        with pytest.raises(ValueError, match=r"logits have shape \(N, V\)"):
            token_entropy(np.zeros(shape))
    for value in (math.nan, -math.inf):
        with pytest.raises(ValueError, match="NaN, or none of them is finite"):
            token_entropy([[0.0, 1.0], [value, value]])
