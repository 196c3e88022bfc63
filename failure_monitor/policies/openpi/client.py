# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Stands between openpi's client and whatever executes its chunks, and hands on every decision.

client = TappedClient("gpu-box", 8000, on_decision=callback)
policy = ActionChunkBroker(client, action_horizon=25)
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.policies.openpi.connection import (
    Connection,
    InvalidObservationError,
    ServerSilentError,
    ServerUnreachableError,
)
from failure_monitor.policies.openpi.messages import (
    KEY,
    InvalidAnswerError,
    PolicyServerError,
    UnwatchedAnswerError,
    are_equal,
    is_answer_to,
    is_repeated,
    one_chunk,
    read_actions,
    read_watched,
)
from failure_monitor.policies.watched_decision import WatchedDecision
from failure_monitor.policy_description import PolicyDescription, PolicyDescriptionError

__all__ = [
    "STAMP",
    "AnotherPolicyError",
    "ClientClosedError",
    "InvalidAnswerError",
    "InvalidObservationError",
    "PolicyServerError",
    "ServerSilentError",
    "ServerUnreachableError",
    "TappedClient",
]

logger = logging.getLogger(__name__)

STAMP = "stamp"
"""Under which an observation may hold when it was made; it stays with the client."""

BY_A_SERVER = PolicyDescription(unit="robot", execution="server")
"""How chunks are executed where nothing else was stated."""

OnAnswer = Callable[[WatchedDecision, Any], None]
"""Receives a decision and the stamp of its observation, before its first action is executed."""


class AnotherPolicyError(PolicyServerError):
    """Another policy than before, or than was stated, answers at the server's address."""


class ClientClosedError(PolicyServerError):
    """An observation was given to a client that is closed."""


