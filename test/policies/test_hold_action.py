# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What holds a robot: the last position, or zero velocity, in the policy's normalised space."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from testbed.synthetic import POLICY

from failure_monitor.policies.hold_action import HoldAction, InexpressibleHoldError

CENTRE, SPREAD = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([2.0, 0.5, 4.0])
LAST = torch.tensor([[0.3, -0.4, 0.5]])


def unnormalise(action):
    return action * SPREAD + CENTRE


class OtherStep:
    pass


def test_positions_are_held_where_they_were_last():
    hold = HoldAction(replace(POLICY, action_kind="position"), unnormalise)
    assert hold.needs_last
    assert torch.equal(hold.after(LAST), LAST)


@pytest.mark.parametrize("kind", ["velocity", "delta"])
def test_velocities_and_deltas_become_zero_for_the_robot_and_the_gripper_stays(kind):
    hold = HoldAction(replace(POLICY, action_kind=kind), unnormalise)
    held = hold.after(LAST)
    torch.testing.assert_close(unnormalise(held)[0, :2], torch.zeros(2))
    assert held[0, 2] == LAST[0, 2]
    assert hold.needs_last
    assert not HoldAction(
        replace(POLICY, action_kind=kind, position_names=()), unnormalise
    ).needs_last


def test_a_chunk_is_held_in_its_device_and_precision():
    hold = HoldAction(POLICY, unnormalise)
    with torch.inference_mode():
        chunk = torch.ones(1, 4, 3, dtype=torch.bfloat16)
    held = hold.after(chunk)
    assert (held.shape, held.dtype) == (chunk.shape, torch.bfloat16)
    assert torch.equal(chunk, torch.ones_like(chunk))


@pytest.mark.parametrize(
    "postprocessor",
    [
        lambda action: 0 * action + 1,
        lambda action: torch.exp(action),
        lambda action: action * torch.nan,
    ],
)
def test_what_is_never_zero_cannot_hold(postprocessor):
    with pytest.raises(InexpressibleHoldError, match="zero for the robot in dx, dy, as"):
        HoldAction(POLICY, postprocessor)


def test_a_step_that_may_look_at_more_than_the_action_cannot_hold():
    pipeline = SimpleNamespace(steps=[OtherStep()])
    with pytest.raises(InexpressibleHoldError, match="step OtherStep may depend on more"):
        HoldAction(replace(POLICY, action_kind="position"), pipeline)
