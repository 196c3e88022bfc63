# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A policy's format, as rows of a table."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from failure_monitor.decision import PolicyFormat


def add_policy_rows(table: Table, policy: PolicyFormat) -> None:
    """Add rows on what the policy outputs at every decision, and what it means."""
    table.add_row("embeddings", f"{policy.embedding_size} numbers")
    table.add_row(
        "action chunks", "{} samples of {} actions with {} dimensions".format(*policy.chunk_shape)
    )
    table.add_row("actions", escape(", ".join(policy.action_names)))
    positions = ", ".join(policy.action_names[index] for index in policy.position_indices)
    table.add_row("an action is", escape(f"a {policy.action_kind}; {positions} span positions"))
    executed = policy.executed_actions
    table.add_row("executed", "unknown" if executed is None else f"{executed} actions of a chunk")
