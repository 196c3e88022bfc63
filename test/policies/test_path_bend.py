# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How much the way from noise to a chunk bends."""

import math

import pytest
import torch

from failure_monitor.policies.path_bend import path_bend


def test_a_straight_way_has_no_bend_and_there_and_back_all_of_it():
    step = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    assert path_bend([step, 3 * step, step]) == pytest.approx(0, abs=1e-6)
    assert path_bend([step, -step]) == pytest.approx(1)
    assert path_bend([step]) == pytest.approx(0, abs=1e-6)


def test_a_case_by_hand_in_any_precision():
    # Right and up by one: √2 from start to end, on a way of 2.
    way = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])]
    assert path_bend(way) == pytest.approx(1 - math.sqrt(2) / 2)
    assert path_bend([one.to(torch.bfloat16) for one in way]) == pytest.approx(path_bend(way))
    assert path_bend([7 * one for one in way]) == pytest.approx(path_bend(way))


def test_who_does_not_move_does_not_bend():
    assert path_bend([torch.zeros(2, 3)] * 4) == 0
    assert math.isnan(path_bend([torch.tensor([math.nan]), torch.tensor([1.0])]))
