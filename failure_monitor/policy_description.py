# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a policy states about itself beside its decisions: the topic `policy/format`.

The message is a std_msgs/String that holds a JSON object with the fields of `PolicyDescription`,
published once and latched. A field that is missing is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from failure_monitor.decision import ActionKind, PolicyFormat
from failure_monitor.errors import FailureMonitorError
from failure_monitor.parameters.topics import EXTERNAL_NAME
from failure_monitor.schema import SchemaError, above, at_least, below, like, plain, read

Execution = Literal["", "queue", "ensemble", "real_time_chunking", "server"]
"""How chunks are executed: one after the other from a queue, as a temporal ensemble of all recent
ones, by real-time chunking, or by a client that asks a policy server ahead of time."""

DispersionOf = Literal["", "noise", "plan", "nothing"]
"""What makes sampled chunks differ: the policy's noise; the plan that is being executed against a
new one; or nothing, where there is one chunk."""

NOT_COMPARED = ("version", "checkpoint_name", "extras")
"""Fields in which the policy may differ from that of calibration."""

PERIOD_TOLERANCE = 0.05
"""Share by which control periods may differ: 30 Hz is written as 0.033 s, and measured."""

TOO_MANY = 1_000_000
"""More actions than any chunk has."""

SHORT_HASH = 12
"""Digits of a checkpoint's SHA-256 that sentences show."""

MAX_LENGTH = 30_000
"""Characters of a description, which sentences may show: more than any policy needs."""


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
            being executed, so that they do not scatter; 0 for none, None if unknown.
        dispersion_of: what makes the sampled chunks differ.
        extras: the names of the external scores that are published with every decision, before
            its action chunks, so that each value is of one decision.
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
    executed_actions: Annotated[int, above(0), below(TOO_MANY)] | None = None
    guided_actions: Annotated[int, at_least(0), below(TOO_MANY)] | None = None
    dispersion_of: DispersionOf = ""
    extras: tuple[Annotated[str, like(EXTERNAL_NAME, "letters, digits and _")], ...] = ()

    def __post_init__(self) -> None:
        """Check what concerns several fields.

        Raises:
            ValueError: a position is no action.
        """
        unknown = [name for name in self.position_names if name not in self.action_names]
        if unknown and self.action_names:
            raise ValueError(
                f"the position_names {unknown} are not among the action_names "
                f"{list(self.action_names)}"
            )

    @property
    def waits(self) -> bool:
        """Whether the robot waits while the policy decides, as in `PolicyFormat`."""
        return self.execution in ("queue", "ensemble") and self.executed_actions is not None

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
            content = _parsed(text)
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

    def why_unreadable(self) -> str:
        """Return why nobody could read this on `policy/format`; empty if everybody can."""
        try:
            is_same = read(type(self), _parsed(self.to_json())) == self
        except SchemaError as error:
            return f"{error.where}: {error.reason}" if error.where else error.reason
        return "" if is_same else "a number in it is not finite"

    def why_not_of(self, action_names: tuple[str, ...], horizon: int | None = None) -> str:
        """Return why the policy's action chunks cannot be of these; empty if they can.

        Args:
            action_names: the names of the D actions that the chunks carry.
            horizon: the number of actions in a chunk; None if it is not to be compared.
        """
        if self.action_names not in ((), action_names):
            return (
                f"it names the actions {list(self.action_names)}, the action chunks carry "
                f"{list(action_names)}"
            )
        unknown = [name for name in self.position_names if name not in action_names]
        if unknown:
            return (
                f"its position_names {unknown} are not among the actions {list(action_names)} "
                "that the action chunks carry"
            )
        return "" if horizon is None else self._why_not_of_horizon(horizon)

    def _why_not_of_horizon(self, horizon: int) -> str:
        if self.executed_actions is not None and self.executed_actions > horizon:
            return (
                f"it states that {self.executed_actions} actions of a chunk are executed, and a "
                f"chunk has {horizon}"
            )
        if self.guided_actions is not None and self.guided_actions >= horizon:
            return (
                f"it states that {self.guided_actions} leading actions of a chunk are led to what "
                f"is being executed, and a chunk has {horizon}"
            )
        return ""

    def differences(self, other: PolicyDescription) -> Iterator[tuple[str, Any, Any]]:
        """Yield the fields that both state and in which they differ: name, own and other value."""
        for name in COMPARED:
            own, others = getattr(self, name), getattr(other, name)
            if _is_stated(own) and _is_stated(others) and not _are_alike(name, own, others):
                yield name, own, others

    def differences_text(self, other: PolicyDescription) -> str:
        """Return the fields in which they differ, each with both values; empty if in none."""
        return "; ".join(
            f"{name.replace('_', ' ')} {self._shown(name)} against {other._shown(name)}"
            for name, _, _ in self.differences(other)
        )

    def unstated(self, other: PolicyDescription) -> Iterator[str]:
        """Yield the fields that the other states and this one does not."""
        for name in COMPARED:
            if _is_stated(getattr(other, name)) and not _is_stated(getattr(self, name)):
                yield name

    def completed_by(self, other: PolicyDescription) -> PolicyDescription:
        """Return this description, with what the other states of fields that are unknown here.

        Raises:
            ValueError: together they are not possible.
        """
        return replace(self, **{name: getattr(other, name) for name in self._unknown(other)})

    def _unknown(self, other: PolicyDescription) -> Iterator[str]:
        yield from self.unstated(other)
        if not self.extras:
            yield "extras"
        # A name is of the checkpoint that it is stated with.
        if self.checkpoint in ("", other.checkpoint) and not self.checkpoint_name:
            yield "checkpoint_name"

    def _shown(self, name: str) -> str:
        value = getattr(self, name)
        if name == "checkpoint":
            named = f" ({self.checkpoint_name})" if self.checkpoint_name else ""
            return f"{value[:SHORT_HASH]}{named}"
        if isinstance(value, tuple):
            return ", ".join(value)
        return f"{value:.4g}" if isinstance(value, float) else str(value)


