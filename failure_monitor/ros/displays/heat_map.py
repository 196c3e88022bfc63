# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Finds where pictures are unfamiliar, on a thread of its own that leaves most time to others."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from failure_monitor.errors import FailureMonitorError
from failure_monitor.messages.matching import MatchedMessages
from failure_monitor.monitoring.unfamiliarity import Unfamiliarity, score_embedding, unfamiliarity
from failure_monitor.ros.common.queue_worker import QueueWorker
from failure_monitor.scores.base.folded_score import FoldedScore

if TYPE_CHECKING:
    from failure_monitor.policy_models.models import ObservationEncoder
    from failure_monitor.policy_models.observation import Observation

FAMILIAR_LEVEL = 0.7
"""Normalised score up to which a picture counts as familiar."""

WORKING_SHARE = 0.25
"""Share of the time in which the thread works, at most: models that cannot wait need the rest."""

MAX_AGE = 5.0
"""Seconds after which a map no longer describes the present picture."""


@dataclass(frozen=True, eq=False)
class _ScoredPicture:
    messages: MatchedMessages
    number: int
    task: str
    level: float


@dataclass(frozen=True, eq=False)
class _Comparison:
    picture: _ScoredPicture
    familiar: _ScoredPicture


class HeatMap:
    """Remembers the last familiar picture, and compares unfamiliar ones with it."""

    def __init__(self, encoder: ObservationEncoder, score: FoldedScore) -> None:
        """Prepare the comparison; the thread starts with the first unfamiliar picture.

        Args:
            encoder: embeds pictures; others may run it at the same time.
            score: scores embeddings (`failure_monitor.monitoring.unfamiliarity.embedding_score`).
        """
        # Imported here: without a heat map there is neither OpenCV nor ONNX Runtime.
        from failure_monitor.policy_models.observation import ObservationReader

        self.problem = ""
        """Why there is no map; empty if nothing is wrong."""
        self._encoder = encoder
        self._reader = ObservationReader(encoder)
        self._camera = next(iter(encoder.cameras))
        self._score = score
        self._familiar: _ScoredPicture | None = None
        self._lock = threading.Lock()
        self._newest: tuple[float, Unfamiliarity] | None = None
        self._worker = QueueWorker("heat map", self._compare, on_error=self._on_error)

    def update(
        self,
        messages: MatchedMessages,
        number: int,
        levels: Mapping[str, float],
        *,
        task: str = "",
        is_wanted: bool,
    ) -> None:
        """Receive the picture of a decision that was scored.

        Args:
            messages: of cameras and joints.
            number: the decision's number in the rollout.
            levels: its normalised scores by name.
            task: the task, of those whose tokens the encoder holds.
            is_wanted: whether to find where the picture is unfamiliar. A familiar one is
                remembered in any case.
        """
        level = levels.get(self._score.name, np.nan)
        picture = _ScoredPicture(messages, number, task, level)
        if self._is_familiar(level):
            self._familiar = picture
            self._worker.clear()
            with self._lock:
                self._newest = None
        elif is_wanted and self._familiar is not None:
            self._worker.submit(_Comparison(picture, self._familiar))

    def _is_familiar(self, level: float) -> bool:
        """Return whether a picture is familiar; without any so far, the best one counts."""
        kept = 1.0 if self._familiar is None else self._familiar.level
        return level <= max(FAMILIAR_LEVEL, kept)

    def latest(self, now: float) -> Unfamiliarity | None:
        """Return the newest map; None if it is old, missing, or the picture is familiar."""
        with self._lock:
            if self._newest is None or now - self._newest[0] > MAX_AGE:
                return None
            return self._newest[1]

    def stop(self) -> None:
        """End the thread."""
        self._worker.stop()

    # What follows runs on the thread.

    def _compare(self, job: _Comparison) -> None:
        picture, familiar = (
            self._reader.read(one.messages) for one in (job.picture, job.familiar)
        )
        found = unfamiliarity(
            _newest(picture.images[self._camera]),
            _newest(familiar.images[self._camera]),
            lambda covered: self._novelty(covered, picture, job.picture),
            score=self._score.name,
        )
        self.problem = ""
        with self._lock:
            self._newest = time.monotonic(), found

    def _novelty(
        self, covered: NDArray[np.uint8], seen: Observation, scored: _ScoredPicture
    ) -> float:
        if self._worker.is_stopping:
            raise _StoppedError
        start = time.monotonic()
        images = {**seen.images, self._camera: _with_covered(seen.images[self._camera], covered)}
        embedding = self._encoder.embed(images, seen.joints, scored.task)
        novelty = score_embedding(self._score, embedding, scored.number)
        time.sleep((time.monotonic() - start) * (1 / WORKING_SHARE - 1))
        return novelty

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, FailureMonitorError):
            self.problem = str(error)
        elif not isinstance(error, _StoppedError):
            # The overlay goes on without a map.
            self.problem = f"unfamiliar places: {type(error).__name__}: {error}"


class _StoppedError(Exception):
    """The thread has to end in the middle of its work."""


def _newest(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture, of an encoder that takes several the newest."""
    return pictures if pictures.ndim == 3 else pictures[-1]


def _with_covered(pictures: NDArray[np.uint8], covered: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture as covered, of an encoder that takes several the others likewise."""
    if pictures.ndim == 3:
        return covered
    is_covered = (covered != pictures[-1]).any(axis=-1, keepdims=True)
    return np.where(is_covered, covered, pictures)
