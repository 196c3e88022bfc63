# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a policy states about itself, with what only the program that runs it can know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from failure_monitor.decision import ActionKind
from failure_monitor.policy_description import Execution, PolicyDescription


@dataclass(frozen=True)
class KnownByProgram:
    """What the program knows; nothing of it need be given.

    Attributes:
        action_kind: the meaning of an action, as in `PolicyFormat`.
        position_names: the actions that span positions, as in `PolicyFormat`.
        execution: how chunks are executed, where that is not seen: `server`.
    """

    action_kind: ActionKind | None = None
    position_names: Sequence[str] = ()
    execution: Execution = ""

    def complete(self, description: PolicyDescription) -> PolicyDescription:
        """Return a policy's own description with what the program knows."""
        completed = replace(
            description,
            action_kind=self.action_kind or description.action_kind,
            position_names=tuple(self.position_names) or description.position_names,
        )
        if self.execution in ("", description.execution):
            return completed
        # The number that the policy knows is of its own way to execute them.
        return replace(completed, execution=self.execution, executed_actions=None)
