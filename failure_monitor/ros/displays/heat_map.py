# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""One thread that finds out where pictures are unfamiliar, slowly, in time that nobody needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Verdict
from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.monitoring.unfamiliarity import Unfamiliarity, score_embedding, unfamiliarity
from failure_monitor.scores.base.score import Score

if TYPE_CHECKING:
    from failure_monitor.policy_models.models import ObservationEncoder
    from failure_monitor.policy_models.observation import Observation

FAMILIAR = 0.7
"""The normalised score up to which a picture is familiar, and above which it is asked where not."""

WORKING_SHARE = 0.25
"""Of the time; the rest of it the thread sleeps, for the models that must not wait."""

OLD = 5.0
"""Seconds after which a place says nothing of the picture that is there now."""

PATIENCE = 1.0
"""Seconds that the thread may take to end."""


@dataclass(frozen=True, eq=False)
class _Seen:
    messages: MatchedMessages
    number: int
    level: float


class UnfamiliarityWorker:
    """Remembers the last familiar picture, and compares those that are not with it."""

    def __init__(self, encoder: ObservationEncoder, score: Score) -> None:
        """Start the thread.

        Args:
            encoder: embeds pictures; may be run by others meanwhile.
            score: judges embeddings (`failure_monitor.monitoring.unfamiliarity.embedding_score`).
        """
        # Imported here: a monitor that runs no models does without OpenCV.
        from failure_monitor.policy_models.observation import ObservationReader

        self.problem = ""
        """Why it is not known where a picture is unfamiliar; empty if nothing is amiss."""
        self._encoder = encoder
        self._reader = ObservationReader(encoder)
        self._camera = next(iter(encoder.cameras))
        self._score = score
        self._changed = threading.Condition()
        self._familiar: _Seen | None = None
        self._job: _Seen | None = None
        self._found: tuple[float, Unfamiliarity] | None = None
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="unfamiliarity", daemon=True)
        self._thread.start()

    def see(self, messages: MatchedMessages, verdict: Verdict, *, is_wanted: bool) -> None:
        """Take what was seen at a decision that was judged.

        Args:
            messages: of cameras and joints.
            verdict: on the decision.
            is_wanted: whether to find out where it is unfamiliar; what is familiar is remembered
                in any case.
        """
        levels = {score.name: score.normalised for score in verdict.scores}
        level = levels.get(self._score.name, np.nan)
        seen = _Seen(messages, verdict.index, level)
        with self._changed:
            if self._is_familiar(level):
                self._familiar, self._job, self._found = seen, None, None
            elif is_wanted and self._familiar is not None:
                # The newest wins.
                self._job = seen
                self._changed.notify()

    def _is_familiar(self, level: float) -> bool:
        """Whether nothing is to be found; where little ever was familiar, the best counts."""
        kept = 1.0 if self._familiar is None else self._familiar.level
        return level <= max(FAMILIAR, kept)

    def latest(self, now: float) -> Unfamiliarity | None:
        """What was found of late; None if nothing, or the picture is familiar."""
        with self._changed:
            if self._found is None or now - self._found[0] > OLD:
                return None
            return self._found[1]

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            seen, familiar = job
            try:
                found = self._compare(seen, familiar)
                self.problem = ""
            except _EndedError:
                return
            except FailureMonitorError as error:
                self.problem = str(error)
                continue
            except Exception as error:
                # A picture is not worth the monitor.
                self.problem = f"unfamiliar places: {type(error).__name__}: {error}"
                continue
            with self._changed:
                self._found = time.monotonic(), found

    def _next_job(self) -> tuple[_Seen, _Seen] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._job is not None or self._ends)
            seen, self._job = self._job, None
            if self._ends or seen is None or self._familiar is None:
                return None
            return seen, self._familiar

    def _compare(self, seen: _Seen, familiar: _Seen) -> Unfamiliarity:
        now, before = (self._reader.read(one.messages) for one in (seen, familiar))
        return unfamiliarity(
            now.images[self._camera],
            before.images[self._camera],
            lambda picture: self._novelty(picture, now, seen.number),
            score=self._score.name,
        )

    def _novelty(self, picture: NDArray[np.uint8], seen: Observation, number: int) -> float:
        if self._ends:
            raise _EndedError
        begin = time.monotonic()
        images: Mapping[str, NDArray[np.uint8]] = {**seen.images, self._camera: picture}
        embedding = self._encoder.embed(images, seen.joints)
        novelty = score_embedding(self._score, embedding, number)
        time.sleep((time.monotonic() - begin) * (1 / WORKING_SHARE - 1))
        return novelty


class _EndedError(Exception):
    """The thread is to end in the middle of its work."""
