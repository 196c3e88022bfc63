# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a policy states about itself beside its decisions: the topic `policy/format`.

The message is a std_msgs/String that holds a JSON object with the fields of `PolicyDescription`,
published once and latched. A field that is missing is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from failure_monitor.decision import ActionKind
from failure_monitor.errors import FailureMonitorError
from failure_monitor.schema import SchemaError, above, at_least, like, plain, read

Execution = Literal["", "queue", "ensemble", "real_time_chunking", "server"]
"""How chunks are executed: one after the other from a queue, as a temporal ensemble of all recent
ones, by real-time chunking, or by a client that asks a policy server ahead of time."""

DispersionOf = Literal["", "noise", "plan", "nothing"]
"""What makes sampled chunks differ: the policy's noise; the plan that is being executed against a
new one; or nothing, where there is one chunk."""

NOT_COMPARED = ("version", "checkpoint_name")
"""Fields in which the policy may differ from that of calibration."""


class PolicyDescriptionError(FailureMonitorError):
    """A message on `policy/format` that is no description of a policy."""


@dataclass(frozen=True, kw_only=True)
class PolicyDescription:
    """What a policy states about itself.

    Attributes:
        version: of these fields.
        policy: the kind of policy, such as `act`.
        checkpoint: the SHA-256 of its configuration, weights and processors, as hexadecimal.
        checkpoint_name: where the checkpoint lies, for people.
        action_names: the names of the D action dimensions, in order.
        action_kind: the meaning of an action, as in `PolicyFormat`.
        position_names: the actions that span positions, as in `PolicyFormat`.
        unit: the unit of the actions in the chunks: `robot` for those that the robot takes.
        control_period: the seconds from one executed action to the next.
        execution: how chunks are executed.
        executed_actions: the usual number of actions of a chunk that are executed before the next
            decision.
        guided_actions: the number of leading actions of a chunk that are led to what is already
            being executed, so that they do not scatter; 0 for none.
        dispersion_of: what makes the sampled chunks differ.
    """

    version: Literal[1] = 1
    policy: str = ""
    checkpoint: Annotated[str, like("([0-9a-f]{64})?", "a SHA-256 as hexadecimal")] = ""
    checkpoint_name: str = ""
    action_names: tuple[str, ...] = ()
    action_kind: ActionKind | None = None
    position_names: tuple[str, ...] = ()
    unit: str = ""
    control_period: Annotated[float, above(0)] | None = None
    execution: Execution = ""
    executed_actions: Annotated[int, above(0)] | None = None
    guided_actions: Annotated[int, at_least(0)] = 0
    dispersion_of: DispersionOf = ""

    def to_json(self) -> str:
        """Return the content of a message on `policy/format`."""
        return json.dumps(plain(self))

    @classmethod
    def from_json(cls, text: str) -> PolicyDescription:
        """Read the content of a message on `policy/format`.

        Raises:
            PolicyDescriptionError: it is invalid, or of a newer version.
        """
        try:
            content = json.loads(text)
            _reject_newer(content)
            return read(cls, content)
        except SchemaError as error:
            fault = f"field '{error.where}': {error.reason}" if error.where else error.reason
        except (ValueError, RecursionError) as error:
            fault = f"invalid JSON: {error}"
        raise PolicyDescriptionError(
            f"the policy's description is invalid: {fault}: publish it with a tap of this "
            "failure_monitor"
        )

    def differences(self, other: PolicyDescription) -> Iterator[tuple[str, Any, Any]]:
        """Yield the fields that both state and in which they differ: name, own and other value."""
        for field in fields(self):
            own, others = getattr(self, field.name), getattr(other, field.name)
            if field.name in NOT_COMPARED or own == others:
                continue
            if _is_stated(field.name, own) and _is_stated(field.name, others):
                yield field.name, own, others


def _is_stated(name: str, value: Any) -> bool:
    return name == "guided_actions" or value not in ("", (), None)


def _reject_newer(content: Any) -> None:
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > 1:
        raise PolicyDescriptionError(
            f"the policy's description is of version {version}, this failure_monitor knows 1: "
            "update it, or publish the description with a tap of this version"
        )
