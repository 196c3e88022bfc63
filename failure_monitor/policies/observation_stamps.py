# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""When a robot observed what LeRobot's policy server decides by, by this machine's clock.

The server runs the policy for a client on another machine, which stamps observations by its own
wall clock. The client's stamps keep their distances, by which executed actions are counted; where
the two clocks do not agree, all are shifted by the same time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from failure_monitor.policies.policy_class import UnsupportedPolicyError
from failure_monitor.policies.shadow import Original, Shadow

logger = logging.getLogger(__name__)

OBSERVATIONS = "lerobot.async_inference.helpers"
AGREED = 1.0
"""Seconds: clocks agree where a client's first observation is not older, and not of the future."""
AHEAD = 0.1
"""Seconds by which a stamp may be of the future before the clocks are compared again."""

_received = threading.local()


class ClientClock:
    """The clock of one client, as seen from here."""

    def __init__(self) -> None:
        """Know nothing of it before its first stamp."""
        self._shift: float | None = None

    def here(self, stamp: float, now: float) -> float:
        """Return a stamp of the client by this machine's clock.

        A client whose clock does not agree is taken to have made its first observation just now,
        so that ages are too small by the time which that one took to arrive. A client's clock that
        is set back makes its observations old, and never an old one new.

        Args:
            stamp: by the client's clock, in seconds.
            now: by this machine's clock, in seconds.
        """
        if self._shift is None or stamp + self._shift > now + AHEAD:
            age = now - stamp
            self._shift = 0.0 if 0.0 <= age <= AGREED else age
            if self._shift:
                logger.warning(
                    "the robot client's clock is %.3f s %s this machine's: its stamps are shifted "
                    "by as much, and ages do not count the time that observations take to arrive; "
                    "synchronise the clocks",
                    abs(age),
                    "behind" if age > 0 else "ahead of",
                )
        return stamp + self._shift


class ObservationStamps:
    """Reports the stamp of every observation that a policy is given by LeRobot's policy server."""

    def __init__(
        self,
        policy: Any,
        observed: Callable[[int], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Report from the policy's next decision on.

        Args:
            policy: the policy that the server has loaded; where it is watched, it is so already.
            observed: receives the stamp of an observation in nanoseconds, by this machine's clock,
                before the policy decides.
            now: this machine's clock, in seconds.

        Raises:
            UnsupportedPolicyError: this LeRobot's server hands observations over otherwise.
        """
        _note_observations()
        self._clock = ClientClock()
        self._observed = observed
        self._now = now
        self._shadow = Shadow(policy, "predict_action_chunk", self._deciding)

    def close(self) -> None:
        """Report no more."""
        self._shadow.take_away()

    def _deciding(self, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stamp, _received.stamp = getattr(_received, "stamp", None), None
        if stamp is not None:
            self._observed(round(1e9 * self._clock.here(stamp, self._now())))
        return original(*args, **kwargs)


def _note_observations() -> None:
    """Have every thread remember the stamp of the observation that it has read last.

    The server reads an observation in the thread in which it then decides.
    """
    try:
        observation = import_module(OBSERVATIONS).TimedObservation
        read = observation.get_observation
        observation.get_timestamp  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise UnsupportedPolicyError(
            f"this LeRobot's policy server hands observations over otherwise ({error}): versions "
            "0.4.4 to 0.6.1 are known"
        ) from None
    if getattr(read, "is_noted", False):
        return

    def get_observation(timed: Any) -> Any:
        _received.stamp = timed.get_timestamp()
        return read(timed)

    get_observation.is_noted = True  # type: ignore[attr-defined]
    observation.get_observation = get_observation
