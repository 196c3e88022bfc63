# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the sources of some rollouts state of their policy, where they agree on it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from failure_monitor.decision import PolicyFormat, Rollout
from failure_monitor.errors import UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.policy_description import (
    PERIOD_TOLERANCE,
    PolicyDescription,
    describe_format,
)
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import (
    SourceContents,
    SourceError,
)

Stated = TypeVar("Stated")

logger = logging.getLogger(__name__)


def agreed_policy(
    shared: PolicyFormat,
    contents: Sequence[SourceContents],
    stated: PolicyDescription | None,
    given: PolicyDescription,
    like: PolicyFormat | None,
) -> PolicyFormat:
    """Return the format that all rollouts share, completed by the user or else the sources.

    Raises:
        SourceError: Sources, or what is known of the policy, contradict one another.
    """
    known = describe_format(like) if like is not None else PolicyDescription()

    def completed(name: str, what: str) -> Any:
        of_user = getattr(given, name)
        if of_user not in ((), None):
            return of_user
        return agreed(what, statements(contents, name), getattr(known, name) or None)

    return replace(
        shared,
        action_kind=completed("action_kind", "action kind") or "position",
        position_names=completed("position_names", "position names") or (),
        executed_actions=completed("executed_actions", "number of executed actions"),
        control_period=completed("control_period", "control period"),
        guided_actions=known.completed_by(stated or PolicyDescription()).guided_actions or 0,
        waits=like.waits if like is not None else stated is not None and stated.waits,
    )


def statements(
    contents: Sequence[SourceContents], name: str
) -> list[tuple[tuple[Rollout, ...], Any]]:
    """Return what each source states of its actions, and its policy: None where it does not."""
    stated = [(h.rollouts, getattr(h.stated_policy, name, None) or None) for h in contents]
    return [*((h.rollouts, getattr(h, name)) for h in contents), *stated]


def stated_policy(
    contents: Sequence[SourceContents],
    like: PolicyFormat | None,
    described: PolicyDescription | None,
) -> PolicyDescription | None:
    """Return what the policy stated about itself in all sources together; None if nothing.

    Raises:
        SourceError: It stated something else in another source, or than what is known of it.
    """
    known, first = None, None
    for held in contents:
        if held.stated_policy is None or not held.rollouts:
            continue
        if known is None or first is None:
            known, first = held.stated_policy, held.rollouts[0]
        horizon = held.rollouts[0].chunks.shape[2]
        if why_not := held.stated_policy.why_not_of(held.action_names, horizon):
            raise SourceError(
                f"{title(held.rollouts[0])} has a policy of which {why_not}: let its tap state "
                "what it executes, or read the rollouts without what it stated "
                "(--format-topic '')"
            )
        difference = known.differences_text(held.stated_policy)
        if difference:
            raise SourceError(
                f"{title(first)} and {title(held.rollouts[0])} are not of the same policy, by "
                f"what it stated ({difference}): read the rollouts of one policy at a time"
            )
        known = known.completed_by(held.stated_policy)
    if known is None or first is None:
        return None
    for other in (described, None if like is None else describe_format(like)):
        if other is not None and (difference := known.differences_text(other)):
            raise SourceError(
                f"{title(first)} is of another policy, by what it stated, than the bundle, or "
                f"the rollouts that are calibrated on ({difference}): give rollouts of the same "
                "policy, or calibrate on these"
            )
    return known


def reject_contradicting_options(
    given: PolicyDescription, contents: Sequence[SourceContents]
) -> None:
    """Reject what the user gives of the actions, where the policy itself stated something else.

    Raises:
        UsageError: Names the option.
    """
    for held in contents:
        if not held.rollouts:
            continue
        stated = held.stated_policy or PolicyDescription()
        for name, own, others in given.differences(stated):
            option = f"--{name.replace('_', '-')}"
            own, others = (
                ",".join(value) if isinstance(value, tuple) else value for value in (own, others)
            )
            raise UsageError(
                f"'{option} {own}' contradicts the policy of {title(held.rollouts[0])}, which "
                f"stated {others}: leave the option out, or, if the policy is wrong, read its "
                "rollouts without what it stated (--format-topic '')"
            )


def warn_of_unstated(contents: Sequence[SourceContents], known: PolicyDescription | None) -> None:
    """Log which rollouts may be of another policy, since theirs did not state which it is."""
    silent = [r.name for held in contents if held.stated_policy is None for r in held.rollouts]
    if silent and known is not None:
        logger.warning(
            "the policy of %d rollouts stated nothing about itself (%s): that it is the one of "
            "the others, or of the bundle, is taken for granted",
            len(silent),
            list_names(silent),
        )


def shared_format(contents: Sequence[SourceContents]) -> PolicyFormat:
    """Return the sizes and action names that all rollouts have.

    Raises:
        SourceError: They are of several policies.
    """
    formats = [
        (rollout, _format(rollout, held.action_names))
        for held in contents
        for rollout in held.rollouts
    ]
    first, shared = formats[0]
    for other, its_format in formats[1:]:
        if its_format != shared:
            raise SourceError(
                f"{title(first)} and {title(other)} are not of the same policy "
                f"({_differences(shared, its_format)}): read the rollouts of one policy at a time"
            )
    return shared