def describe_format(policy: PolicyFormat) -> PolicyDescription:
    """Return what a format states of a policy."""
    return PolicyDescription(
        action_names=policy.action_names,
        action_kind=policy.action_kind,
        position_names=policy.position_names,
        control_period=policy.control_period,
        executed_actions=policy.executed_actions,
        guided_actions=policy.guided_actions or None,
    )


COMPARED = tuple(one.name for one in fields(PolicyDescription) if one.name not in NOT_COMPARED)
"""Fields that are compared."""


def _is_stated(value: Any) -> bool:
    return value not in ("", (), None)


def _are_alike(name: str, one: Any, other: Any) -> bool:
    if name == "control_period":
        return bool(abs(one - other) <= PERIOD_TOLERANCE * max(one, other))
    return bool(one == other)


def _parsed(text: str) -> Any:
    """Return what a JSON text holds, if it can be shown and states nothing twice.

    Raises:
        SchemaError: it is too long, or a text in it cannot be shown.
        ValueError: it is no JSON, or a field stands twice.
        RecursionError: it is nested too deeply.
    """
    if len(text) > MAX_LENGTH:
        raise SchemaError((), f"it has {len(text)} characters, expected at most {MAX_LENGTH}")
    content = json.loads(text, object_pairs_hook=_fields_once)
    for one in _texts(content):
        if not one.isprintable():
            raise SchemaError((), f"expected printable characters, got {one!a:.60}")
    return content


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields_read = dict(pairs)
    if len(fields_read) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!a:.60} stands twice")
    return fields_read


def _texts(content: Any) -> Iterator[str]:
    """Yield every text of what a JSON text held, names of fields among them."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        yield from content
        yield from _texts(list(content.values()))
    elif isinstance(content, list):
        for one in content:
            yield from _texts(one)


def _reject_newer(content: Any) -> None:
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > 1:
        raise PolicyDescriptionError(
            f"the policy's description is of version {version}, this failure_monitor knows 1: "
            "update it, or publish the description with a tap of this version"
        )