class TappedClient:
    """A policy as openpi's client is one, which hands on what it is watched by.

    Whatever goes wrong between here and the policy is a `PolicyServerError` of `infer`: then there
    is no plan, and the robot must be stopped. The connection is given up with everything that may
    still arrive on it, and the next `infer` makes a new one.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = None,
        *,
        api_key: str | None = None,
        on_decision: OnAnswer | None = None,
        clock: Callable[[], Any] = time.time_ns,
        description: PolicyDescription | None = None,
        embedding_from: str | Sequence[str] = (),
        answer_timeout: float = 1.0,
        first_answer_timeout: float = 60.0,
        connect_timeout: float = 10.0,
    ) -> None:
        """Connect to the server.

        Args:
            host: the server's host or its `ws://` address.
            port: the server's port.
            api_key: for servers that ask for one.
            on_decision: receives every decision; may be set later.
            clock: returns the stamp of an observation that holds none as `STAMP`, when it is sent.
            description: what is known beside the robot of the policy, such as its action names
                and its control period; a server that states otherwise is rejected.
            embedding_from: the entries of the observation that stand for the embedding where the
                server gives none, such as `observation/state`; without any there is no embedding.
            answer_timeout: seconds within which an answer must arrive.
            first_answer_timeout: seconds for the first answer of a connection, for which a server
                that has just started may have to compile its model.
            connect_timeout: seconds within which a server must accept a connection.

        Raises:
            PolicyServerError: there is no such server.
        """
        self.on_decision = on_decision
        self._where = (host, port, api_key, connect_timeout)
        self._clock = clock
        self._stated = description or PolicyDescription()
        self._embedding_from = (
            (embedding_from,) if isinstance(embedding_from, str) else tuple(embedding_from)
        )
        self._answer_timeout = answer_timeout
        self._first_answer_timeout = first_answer_timeout
        self._one_request = threading.Lock()
        self._is_closed = False
        self._shape: tuple[int, ...] | None = None
        self._last: Mapping[str, Any] | None = None
        connection = Connection(*self._where)
        self._connection: Connection | None = connection
        self._metadata = connection.metadata
        try:
            self._description = self._described(self._metadata)
        except PolicyServerError:
            connection.abandon()
            raise

    @property
    def description(self) -> PolicyDescription:
        """What is known of the policy, from its server and beside the robot."""
        return self._description

    @property
    def is_watched(self) -> bool:
        """Whether the server watches its policy; else there is one chunk per decision."""
        return KEY in self._metadata

    def get_server_metadata(self) -> dict[str, Any]:
        """Return the server's metadata, as openpi's client does."""
        return self._metadata

    def infer(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the server's answer to an observation, and hand on the decision.

        Raises:
            PolicyServerError: there is no plan: stop the robot. The next call connects again.
        """
        with self._one_request:
            observation = dict(obs)
            stamp = observation.pop(STAMP, None)
            if stamp is None:
                stamp = self._clock()
            answer, actions, request = self._ask(observation)
            watched = answer.pop(KEY, None)
            try:
                decision = self._decision(observation, actions, watched, request)
                if self.on_decision is not None:
                    self.on_decision(decision, stamp)
            except UnwatchedAnswerError as error:
                logger.error("a decision is not watched: %s", error)
            except Exception:
                logger.exception("a decision is not watched: what receives it failed")
            return answer

    def reset(self) -> None:
        """Start a rollout; the server's policy has no memory."""

    def close(self) -> None:
        """Close the connection; a request that waits ends with `ClientClosedError`."""
        self._is_closed = True
        connection = self._connection
        if connection is not None:
            connection.close()

    def _ask(
        self, observation: dict[str, Any]
    ) -> tuple[dict[str, Any], NDArray[np.float32], int | None]:
        """Return the answer to an observation, its actions, and the number of the request."""
        try:
            connection, timeout = self._connected()
            request = secrets.randbits(63) if self.is_watched else None
            if request is not None:
                observation = {**observation, KEY: {"request": request}}
            answer = connection.ask(observation, timeout)
            actions = self._checked_actions(answer, request)
        except BaseException as error:
            # Also where the user interrupts the wait: the answer may still come.
            self._give_connection_up()
            if not isinstance(error, Exception):
                raise
            if self._is_closed:
                raise ClientClosedError(
                    "the client was closed and asks for no plan: make a new one"
                ) from error
            if isinstance(error, PolicyServerError):
                raise
            raise InvalidAnswerError(
                f"the policy server's answer cannot be read ({type(error).__name__}: {error}): "
                "check what serves the policy"
            ) from error
        self._last = answer
        return dict(answer), actions, request

    def _give_connection_up(self) -> None:
        connection, self._connection = self._connection, None
        self._last = None
        if connection is not None:
            connection.abandon()

    def _connected(self) -> tuple[Connection, float]:
        """Return the connection, a new one if need be, and how long its next answer may take."""
        if self._connection is None and not self._is_closed:
            self._connection = Connection(*self._where)
            self._accept(self._connection.metadata)
        if self._connection is None or self._is_closed:
            raise ClientClosedError("closed")
        is_first = self._last is None
        return self._connection, self._first_answer_timeout if is_first else self._answer_timeout

    def _checked_actions(self, answer: Any, request: int | None) -> NDArray[np.float32]:
        """Return the actions of an answer to this request.

        Raises:
            InvalidAnswerError: it is the answer to another one, or no plan.
        """
        actions = read_actions(answer)
        watched = answer.get(KEY)
        if request is not None and not is_answer_to(request, watched):
            raise InvalidAnswerError(
                "the policy server answered another observation than the one that was sent: its "
                "answer is late, or it was given to somebody else"
            )
        if request is None and self._last is not None and is_repeated(answer, self._last):
            raise InvalidAnswerError(
                "the policy server sent its last answer once more: answers and observations no "
                "longer belong together"
            )
        if self._shape is not None and actions.shape != self._shape:
            raise InvalidAnswerError(
                f"the policy server's actions have shape {actions.shape}, and had {self._shape} "
                "before: it serves another policy"
            )
        self._shape = actions.shape
        return actions

    def _decision(
        self,
        observation: Mapping[str, Any],
        actions: NDArray[np.float32],
        watched: Any,
        request: int | None,
    ) -> WatchedDecision:
        if request is not None or watched is not None:
            return read_watched(watched, actions)
        return one_chunk(observation, actions, self._embedding_from)

    def _accept(self, metadata: dict[str, Any]) -> None:
        """Accept what a new connection's server states, if it is the policy of before.

        Raises:
            AnotherPolicyError: it is not.
        """
        described = self._described(metadata)
        if (KEY in metadata) != self.is_watched:
            was, is_now = ("watched", "not") if self.is_watched else ("not watched", "watched")
            raise AnotherPolicyError(
                f"the server's policy was {was} before the connection broke and is {is_now} now: "
                f"{_REMEDY}"
            )
        if differences := self._description.differences_text(described):
            raise AnotherPolicyError(
                "another policy answers at the server's address, before against now: "
                f"{differences}: {_REMEDY}"
            )
        changed = sorted(
            str(key)
            for key in metadata.keys() | self._metadata.keys()
            if key != KEY and not are_equal(metadata.get(key), self._metadata.get(key))
        )
        if changed:
            raise AnotherPolicyError(
                f"another policy answers at the server's address: its metadata differ in "
                f"{', '.join(changed)} from those of before: {_REMEDY}"
            )

    def _described(self, metadata: Mapping[str, Any]) -> PolicyDescription:
        """Return the policy's description by its server, completed by what is known here.

        Raises:
            AnotherPolicyError: they contradict each other.
        """
        try:
            served = (
                PolicyDescription.from_json(str(metadata[KEY]))
                if KEY in metadata
                else PolicyDescription(dispersion_of="nothing")
            )
        except PolicyDescriptionError as error:
            raise InvalidAnswerError(
                f"the policy server's metadata are invalid: {error}"
            ) from None
        if differences := served.differences_text(self._stated):
            raise AnotherPolicyError(
                f"the policy server serves another policy than stated here: {differences}: start "
                "the server with the stated policy, or correct the description"
            )
        return served.completed_by(self._stated).completed_by(BY_A_SERVER)


_REMEDY = (
    "start the server with the policy of before, or, if the change is meant, make a new client "
    "and calibrate for it"
)
