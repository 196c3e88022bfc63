# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What joints did between two decisions, from their joint states: beside the robot and from bags.

Messages come in the order of their reception, from one topic or several, each with the quantities
of some joints in any order. A decision takes those with a stamp up to its own: the newest values,
and the mean over all since the stamp of the decision before. They are then forgotten, so memory
holds one interval. A message that comes after a decision that it belonged to is in no interval,
beside the robot as in a bag.

Values are written as they come into a block of rows, one per message, of which a decision adds up
a part. That is exact, whatever came before, and takes microseconds for hundreds of messages.
Stamps are whole nanoseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from failure_monitor.joint_motion import QUANTITY_KINDS, JointMotion

CLOCK_JUMP = 1_000_000_000
"""Nanoseconds before the newest stamp, beyond which one means that the clock was set back."""

FIRST_ROWS, MAX_ROWS = 256, 4096
"""Number of messages that wait for a decision, at first and at most; of more the older half is
added up. 4096 are eight seconds at 500 Hz."""

MAX_QUANTITIES = 1024
"""Maximum number of quantities of a topic: names that come after them are not looked at."""

MAX_LAYOUTS = 64
"""Maximum number of orders of joints of which a topic's columns are remembered."""

MAX_LATE_SHARE = 0.05
"""Share of messages above which those that came too late are reported."""

NO_STAMP = np.iinfo(np.int64).min

Floats = Sequence[float] | NDArray[np.float64]
Layout = tuple[tuple[str, ...], tuple[int, int, int]]
"""The names of a message's joints, and the numbers of its positions, velocities and efforts."""


class _Part(NamedTuple):
    """Where values of one kind stand in a message, and where in a row."""

    kind: int
    picks: NDArray[np.intp] | None
    columns: NDArray[np.intp] | slice


class _Places(NamedTuple):
    """Where the values of a layout stand in a row, and whether they fill it."""

    parts: tuple[_Part, ...]
    is_full: bool


