# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Watches the promise over the rollouts of a monitor, on the thread of the disk.

Neither permit nor gate depends on it: a disk that is slow, full or gone costs the watch alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from failure_monitor.errors import FailureMonitorError
from failure_monitor.parameters.monitor import MonitorParameters
from failure_monitor.promise.finished_rollout import FinishedRollout
from failure_monitor.promise.reference import Reference, references
from failure_monitor.promise.state_file import (
    MAX_ROLLOUTS,
    PROMISE_SUFFIX,
    PromiseFile,
    StoredPromise,
    watch_from,
)
from failure_monitor.promise.watch import PromiseState, PromiseWatch, PromiseWord
from failure_monitor.ros.common.key_values import key_values
from failure_monitor.ros.monitor.halt_mark_file import SHORT_HASH, halt_mark_folder
from failure_monitor.ros.monitor.monitored_bundle import MonitoredBundle
from failure_monitor.ros.monitor.work_thread import WorkThread

MAX_NAMES = 1000
"""Number of rollouts that did not count and may still be counted anew."""

MAX_PROBLEM = 1000
"""Characters of a problem: a damaged file may state names of any length."""

FULL = f"came after the {MAX_ROLLOUTS} that are kept"

LEVELS = {
    PromiseWord.HOLDS: DiagnosticStatus.OK,
    PromiseWord.DOUBTFUL: DiagnosticStatus.WARN,
    PromiseWord.BROKEN: DiagnosticStatus.ERROR,
}


@dataclass(frozen=True)
class CountedRollout:
    """A rollout that has ended, as it counts for the promise.

    Attributes:
        finished: its largest values; None without a scored decision.
        why_left_out: why it says nothing of the promise; empty if it does.
        name: its name, under which it may be counted anew when its outcome is known better.
    """

    finished: FinishedRollout | None
    why_left_out: str = ""
    name: str = ""


NONE_YET = CountedRollout(None)
"""In place of the first rollout: the file is to be read."""


@dataclass(frozen=True)
class _Known:
    """What the thread last found."""

    state: PromiseState | None
    problem: str
    left_out: Mapping[str, int]


