# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What client and server add to the messages of openpi, each under one key of its own.

The server's metadata hold the policy's description, an observation the number of the request, an
answer that number again, with the embedding and all sampled chunks. openpi reads none of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.policy_arrays import float_array
from failure_monitor.policies.watched_decision import WatchedDecision

KEY = "failure_monitor"
"""Of the description in the metadata, of the request in an observation, and of the answer."""
ACTIONS = "actions"
"""Under which openpi answers with the chunk that is to be executed, (H, D)."""


class PolicyServerError(FailureMonitorError):
    """The policy server gave no plan: what was executed so far must not go on."""


class InvalidAnswerError(PolicyServerError):
    """An answer of the policy server that is no plan, or the plan of another observation."""


class UnwatchedAnswerError(FailureMonitorError):
    """An answer whose plan may be executed, but which holds nothing to watch it by."""


def read_actions(answer: Any) -> NDArray[np.float32]:
    """Return the chunk that is to be executed, (H, D).

    Raises:
        InvalidAnswerError: there is none.
    """
    if not isinstance(answer, Mapping):
        raise InvalidAnswerError(
            f"the policy server answered with a {type(answer).__name__}, expected a dictionary "
            f"with '{ACTIONS}': check what serves the policy"
        )
    if ACTIONS not in answer:
        raise InvalidAnswerError(
            f"the policy server's answer has no '{ACTIONS}', it has {sorted(map(str, answer))}: "
            "check the output transforms of the policy"
        )
    try:
        actions = float_array(answer[ACTIONS], ACTIONS)
    except TypeError as error:
        raise InvalidAnswerError(f"the policy server's answer is invalid: {error}") from None
    if actions.ndim != 2 or not actions.size:
        raise InvalidAnswerError(
            f"the policy server's '{ACTIONS}' have shape {actions.shape}, expected one chunk "
            "(H, D): check the output transforms of the policy"
        )
    if not np.isfinite(actions).all():
        raise InvalidAnswerError(
            f"{np.count_nonzero(~np.isfinite(actions))} of {actions.size} values of the policy "
            "server's actions are NaN or infinite: check the policy and its normalisation"
        )
    return actions


def read_watched(watched: Any, actions: NDArray[np.float32]) -> WatchedDecision:
    """Return the decision that a server which watches its policy puts into its answer.

    Raises:
        UnwatchedAnswerError: it states why there is none, or it is not of the executed actions.
    """
    if not isinstance(watched, Mapping):
        raise UnwatchedAnswerError(
            "the policy server states that it watches its policy, and the answer holds no "
            "embedding and no sampled chunks: serve the WatchedPolicy itself"
        )
    if "error" in watched:
        raise UnwatchedAnswerError(f"the policy server could not watch: {watched['error']}")
    try:
        embedding = float_array(watched.get("embedding"), "embedding")
        chunks = float_array(watched.get("chunks"), "action chunks")
    except TypeError as error:
        raise UnwatchedAnswerError(f"the policy server's answer is invalid: {error}") from None
    if embedding.ndim != 1 or chunks.ndim != 3 or not embedding.size:
        raise UnwatchedAnswerError(
            f"the policy server answered with an embedding of shape {embedding.shape} and chunks "
            f"of shape {chunks.shape}, expected (E,) and (B, H, D): use the same failure_monitor "
            "on both sides"
        )
    if chunks.shape[1:] != actions.shape or not np.array_equal(chunks[0], actions):
        raise UnwatchedAnswerError(
            "the first chunk that the policy server sampled is not the one to be executed: put "
            "nothing that changes the actions between the WatchedPolicy and the server"
        )
    return WatchedDecision(embedding, chunks, extras=_extras(watched.get("extras", {})))


def _extras(stated: Any) -> dict[str, float]:
    """Return what a watching server states as extras; servers of older versions state none."""
    try:
        extras = {str(name): float(value) for name, value in stated.items()}
    except (AttributeError, TypeError, ValueError):
        raise UnwatchedAnswerError(
            f"the policy server answered with extras that are no numbers ({stated!r:.60}): use "
            "the same failure_monitor on both sides"
        ) from None
    return {name: value for name, value in extras.items() if math.isfinite(value)}


def one_chunk(
    observation: Mapping[str, Any], actions: NDArray[np.float32], embedding_from: Sequence[str]
) -> WatchedDecision:
    """Return the decision of a server that knows nothing of us: its one chunk.

    Args:
        observation: what the policy saw.
        actions: the chunk that is to be executed, (H, D).
        embedding_from: the entries of the observation that stand for an embedding, one after the
            other; without any there is no embedding.

    Raises:
        UnwatchedAnswerError: an entry is missing, or no numbers.
    """
    if not embedding_from:
        return WatchedDecision(np.empty(0, np.float32), actions[np.newaxis])
    try:
        parts = [float_array(_entry(observation, name), name).ravel() for name in embedding_from]
    except TypeError as error:
        raise UnwatchedAnswerError(f"the observation is invalid: {error}") from None
    return WatchedDecision(np.concatenate(parts), actions[np.newaxis])


def _entry(observation: Mapping[str, Any], name: str) -> Any:
    """Return an entry, whose name may itself contain `/` or lead into nested dictionaries."""
    if name in observation:
        return observation[name]
    first, _, rest = name.partition("/")
    if rest and isinstance(observation.get(first), Mapping):
        return _entry(observation[first], rest)
    raise UnwatchedAnswerError(
        f"the observation has no entry '{name}' for the embedding, it has "
        f"{sorted(map(str, observation))}: name some of these as embedding_from"
    )


def is_answer_to(request: int, watched: Any) -> bool:
    """Return whether what a watching server adds to an answer repeats the request's number."""
    number = watched.get("request") if isinstance(watched, Mapping) else None
    return isinstance(number, Integral) and number == request


def is_repeated(answer: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    """Return whether an answer is the last one again, down to the time that the server states."""
    timings = [name for name in ("server_timing", "policy_timing") if name in answer]
    return bool(timings) and all(
        are_equal(answer[name], last.get(name)) for name in (*timings, ACTIONS)
    )


def are_equal(first: Any, second: Any) -> bool:
    """Return whether two values of messages are the same; NaN is the same as NaN."""
    first, second = (
        value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for value in (first, second)
    )
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            are_equal(first[key], second[key]) for key in first
        )
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(are_equal, first, second))
    return bool(first == second or (first != first and second != second))
