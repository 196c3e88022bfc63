# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What must be known of a class of policies to watch one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from failure_monitor.errors import FailureMonitorError


class UnsupportedPolicyError(FailureMonitorError):
    """A policy that cannot be watched; it is as it was."""


@dataclass
class Decided:
    """What was seen of one decision of a policy.

    Attributes:
        arguments: those of the call that decided, by position.
        named: those of the call that decided, by name.
        result: what the call returned; None for a decision that the policy did not take.
        recorded: what the methods in `PolicyClass.records` returned first within the call, by
            their paths; nothing where the call was compiled.
        followed: all that the methods in `SignalledClass.follows` returned within the call, one
            after the other, by their paths; nothing where the call was compiled.
    """

    arguments: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    recorded: dict[str, Any] = field(default_factory=dict)
    followed: dict[str, list[Any]] = field(default_factory=dict)


class PolicyClass(Protocol):
    """How the policies of one class are watched.

    All tensors are in the units of the policy, one row for each sample. No method may change the
    policy or draw from the global random numbers, unless its generator is None.

    Attributes:
        kind: the name of such policies, as in `PolicyDescription.policy`.
        samples: the usual number of chunks at a decision.
        has_noise: whether sampling draws noise, so that several chunks differ.
        decides: the path of the method whose call is a decision, from the policy.
        records: the paths of methods within it whose results are needed.
        needs: the paths of all else that is used.
    """

    kind: str
    samples: int
    has_noise: bool
    decides: str
    records: tuple[str, ...]
    needs: tuple[str, ...]

    def encode(self, policy: Any, decided: Decided) -> Any:
        """Return what the policy made of its observation: recorded, or else encoded again."""

    def embedding(self, encoding: Any) -> Any:
        """Return the observation embedding, (E,)."""

    def chunk(self, policy: Any, decided: Decided) -> Any:
        """Return the chunk that the policy sampled, (1, H, D)."""

    def plan(self, policy: Any, decided: Decided, action: Any) -> Any:
        """Return the chunk that the policy executes, (1, H, D).

        Args:
            policy: after it has decided.
            decided: the decision.
            action: what `select_action` returned, (1, D); None where it was not called.
        """

    def sample(
        self, policy: Any, decided: Decided, encoding: Any, rows: int, generator: Any
    ) -> Any:
        """Return further chunks for the same observation, (rows, H, D).

        Args:
            policy: the policy.
            decided: the decision.
            encoding: what `encode` returned.
            rows: the number of chunks.
            generator: draws the noise; None for the global random numbers, drawn as the policy
                draws them.
        """

    def between(self, policy: Any, batch: Any) -> Decided:
        """Return a decision that the policy would take from an observation, without a result."""

    def queued(self, policy: Any) -> Sequence[Any]:
        """Return the actions that `select_action` still has, (1, D) each, the next one first."""


@runtime_checkable
class SignalledClass(Protocol):
    """What a class of policies may have besides: signals that cost nothing.

    They come of what a decision of the policy computes in any case. The methods are called for
    decisions that the policy took.

    Attributes:
        follows: the paths of methods within `decides` of which all results are needed.
    """

    follows: tuple[str, ...]

    def extra_names(self, policy: Any) -> Sequence[str]:
        """Return the names of the extras that such a policy has, as `extras` gives them."""

    def extras(self, policy: Any, decided: Decided) -> Mapping[str, float]:
        """Return further scores of a decision, by name; none where nothing was followed."""

    def tokens(self, policy: Any, decided: Decided, encoding: Any) -> Any:
        """Return the last layer's tokens, (N, F); None where nothing was followed."""
