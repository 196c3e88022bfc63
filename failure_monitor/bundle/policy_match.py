# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a policy that runs is the one that a bundle was calibrated for, by what it states."""

from __future__ import annotations

from failure_monitor.bundle.bundle import policy_format
from failure_monitor.bundle.description import BundleDescription
from failure_monitor.policy_description import PolicyDescription, describe_format


def mismatch(bundle: BundleDescription, stated: PolicyDescription) -> str:
    """Return why a policy is not the bundle's, or may not be; empty if it is.

    A bundle of older versions, or of rollouts whose policy stated nothing, knows the format alone.

    Args:
        bundle: what the bundle states.
        stated: what the policy that runs states about itself.
    """
    policy = policy_format(bundle)
    if why_not := stated.why_not_of(policy.action_names, policy.horizon):
        return f"{why_not}: the topic is another policy's, or calibrate again"
    calibrated = bundle.stated_policy or PolicyDescription()
    difference = stated.differences_text(calibrated)
    difference = difference or stated.differences_text(describe_format(policy))
    if difference:
        return (
            f"the policy is not the one that the bundle was calibrated for ({difference}): run "
            "that one, or calibrate a bundle for this one"
        )
    # The action chunks carry the names of the actions in any case.
    unstated = [name for name in stated.unstated(calibrated) if name != "action_names"]
    if unstated:
        return (
            f"the policy does not state its {', '.join(unstated).replace('_', ' ')}, as it did "
            "in calibration: publish the same fields, or calibrate again"
        )
    return ""