@dataclass(frozen=True, eq=False)
class _Interval:
    """What a topic's joints did, by column: `counts` is how many values are in `sums`.

    A sum or state of broken values is infinite or NaN; a state that is unknown has `NO_STAMP`.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    states: NDArray[np.float64]
    stamps: NDArray[np.int64]


class JointTopic:
    """The joint states of one topic that wait for a decision."""

    def __init__(self, wanted: frozenset[str] | None = None) -> None:
        """Start without a message.

        Args:
            wanted: the quantities that are kept; None for all.
        """
        self.received = 0
        """Number of messages."""
        self.unstamped = 0
        """Number of messages without a stamp, which are in no interval."""
        self.late = 0
        """Number of messages that came after a decision that they belonged to."""
        self.fault = ""
        """What was wrong with messages of which a part cannot be used; empty if nothing was."""
        self.quantities: list[str] = []
        """The quantities that were stated so far."""
        self.joints: set[str] = set()
        """The joints that were named so far, not more than `MAX_QUANTITIES`."""
        self._wanted = wanted
        self._names: Sequence[str] = ()
        self._lengths = (0, 0, 0)
        self._places = _Places((), is_full=True)
        self._known: dict[Layout, _Places] = {}
        self._columns: dict[str, int] = {}
        self._stamps = np.empty(FIRST_ROWS, np.int64)
        self._is_full = np.empty(FIRST_ROWS, bool)
        self._values = np.empty((FIRST_ROWS, 0))
        self._states = np.empty(0)
        self._state_stamps = np.empty(0, np.int64)
        self._sums = np.empty(0)
        self._counts = np.empty(0, np.int64)
        self.clear()

    def clear(self) -> None:
        """Forget all messages, so that stamps may start again. Counts continue."""
        self._begin = self._end = 0
        self._newest = self._taken = NO_STAMP
        self._was_set_back = False
        self._states[:] = np.nan
        self._state_stamps[:] = NO_STAMP
        self._forget_sums()

    def add(
        self,
        stamp: int,
        names: Sequence[str],
        positions: Floats,
        velocities: Floats,
        efforts: Floats,
    ) -> None:
        """Receive a message.

        Args:
            stamp: its stamp; 0 if it has none.
            names: of its joints.
            positions: a number for each, or none at all.
            velocities: likewise.
            efforts: likewise.
        """
        self.received += 1
        lengths = (len(positions), len(velocities), len(efforts))
        if names != self._names or lengths != self._lengths:
            self._places = self._find(names, lengths)
            # A copy: its sender may use the list again.
            self._names, self._lengths = names[:], lengths
        if stamp <= 0:
            self.unstamped += 1
            return
        if (stamp <= self._newest or stamp <= self._taken) and not self._is_timely(stamp):
            return
        if self._end == len(self._stamps):
            self._make_room()
        at = self._end
        self._end += 1
        if stamp < self._newest:
            at = self._open_gap(stamp)
        else:
            self._newest = stamp
        self._stamps[at] = stamp
        self._write(at, (positions, velocities, efforts))

    def problems(self) -> list[str]:
        """Return what is wrong with messages so far that could not be used, and what to do."""
        problems = [f"{self.fault}: check their publisher"] if self.fault else []
        if self.unstamped:
            problems.append(
                f"{self.unstamped} of {self.received} joint states have no stamp, so they are of "
                "no decision: have their driver stamp them"
            )
        if self.late > MAX_LATE_SHARE * self.received:
            problems.append(
                f"{self.late} of {self.received} joint states came after the decision that they "
                "belonged to, so they are of none: stamp them by the clock of the observations, "
                "and see what delays them"
            )
        return problems

    def take(self, stamp: int) -> _Interval:
        """Return what came since the last one that was taken, up to a stamp, and forget it."""
        end = self._begin + int(
            np.searchsorted(self._stamps[self._begin : self._end], stamp, side="right")
        )
        sums, counts = self._sums, self._counts
        if end > self._begin:
            more, number = self._added_up(end)
            sums, counts = sums + more, counts + number
        if self._was_set_back or stamp < self._sums_until:
            # Not all that came is there, or what was added up is of later times, too.
            counts = np.zeros_like(counts)
        self._was_set_back = False
        states, stamps = self._states.copy(), self._state_stamps.copy()
        self._begin = end
        self._taken = stamp
        self._forget_sums()
        if self._begin == self._end:
            self._begin = self._end = 0
        is_later = stamps > stamp
        if is_later.any():
            states[is_later], stamps[is_later] = np.nan, NO_STAMP
        return _Interval(sums, counts, states, stamps)

    def _is_timely(self, stamp: int) -> bool:
        """Return whether a message that is not newer than those before can still be used."""
        if stamp < self._newest - CLOCK_JUMP:
            self.clear()
            self._was_set_back = True
            return True
        if stamp <= max(self._taken, self._sums_until):
            self.late += 1
            return False
        return True

    # Layouts

    def _find(self, names: Sequence[str], lengths: tuple[int, int, int]) -> _Places:
        layout = (tuple(names), lengths)
        if layout not in self._known:
            if len(self._known) >= MAX_LAYOUTS or len(names) > MAX_QUANTITIES:
                self._known.clear()
            self._known[layout] = self._placed(*layout)
            if not self._known[layout].is_full:
                self._mark_broken()
        return self._known[layout]

    def _placed(self, names: Sequence[str], lengths: tuple[int, int, int]) -> _Places:
        is_twice = {name for name, times in Counter(names).items() if times > 1}
        if len(self.joints) < MAX_QUANTITIES:
            self.joints.update(names[:MAX_QUANTITIES])
        self.fault = _fault(len(names), is_twice, lengths) or self.fault
        stated = [
            (kind, index, f"{name}/{QUANTITY_KINDS[kind]}")
            for kind, length in enumerate(lengths)
            if length == len(names)
            for index, name in enumerate(names)
            if name not in is_twice
        ]
        self._learn([quantity for _, _, quantity in stated])
        kept = [(kind, at, self._columns[q]) for kind, at, q in stated if q in self._columns]
        parts = tuple(
            _part(kind, [(at, column) for one, at, column in kept if one == kind], len(names))
            for kind in sorted({kind for kind, _, _ in kept})
        )
        return _Places(parts, is_full=len(kept) == len(self.quantities))

    def _learn(self, quantities: Sequence[str]) -> None:
        """Add columns for what was never stated before."""
        new = [
            quantity
            for quantity in quantities
            if quantity not in self._columns and (self._wanted is None or quantity in self._wanted)
        ][: MAX_QUANTITIES - len(self.quantities)]
        if not new:
            return
        self._known.clear()
        self._mark_broken()
        self._columns |= {name: len(self._columns) + place for place, name in enumerate(new)}
        self.quantities += new
        self._values = _widened(self._values, len(new), np.nan)
        self._states = _widened(self._states, len(new), np.nan)
        self._state_stamps = _widened(self._state_stamps, len(new), NO_STAMP)
        self._sums = _widened(self._sums, len(new), 0.0)
        self._counts = _widened(self._counts, len(new), 0)

    # Rows: in a full one every value was stated; in others NaN stands where none was, and broken
    # values are infinite.

    def _write(self, at: int, values: tuple[Floats, Floats, Floats]) -> None:
        row, (parts, is_full) = self._values[at], self._places
        self._is_full[at] = is_full
        if not is_full:
            row.fill(np.nan)
        for kind, picks, columns in parts:
            row[columns] = values[kind] if picks is None else np.asarray(values[kind])[picks]
            if not is_full:
                row[columns] = _broken_as_infinite(row[columns])

    def _mark_broken(self) -> None:
        """Let all rows count as not full."""
        rows = slice(self._begin, self._end)
        values = self._values[rows]
        of_full = self._is_full[rows, np.newaxis] & ~np.isfinite(values)
        values[of_full] = np.inf
        self._is_full[rows] = False

    def _open_gap(self, stamp: int) -> int:
        """Move the rows with later stamps by one; return where the gap is. The last is free."""
        last = self._end - 1
        at = self._begin + int(
            np.searchsorted(self._stamps[self._begin : last], stamp, side="right")
        )
        for rows in (self._stamps, self._is_full, self._values):
            rows[at + 1 : last + 1] = rows[at:last].copy()
        return at

    def _make_room(self) -> None:
        if self._begin < len(self._stamps) // 2 and len(self._stamps) < MAX_ROWS:
            self._move_to_front(2 * len(self._stamps))
            return
        if self._begin < len(self._stamps) // 2:
            self._add_up_older_half()
        self._move_to_front(len(self._stamps))

    def _add_up_older_half(self) -> None:
        end = self._begin + (self._end - self._begin) // 2
        until = int(self._stamps[end - 1])
        # All of one stamp, or else some could not be taken alone.
        end = self._begin + int(
            np.searchsorted(self._stamps[self._begin : self._end], until, side="right")
        )
        sums, counts = self._added_up(end)
        self._sums, self._counts = self._sums + sums, self._counts + counts
        self._sums_until = until
        self._begin = end

    def _move_to_front(self, rows: int) -> None:
        waiting = slice(self._begin, self._end)
        kept = self._end - self._begin
        stamps, is_full = np.empty(rows, np.int64), np.empty(rows, bool)
        values = np.empty((rows, len(self.quantities)))
        stamps[:kept], is_full[:kept] = self._stamps[waiting], self._is_full[waiting]
        values[:kept] = self._values[waiting]
        self._stamps, self._is_full, self._values = stamps, is_full, values
        self._begin, self._end = 0, kept

    def _forget_sums(self) -> None:
        self._sums = np.zeros(len(self.quantities))
        self._counts = np.zeros(len(self.quantities), np.int64)
        self._sums_until = NO_STAMP

    def _added_up(self, end: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return sums and counts of the rows before `end`, of which states are kept."""
        rows = slice(self._begin, end)
        values, number = self._values[rows], end - self._begin
        if self._is_full[rows].all():
            self._states[:] = values[-1]
            self._state_stamps[:] = self._stamps[end - 1]
            return values.sum(axis=0), np.full(len(self.quantities), number)
        is_full = self._is_full[rows, np.newaxis]
        values = np.where(is_full & ~np.isfinite(values), np.inf, values)
        is_stated = ~np.isnan(values)
        counts = is_stated.sum(axis=0)
        last = number - 1 - np.argmax(is_stated[::-1], axis=0)
        some = np.flatnonzero(counts)
        self._states[some] = values[last[some], some]
        self._state_stamps[some] = self._stamps[rows][last[some]]
        return np.where(is_stated, values, 0.0).sum(axis=0), counts


