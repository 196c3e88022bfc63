# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy's format, as rows of a table."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from failure_monitor.decision import PolicyFormat
from failure_monitor.policy_description import PolicyDescription


def add_policy_rows(table: Table, policy: PolicyFormat, stated: PolicyDescription | None) -> None:
    """Add rows on what the policy outputs at every decision, what it means, and which it is."""
    size = policy.embedding_size
    table.add_row("embeddings", f"{size} numbers" if size else "none")
    table.add_row(
        "action chunks", "{} samples of {} actions with {} dimensions".format(*policy.chunk_shape)
    )
    table.add_row("actions", escape(", ".join(policy.action_names)))
    positions = ", ".join(policy.action_names[index] for index in policy.position_indices)
    table.add_row("an action is", escape(f"a {policy.action_kind}; {positions} span positions"))
    table.add_row("executed", _executed(policy))
    if policy.control_period is not None:
        table.add_row("an action every", f"{policy.control_period:.4g} s")
    if policy.guided_actions:
        table.add_row("guided", f"the first {policy.guided_actions} actions of a chunk")
    for name, value in _identity(stated or PolicyDescription()).items():
        if value:
            table.add_row(name, escape(value))


def _identity(stated: PolicyDescription) -> dict[str, str]:
    """Return what a policy stated that its format does not hold, by name."""
    return {
        "policy": stated.policy,
        "checkpoint": " ".join(filter(None, (stated.checkpoint, stated.checkpoint_name))),
        "unit of actions": stated.unit,
        "execution": stated.execution.replace("_", " "),
        "samples differ by": stated.dispersion_of,
    }


def _executed(policy: PolicyFormat) -> str:
    usual = policy.executed_actions
    if policy.control_period is not None:
        return "by the stamps" + ("" if usual is None else f", usually {usual} actions")
    return "unknown" if usual is None else f"{usual} actions of a chunk"