class WatchedPromise:
    """The promise of one bundle on one robot, while the bundle is configured."""

    def __init__(
        self,
        known: tuple[Reference, ...],
        file: PromiseFile | None,
        empty: StoredPromise,
        delta: float,
        disk: WorkThread,
        wake: Callable[[], None],
    ) -> None:
        """Start to read the file.

        Args:
            known: the calibration rollouts of each task.
            file: what keeps the rollouts; None if nothing does.
            empty: no rollouts of this bundle.
            delta: the chance that a promise that holds is ever called broken.
            disk: the thread that reads and writes.
            wake: called by the thread when something has changed.
        """
        self._references = known
        self._file = file
        self._stored = empty
        self._delta = delta
        self._wake = wake
        self._watch: PromiseWatch | None = None
        self._names: list[str] = []
        """Of the rollouts that count, as far as they are of this process."""
        self._reasons: dict[str, str] = {}
        """Why others of this process do not, by their names."""
        self._disk = disk
        self._lock = threading.Lock()
        self._known = _Known(None, "the file of earlier rollouts is being read", {})
        self.end_rollout(NONE_YET)

    def end_rollout(self, ended: CountedRollout) -> None:
        """Count a rollout, in place of what was counted under its name; never waits."""
        self._disk.submit(lambda: self._work(ended))

    def message(self, *, name: str, hardware_id: str) -> DiagnosticStatus:
        """Return what is known.

        Args:
            name: the node's name.
            hardware_id: the robot's or the policy's.
        """
        with self._lock:
            known = self._known
        state = known.state
        values = {} if state is None else _values(state)
        values |= {f"left out: {why}": str(number) for why, number in known.left_out.items()}
        values["file"] = "none: it starts again with each process"
        if self._file is not None:
            values["file"] = str(self._file.path)
        unknown = state is None or bool(known.problem)
        return DiagnosticStatus(
            level=DiagnosticStatus.STALE if state is None or unknown else LEVELS[state.word],
            name=f"{name}: promise",
            message=known.problem if state is None or unknown else state.text,
            hardware_id=hardware_id,
            values=key_values(values),
        )

    # What follows runs on the thread.

    def _work(self, ended: CountedRollout) -> None:
        try:
            self._update(ended)
        finally:
            self._wake()

    def _update(self, ended: CountedRollout) -> None:
        problem = ""
        try:
            if self._watch is None:
                self._read()
            if ended is not NONE_YET:
                self._count(ended)
        except (FailureMonitorError, OSError) as error:
            problem = f"the promise is not watched: {error}"
        except Exception as error:
            # What the file or a rollout may hold is not all foreseen: never silent, never old.
            problem = f"the promise is not watched: {type(error).__name__}: {error}"
        state = None if self._watch is None else self._watch.state
        with self._lock:
            self._known = _Known(state, problem[:MAX_PROBLEM], dict(self._stored.left_out))

    def _read(self) -> None:
        stored = self._stored if self._file is None else self._file.read()
        self._watch = watch_from(stored, self._references, self._delta)
        self._stored = stored
        self._names = [""] * len(stored.rollouts)

    def _count(self, ended: CountedRollout) -> None:
        self._take_back(ended.name)
        assert self._watch is not None
        reason = ended.why_left_out
        if not reason and self._watch.rollouts >= MAX_ROLLOUTS:
            reason = FULL
        if ended.finished is None or reason:
            self._stored = self._stored.without_rollout(reason)
            self._reasons[ended.name] = reason
            if len(self._reasons) > MAX_NAMES:
                del self._reasons[next(iter(self._reasons))]
        else:
            place = self._watch.place(ended.finished)
            self._watch.add(ended.finished.task, place)
            self._stored = self._stored.with_rollout(ended.finished.task, place)
            self._names.append(ended.name)
        if self._file is not None:
            self._file.write(self._stored)

    def _take_back(self, name: str) -> None:
        """Forget how a rollout counted, if it did: more is known of its outcome by now."""
        if not name:
            return
        if name in self._reasons:
            self._stored = self._stored.taken_back_without(self._reasons.pop(name))
        elif name in self._names:
            place = self._names.index(name)
            del self._names[place]
            self._stored = self._stored.taken_back(place)
            self._watch = watch_from(self._stored, self._references, self._delta)


def _values(state: PromiseState) -> dict[str, str]:
    since = {} if state.broken_since is None else {"broken_since": str(state.broken_since)}
    return {
        "word": state.word.value,
        **since,
        "mostly": state.mostly,
        "direction": state.direction.value,
        "task": state.task,
        "evidence": f"{state.evidence:.4g}",
        "delta": f"{state.delta:g}",
        "rollouts": str(state.rollouts),
        "above_threshold": str(state.above_threshold),
        "calibration_rollouts": str(state.calibration_rollouts),
    }


def watch_promise(
    monitored: MonitoredBundle,
    settings: MonitorParameters,
    monitor: str,
    disk: WorkThread,
    wake: Callable[[], None],
) -> WatchedPromise | None:
    """Watch the promise of a bundle; None if it is not to be watched, or cannot be.

    Args:
        monitored: the bundle.
        settings: the monitor's parameters.
        monitor: the node's full name.
        disk: the thread that reads and writes.
        wake: called by a thread when something has changed.

    Raises:
        UsageError: the folder would be another one for a monitor that is started elsewhere.
    """
    folder = halt_mark_folder(settings.promise_folder, "promise_folder")
    known = references(monitored.bundle.description, monitored.sha256)
    if not settings.promise_delta or not known:
        return None
    empty = StoredPromise(monitor=monitor, bundle=monitored.sha256, series=known[0].series)
    name = monitor.strip("/").replace("/", ".")
    file = None
    if folder is not None:
        path = folder / f"{name}.{monitored.sha256[:SHORT_HASH]}{PROMISE_SUFFIX}"
        file = PromiseFile(path, empty)
    return WatchedPromise(known, file, empty, settings.promise_delta, disk, wake)
