# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which policies are the one that a bundle was calibrated for."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from testbed.synthetic import STATED

from failure_monitor.bundle.additions import with_stated_policy
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import BundleDescription
from failure_monitor.bundle.policy_match import mismatch
from failure_monitor.policy_description import PolicyDescription

OTHERS: dict[str, Any] = {
    "policy": "diffusion",
    "checkpoint": "b" * 64,
    "action_kind": "position",
    "position_names": ("dx",),
    "unit": "normalised",
    "control_period": 0.1,
    "execution": "server",
    "executed_actions": 5,
    "guided_actions": 2,
    "dispersion_of": "plan",
}


@pytest.fixture(scope="module")
def older(bundle: Bundle) -> BundleDescription:
    """Of a bundle whose policy stated nothing."""
    return bundle.description


@pytest.fixture(scope="module")
def stated(bundle: Bundle) -> BundleDescription:
    return with_stated_policy(bundle, STATED).description


def test_the_policy_of_calibration_is_the_bundles(stated: BundleDescription) -> None:
    assert mismatch(stated, STATED) == ""
    elsewhere = replace(STATED, checkpoint_name="/mnt/act", control_period=0.051)
    assert mismatch(stated, elsewhere) == ""


@pytest.mark.parametrize("name", OTHERS)
def test_a_policy_that_differs_in_one_field_is_another(
    stated: BundleDescription, name: str
) -> None:
    found = mismatch(stated, replace(STATED, **{name: OTHERS[name]}))
    assert found.startswith("the policy is not the one that the bundle was calibrated for (")
    assert name.replace("_", " ") in found


def test_both_checkpoints_are_named(stated: BundleDescription) -> None:
    found = mismatch(stated, replace(STATED, checkpoint="b" * 64, checkpoint_name="outputs/new"))
    assert "checkpoint bbbbbbbbbbbb (outputs/new) against aaaaaaaaaaaa (outputs/act)" in found


@pytest.mark.parametrize("name", OTHERS)
def test_a_policy_that_states_less_than_in_calibration_may_be_another(
    stated: BundleDescription, name: str
) -> None:
    default = next(field.default for field in fields(PolicyDescription) if field.name == name)
    found = mismatch(stated, replace(STATED, **{name: default}))
    assert f"does not state its {name.replace('_', ' ')}, as it did in calibration" in found


def test_the_names_of_the_actions_need_not_be_stated(stated: BundleDescription) -> None:
    assert mismatch(stated, replace(STATED, action_names=())) == ""
    assert "carry" in mismatch(stated, replace(STATED, action_names=("x", "y"), position_names=()))


def test_an_older_bundle_is_compared_as_far_as_it_knows(older: BundleDescription) -> None:
    assert mismatch(older, STATED) == ""
    assert mismatch(older, PolicyDescription()) == ""
    assert "action kind position against delta" in mismatch(
        older, PolicyDescription(action_kind="position")
    )
    impossible = PolicyDescription(executed_actions=older.policy.horizon + 1)
    assert "actions of a chunk are executed, and a chunk has" in mismatch(older, impossible)
    narrower = replace(STATED, position_names=("dx",))
    assert "position names dx against dx, dy" in mismatch(older, narrower)
    executing = replace(older, policy=replace(older.policy, executed_actions=4))
    assert "executed actions 2 against 4" in mismatch(executing, STATED)


def test_what_an_option_stated_in_calibration_counts_too(bundle: Bundle) -> None:
    silent = with_stated_policy(bundle, PolicyDescription(policy="act")).description
    other = replace(STATED, action_kind="velocity")
    assert mismatch(silent, other).startswith("the policy is not")
