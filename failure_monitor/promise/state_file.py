# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The file that keeps the rollouts of a watched promise: of one robot, for one bundle.

It holds where every rollout lay, and no clock: what was known follows from these, in their order.
What is not exactly such a file is neither used nor replaced.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from failure_monitor.atomic_file import write_atomically
from failure_monitor.errors import FailureMonitorError
from failure_monitor.promise.reference import Place, Reference
from failure_monitor.promise.watch import PromiseWatch
from failure_monitor.schema import at_least, plain
from failure_monitor.versioned_file import MAX_BYTES, VersionedFile

VERSION = 1

PROMISE_SUFFIX = ".promise.json"
"""What the name of every such file ends with."""

MAX_ROLLOUTS = 10_000
"""Number of rollouts that are kept; a promise that held for so long is due for recalibration."""

REMEDY = "move it away to watch the promise from the start"


class PromiseFileError(FailureMonitorError):
    """A file that does not hold the rollouts of this robot and bundle."""


@dataclass(frozen=True, kw_only=True)
class StoredRollout:
    """A rollout: its task, and its place among those of calibration."""

    task: str
    cells: tuple[Annotated[int, at_least(0)], ...]


@dataclass(frozen=True, kw_only=True)
class StoredPromise:
    """The content of the file.

    `series` are the rule and the scores, in the order of a rollout's cells. `left_out` counts
    rollouts that did not count, by the reason.
    """

    what: str = "rollouts by which failure_monitor watches a promise"
    version: int = VERSION
    monitor: str
    bundle: str
    series: tuple[str, ...]
    writer: str = ""
    rollouts: tuple[StoredRollout, ...] = ()
    left_out: Mapping[str, Annotated[int, at_least(0)]] = field(default_factory=dict)

    def with_rollout(self, task: str, place: Place) -> StoredPromise:
        """Return it with one rollout more."""
        rollout = StoredRollout(task=task, cells=place.cells)
        return replace(self, rollouts=(*self.rollouts, rollout))

    def without_rollout(self, reason: str) -> StoredPromise:
        """Return it with one rollout more that did not count."""
        left_out = {**self.left_out, reason: self.left_out.get(reason, 0) + 1}
        return replace(self, left_out=left_out)

    def taken_back(self, place: int) -> StoredPromise:
        """Return it without the rollout at a place, whose outcome was another one."""
        return replace(self, rollouts=(*self.rollouts[:place], *self.rollouts[place + 1 :]))

    def taken_back_without(self, reason: str) -> StoredPromise:
        """Return it with one rollout less that did not count for a reason."""
        left_out = {**self.left_out, reason: max(self.left_out.get(reason, 0) - 1, 0)}
        return replace(self, left_out={why: number for why, number in left_out.items() if number})


PROMISES = VersionedFile(
    StoredPromise, VERSION, "rollouts of a watched promise", REMEDY, PromiseFileError
)
"""The files of watched promises."""


class PromiseFile:
    """The file of one monitor and bundle. Every method may block for as long as the disk does."""

    def __init__(self, path: Path, empty: StoredPromise) -> None:
        """Use a place.

        Args:
            path: the file.
            empty: what it holds before the first rollout.
        """
        self.path = path
        self._empty = empty
        self._writer = secrets.token_hex(8)
        self._read_writer = ""
        self._written: os.stat_result | None = None

    def read(self) -> StoredPromise:
        """Return what the file holds; without a file, no rollout.

        Raises:
            PromiseFileError: it is damaged, newer, or of another monitor or bundle.
        """
        stored = stored_promise(self.path)
        if stored is None:
            return self._empty
        for what, found, expected in (
            ("bundle", stored.bundle, self._empty.bundle),
            ("monitor", stored.monitor, self._empty.monitor),
            ("scores", stored.series, self._empty.series),
        ):
            if found != expected:
                raise PromiseFileError(
                    f"'{self.path}' is of another {what} ({found}, expected {expected}): {REMEDY}"
                )
        self._read_writer = stored.writer
        return stored

    def write(self, stored: StoredPromise) -> None:
        """Replace the content.

        Raises:
            PromiseFileError: another process has written it since it was read, or it would be
                too large to be read again.
            UnwritableError, OSError: it cannot be written.
        """
        if not self._is_as_written():
            found = stored_promise(self.path)
            if found is not None and found.writer not in (self._writer, self._read_writer):
                raise PromiseFileError(
                    f"another process writes '{self.path}', too: give each monitor a name or a "
                    "'promise_folder' of its own"
                )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = plain(replace(stored, writer=self._writer))
        text = json.dumps(content, ensure_ascii=False) + "\n"
        if len(text.encode(errors="backslashreplace")) > MAX_BYTES:
            raise PromiseFileError(f"'{self.path}' would be too large: {REMEDY}")
        write_atomically(self.path, text)
        self._read_writer = self._writer
        self._written = self.path.stat()

    def _is_as_written(self) -> bool:
        """Return whether nobody has replaced the content since; to read it again takes long."""
        try:
            now, before = self.path.stat(), self._written
        except OSError:
            return False
        return before is not None and _identity(now) == _identity(before)


def stored_promise(path: Path) -> StoredPromise | None:
    """Return what a file of any monitor and bundle holds; None if there is none.

    Raises:
        PromiseFileError: it cannot be read, is damaged, or of a newer version.
    """
    return PROMISES.read(path)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def watch_from(
    stored: StoredPromise, references: tuple[Reference, ...], delta: float
) -> PromiseWatch:
    """Return the watch after all rollouts of a file.

    Raises:
        PromiseFileError: a rollout cannot have lain where the file says.
    """
    watch = PromiseWatch(references, delta)
    ranks = {reference.task: reference.rank for reference in references}
    for number, rollout in enumerate(stored.rollouts, start=1):
        known = ranks.get(rollout.task)
        fits = known is not None and (
            not rollout.cells
            or (len(rollout.cells) == len(stored.series) and max(rollout.cells) < known)
        )
        if not fits:
            raise PromiseFileError(f"rollout {number} does not fit the bundle: {REMEDY}")
        watch.add(rollout.task, Place(rollout.cells))
    return watch