def _differences(one: PolicyFormat, other: PolicyFormat) -> str:
    return "; ".join(
        f"{name.replace('_', ' ')} {vars(one)[name]} against {vars(other)[name]}"
        for name in vars(one)
        if vars(one)[name] != vars(other)[name]
    )


def _format(rollout: Rollout, action_names: tuple[str, ...]) -> PolicyFormat:
    return PolicyFormat(
        embedding_size=rollout.embeddings.shape[1],
        samples=rollout.chunks.shape[1],
        horizon=rollout.chunks.shape[2],
        action_names=action_names,
    )


def agreed(
    what: str,
    statements: Sequence[tuple[tuple[Rollout, ...], Stated | None]],
    wanted: Stated | None = None,
) -> Stated | None:
    """Return what all sources that state it agree on, or else what is wanted.

    Raises:
        SourceError: Two of them state different things, or another than is wanted.
    """
    stated = [(held[0], value) for held, value in statements if held and value is not None]
    for other, value in stated[1:]:
        if _differ(value, stated[0][1]):
            raise SourceError(
                f"{title(stated[0][0])} and {title(other)} differ in their {what} "
                f"({stated[0][1]} against {value}): read the rollouts of one policy at a time"
            )
    if not stated:
        return wanted
    first, value = stated[0]
    if wanted is not None and _differ(value, wanted):
        raise SourceError(
            f"{title(first)} states another {what} ({value}) than the bundle, or the rollouts "
            f"that are calibrated on ({wanted}): give rollouts of the same policy"
        )
    return value if wanted is None else wanted


def _differ(one: object, other: object) -> bool:
    """Return whether two statements contradict each other; those of a time are rounded."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) > PERIOD_TOLERANCE * max(one, other)
    return one != other


def title(rollout: Rollout) -> str:
    """Return what messages call a rollout: its name, and where it was read."""
    return f"{rollout.name} ({rollout.source})"


def reject_different_policies(sets: Sequence[RolloutSet]) -> None:
    """Reject sets of rollouts that are not all of the same policy.

    Raises:
        SourceError: One is of another policy than the first.
    """
    first = sets[0]
    for other in sets[1:]:
        if other.policy != first.policy:
            raise SourceError(
                f"{title(first.rollouts[0])} and {title(other.rollouts[0])} are not of the same "
                f"policy ({_differences(first.policy, other.policy)}): give rollouts of one policy"
            )


def reject_contradiction(known: RolloutSet, new: RolloutSet) -> None:
    """Reject rollouts that could not be read together with those that are known.

    What either leaves open contradicts nothing.

    Raises:
        SourceError: They are of another policy, by their sizes or by what is stated of it.
    """
    one, other = known.policy, new.policy
    apart = [
        name
        for name in ("embedding_size", "samples", "horizon", "action_names")
        if getattr(one, name) != getattr(other, name)
    ]
    if known.action_kind_is_known and new.action_kind_is_known:
        apart += ["action_kind"] * (one.action_kind != other.action_kind)
    for name in ("position_names", "executed_actions", "control_period"):
        stated = getattr(one, name), getattr(other, name)
        apart += [name] * bool(all(stated) and _differ(*stated))
    texts = [f"{n.replace('_', ' ')} {vars(one)[n]} against {vars(other)[n]}" for n in apart]
    if known.stated_policy is not None and new.stated_policy is not None:
        texts += filter(None, [known.stated_policy.differences_text(new.stated_policy)])
    if texts:
        raise SourceError(
            f"{title(known.rollouts[0])} and {title(new.rollouts[0])} are not of the same "
            f"policy ({'; '.join(texts)}): keep the rollouts of each policy by themselves"
        )


def completed_by_one_another(sets: Sequence[RolloutSet]) -> list[RolloutSet]:
    """Return sets that were read one by one, with what a policy stated in another of them.

    As where they are read together: what a source leaves open is that of the others.
    """
    stated = next((each.stated_policy for each in sets if each.stated_policy is not None), None)
    if stated is None:
        return list(sets)
    return [each if each.stated_policy is not None else _completed(each, stated) for each in sets]


def _completed(rollout_set: RolloutSet, stated: PolicyDescription) -> RolloutSet:
    own = rollout_set.policy
    if stated.why_not_of(own.action_names, own.horizon):
        return rollout_set
    is_known = rollout_set.action_kind_is_known
    policy = replace(
        own,
        action_kind=own.action_kind if is_known else (stated.action_kind or own.action_kind),
        position_names=own.position_names or stated.position_names,
        executed_actions=own.executed_actions or stated.executed_actions,
        control_period=own.control_period or stated.control_period,
        guided_actions=own.guided_actions or stated.guided_actions or 0,
        waits=own.waits or stated.waits,
    )
    return replace(rollout_set, policy=policy)


def state_the_same(one: SourceContents, other: SourceContents) -> bool:
    """Return whether two sources state the same of their rollouts, and these have equal shapes."""
    return all(
        getattr(one, each.name) == getattr(other, each.name)
        for each in fields(SourceContents)
        if each.name not in ("rollouts", "receptions")
    ) and _format(one.rollouts[0], ()) == _format(other.rollouts[0], ())