class JointIntervals:
    """The joint states of all topics, and what each decision takes of them."""

    def __init__(self, topics: Sequence[str], wanted: Sequence[str] | None = None) -> None:
        """Start without a message.

        Args:
            topics: the topics of joint states.
            wanted: the quantities of which motions consist, in this order; None for all that
                are stated.
        """
        kept = None if wanted is None else frozenset(wanted)
        self.topics = {topic: JointTopic(kept) for topic in topics}
        """What waits of each topic, to which its messages are added."""
        self.counts: NDArray[np.int64] = np.zeros(0 if wanted is None else len(wanted), np.int64)
        """Number of values of each quantity in the interval that was taken last."""
        self.are_known: NDArray[np.bool_] = self.counts > 0
        """Whether a value of each quantity has come up to the decision that was taken last."""
        self.had_before = False
        """Whether there was a decision before it, so that means may be known."""
        self._wanted = None if wanted is None else tuple(wanted)
        self._names: tuple[str, ...] = self._wanted or ()
        self._known = 0
        self._places: list[NDArray[np.intp]] = []
        self._before: int | None = None

    def start_rollout(self) -> None:
        """Expect a rollout's first decision, before which there is no interval."""
        self._before = None

    def clear(self) -> None:
        """Forget all messages, because stamps start again."""
        self.start_rollout()
        for topic in self.topics.values():
            topic.clear()

    def problems(self) -> list[str]:
        """Return a sentence for each kind of message so far that could not be used."""
        return [
            f"on {name}, {problem}"
            for name, topic in self.topics.items()
            for problem in topic.problems()
        ]

    def take(self, stamp: int) -> JointMotion:
        """Return what the joints did up to a decision, since the one before.

        Without a decision before, or with one that is not older, all means are NaN.

        Args:
            stamp: of the decision's observation.
        """
        before = self._before
        self._update_places()
        if before is not None and before - CLOCK_JUMP <= stamp <= before:
            unknown = np.full(len(self._names), np.nan)
            self.counts = np.zeros(len(self._names), np.int64)
            self.are_known = self.counts > 0
            return JointMotion(self._names, unknown, unknown)
        self._before = stamp
        self.had_before = before is not None and stamp > before
        intervals = [topic.take(stamp) for topic in self.topics.values()]
        sums, self.counts, states = self._together(intervals)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums / self.counts
        if not self.had_before:
            means[:] = np.nan
        return JointMotion(self._names, _finite(states), _finite(means))

    def _update_places(self) -> None:
        """Find where the quantities of each topic stand among those of all."""
        known = sum(len(topic.quantities) for topic in self.topics.values())
        if known == self._known and self._places:
            return
        self._known = known
        if self._wanted is None:
            self._names = _in_order(
                quantity for topic in self.topics.values() for quantity in topic.quantities
            )
        places = {name: place for place, name in enumerate(self._names)}
        self._places = [
            np.array([places[quantity] for quantity in topic.quantities], np.intp)
            for topic in self.topics.values()
        ]

    def _together(
        self, intervals: Sequence[_Interval]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        size = len(self._names)
        sums, counts = np.zeros(size), np.zeros(size, np.int64)
        states, stamps = np.full(size, np.nan), np.full(size, NO_STAMP)
        for interval, places in zip(intervals, self._places, strict=True):
            sums[places] += interval.sums
            counts[places] += interval.counts
            is_newer = interval.stamps > stamps[places]
            newer = places[is_newer]
            states[newer], stamps[newer] = interval.states[is_newer], interval.stamps[is_newer]
        self.are_known = stamps != NO_STAMP
        return sums, counts, states


def _part(kind: int, places: Sequence[tuple[int, int]], joints: int) -> _Part:
    """Return where values of a kind stand, as slices where that is possible: they are faster."""
    picks = np.array([at for at, _ in places], np.intp)
    columns = np.array([column for _, column in places], np.intp)
    first = int(columns[0])
    is_row = np.array_equal(columns, np.arange(first, first + len(columns)))
    return _Part(
        kind,
        None if np.array_equal(picks, np.arange(joints)) else picks,
        slice(first, first + len(columns)) if is_row else columns,
    )


def _fault(joints: int, is_twice: Iterable[str], lengths: tuple[int, int, int]) -> str:
    if is_twice:
        return f"messages state {', '.join(sorted(is_twice))} more than once"
    for kind, length in zip(QUANTITY_KINDS, lengths, strict=True):
        if length not in (0, joints):
            return f"messages have {joints} joints, and numbers for {length} as their {kind}"
    return ""


def _widened(values: NDArray[Any], columns: int, filling: float) -> NDArray[Any]:
    """Return values with more columns."""
    new = np.full((*values.shape[:-1], columns), filling, values.dtype)
    return np.concatenate([values, new], axis=-1)


def _broken_as_infinite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.inf)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values, NaN where they are infinite."""
    values[np.isinf(values)] = np.nan
    return values


def _in_order(quantities: Iterable[str]) -> tuple[str, ...]:
    """Return quantities once each: positions, velocities, efforts, of joints in order of name."""

    def place(quantity: str) -> tuple[int, str]:
        joint, kind = quantity.rsplit("/", 1)
        return QUANTITY_KINDS.index(kind), joint  # type: ignore[arg-type]

    return tuple(sorted(set(quantities), key=place))
