# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What one robot's monitors kept, added up for each monitor and bundle."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from failure_monitor.bundle.description import BundleDescription
from failure_monitor.errors import FailureMonitorError
from failure_monitor.evaluation.metrics import clopper_pearson
from failure_monitor.fleet.incident_bags import IncidentBag, read_incident
from failure_monitor.fleet.robot_folders import RobotFolders, Unread
from failure_monitor.fleet.shifts import Shift, ShiftPlan
from failure_monitor.fleet.unlike import CountedRollouts
from failure_monitor.promise.reference import references
from failure_monitor.promise.state_file import StoredPromise, stored_promise, watch_from
from failure_monitor.promise.watch import PromiseState
from failure_monitor.rollout_log.log_file import RolloutLogError, read_log
from failure_monitor.rollout_log.record import RolloutRecord

MAX_LOG_BYTES = 256_000_000
"""A larger log is not read: 10 000 rollouts take 6 MB."""


@dataclass(frozen=True)
class ShiftCount:
    """What happened in one shift.

    Attributes:
        rollouts: how many began in it.
        alarms: how many of these raised an alarm.
        stops: in how many the robot was halted.
    """

    rollouts: int = 0
    alarms: int = 0
    stops: int = 0

    def __add__(self, other: ShiftCount) -> ShiftCount:
        """Return both together."""
        return ShiftCount(
            self.rollouts + other.rollouts, self.alarms + other.alarms, self.stops + other.stops
        )


@dataclass(frozen=True, kw_only=True)
class FalseAlarms:
    """How many successful rollouts raised an alarm, against what the bundle promises.

    Attributes:
        alarms: of successful rollouts in which no human acted.
        successes: how many of these there are.
        unknown: rollouts with an alarm and without an outcome.
        promised: the promised rate.
        likely: up to where the true rate is likely to lie, given the calibration rollouts (the
            upper end of its 90 % interval); the promised rate if the bundle is not at hand.
    """

    alarms: int
    successes: int
    unknown: int
    promised: float
    likely: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the rate (Clopper and Pearson); None without a success."""
        return clopper_pearson(self.alarms, self.successes)

    @property
    def exceeds_promise(self) -> bool:
        """Whether there are more than chance explains, of calibration rollouts and of these."""
        return self.interval is not None and self.interval[0] > max(self.likely, self.promised)


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """How rollouts ended.

    Attributes:
        claimed: of how many success was claimed.
        confirmed: of these, by the outcome check.
        doubtful: likewise.
        doubted_by_judges: of these, by an outside judge.
        labelled_false: of these, by the operator, failures.
        failed: of all rollouts, by the best that is known.
        unknown: of how many nothing is known.
    """

    claimed: int = 0
    confirmed: int = 0
    doubtful: int = 0
    doubted_by_judges: int = 0
    labelled_false: int = 0
    failed: int = 0
    unknown: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class RobotFigures:
    """What one monitor of a robot kept of its rollouts with one bundle.

    Attributes:
        robot: the robot's name.
        monitor: the monitor node's full name.
        bundle: the SHA-256 of the bundle.
        calibration_rollouts: of the bundle, where it promises for one task; None if unknown.
        first: when its first rollout began, in seconds since 1970; None if no clock was right.
        last: likewise, its last rollout.
        total: rollouts, those with an alarm and those with a halt.
        interventions: rollouts in which a human acted.
        undated: rollouts whose clock cannot have been right.
        set_back: rollouts that ended before they began, since a clock was set back.
        shifts: what happened in each shift.
        false_alarms: against the promise.
        outcomes: how rollouts ended.
        scores: in how many rollouts with an alarm each score was highest above its threshold.
        promise: what is known of the promise; None if nothing is, for the reason `why_unknown`.
        why_unknown: why nothing is known of it.
        counted: its rollouts that succeeded.
    """

    robot: str
    monitor: str
    bundle: str
    calibration_rollouts: int | None
    first: float | None
    last: float | None
    total: ShiftCount
    interventions: int
    undated: int
    set_back: int
    shifts: Mapping[Shift, ShiftCount]
    false_alarms: FalseAlarms
    outcomes: Outcomes
    scores: Mapping[str, int]
    promise: PromiseState | None
    why_unknown: str
    counted: CountedRollouts

    @property
    def alarms_per_shift(self) -> float:
        """Of the shifts in which it had rollouts."""
        return sum(each.alarms for each in self.shifts.values()) / max(len(self.shifts), 1)

    @property
    def stops_per_shift(self) -> float:
        """Likewise, halts."""
        return sum(each.stops for each in self.shifts.values()) / max(len(self.shifts), 1)


@dataclass(frozen=True)
class RobotReading:
    """All that was read of one robot.

    Attributes:
        figures: of each of its monitors and bundles.
        incidents: newest first.
        unread: what could not be read, or was left out.
        names: the names of its rollouts, by which a copy of a robot's folder is recognised.
    """

    figures: tuple[RobotFigures, ...] = ()
    incidents: tuple[IncidentBag, ...] = ()
    unread: tuple[Unread, ...] = ()
    names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FleetSettings:
    """How robots are read.

    Attributes:
        bundles: what the bundles at hand state, by hash.
        plan: when shifts begin.
        delta: the chance that a promise that holds is ever called broken.
    """

    bundles: Mapping[str, BundleDescription]
    plan: ShiftPlan
    delta: float


def read_robot(settings: FleetSettings, folders: RobotFolders) -> RobotReading:
    """Read what a robot's monitors kept; what cannot be read is named and left out."""
    unread: list[Unread] = []

    def leave_out(place: Path, reason: object) -> None:
        text = str(reason).removeprefix(f"'{place}'").lstrip(": ")
        unread.append(Unread(str(place), text, folders.robot))

    kept: defaultdict[tuple[str, str], dict[str, RolloutRecord]] = defaultdict(dict)
    for path in folders.logs:
        for record in _records(path, leave_out):
            kept[record.monitor, record.bundle][record.rollout] = record
    promises = {}
    for path in folders.promises:
        try:
            stored = stored_promise(path)
        except FailureMonitorError as error:
            leave_out(path, error)
            continue
        if stored is not None:
            promises[stored.monitor, stored.bundle] = (path, stored)
    figures = []
    for (monitor, bundle), records in kept.items():
        promise: PromiseState | None = None
        path_and_stored = promises.get((monitor, bundle))
        why = "no file of the promise lies beside the rollout log"
        if path_and_stored is not None:
            path, stored = path_and_stored
            try:
                promise, why = _promise_state(settings, stored)
            except FailureMonitorError as error:
                leave_out(path, error)
                why = "its file does not fit the bundle"
        newest = [*records.values()]
        figures.append(_figures(folders.robot, newest, settings, promise, why))
    incidents = [read_incident(path) for path in folders.incidents]
    for incident in incidents:
        if incident.problem:
            leave_out(incident.path, incident.problem)
    return RobotReading(
        tuple(figures),
        tuple(
            sorted(
                (each for each in incidents if not each.problem),
                key=lambda each: each.time,
                reverse=True,
            )
        ),
        tuple(unread),
        frozenset(name for records in kept.values() for name in records),
    )


def _records(path: Path, leave_out: Callable[[Path, object], None]) -> list[RolloutRecord]:
    """Return the records of a log that can be true."""
    try:
        size = path.stat().st_size if path.is_file() else 0
        if size > MAX_LOG_BYTES:
            raise RolloutLogError(
                f"it has {size / 1e6:.0f} MB, expected at most {MAX_LOG_BYTES / 1e6:.0f} MB"
            )
        records = read_log(path, lambda remark: leave_out(path, remark))
    except (FailureMonitorError, OSError) as error:
        leave_out(path, error)
        return []
    possible = [record for record in records if 0 < record.alpha < 1]
    if len(possible) < len(records):
        leave_out(
            path,
            f"{len(records) - len(possible)} records left out: their alpha is no rate between 0 "
            "and 1",
        )
    return possible


def _promise_state(
    settings: FleetSettings, stored: StoredPromise
) -> tuple[PromiseState | None, str]:
    """Return what is known of a promise, or why nothing is.

    Raises:
        PromiseFileError: the file does not fit the bundle.
    """
    description = settings.bundles.get(stored.bundle)
    if description is None:
        return None, "its bundle is not among the sources"
    known = references(description, stored.bundle)
    if not known:
        return None, "a promise of this kind, or of such an old bundle, is not watched"
    if stored.series != known[0].series:
        return None, "its file is of other scores than the bundle"
    return watch_from(stored, known, settings.delta).state, ""


def _figures(
    robot: str,
    records: Sequence[RolloutRecord],
    settings: FleetSettings,
    promise: PromiseState | None,
    why_unknown: str,
) -> RobotFigures:
    newest = records[-1]
    description = settings.bundles.get(newest.bundle)
    shifts: defaultdict[Shift, ShiftCount] = defaultdict(ShiftCount)
    times = []
    for record in records:
        shift = settings.plan.shift(record.started)
        if shift is not None:
            shifts[shift] += _count([record])
            times.append(record.started)
    successes = [each for each in records if _counts(each) and each.outcome == "success"]
    return RobotFigures(
        robot=robot,
        monitor=newest.monitor,
        bundle=newest.bundle,
        calibration_rollouts=_calibration_rollouts(description),
        first=min(times, default=None),
        last=max(times, default=None),
        total=_count(records),
        interventions=sum(each.intervention for each in records),
        undated=len(records) - len(times),
        set_back=sum(each.ended < each.started for each in records),
        shifts=dict(sorted(shifts.items())),
        false_alarms=_false_alarms(records, successes, newest.alpha, description),
        outcomes=_outcomes(records),
        scores=dict(Counter(each.score for each in records if _alarmed(each)).most_common()),
        promise=promise,
        why_unknown=why_unknown,
        counted=CountedRollouts(
            np.array([_alarmed(each) for each in successes], dtype=np.bool_),
            np.array([_below(each) for each in successes], dtype=np.int64),
        ),
    )


def _calibration_rollouts(description: BundleDescription | None) -> int | None:
    """Return how many there are, where all new rollouts are compared with the same ones."""
    if description is None or len(description.promises) > 1 or not description.weighs_alike:
        return None
    return description.promises[0].rollouts


def _count(records: Iterable[RolloutRecord]) -> ShiftCount:
    found = [*records]
    return ShiftCount(
        len(found), sum(map(_alarmed, found)), sum(record.stopped for record in found)
    )


def _alarmed(record: RolloutRecord) -> bool:
    return record.alarm is not None


def _below(record: RolloutRecord) -> int:
    """Return how many calibration rollouts lie below a rollout; -1 if unknown."""
    return -1 if record.rollouts_below is None else min(record.rollouts_below, 2**31)


def _counts(record: RolloutRecord) -> bool:
    """Return whether a rollout counts for the false-alarm rate, if it succeeded."""
    return record.decisions > 0 and not record.intervention


def _false_alarms(
    records: Sequence[RolloutRecord],
    successes: Sequence[RolloutRecord],
    alpha: float,
    description: BundleDescription | None,
) -> FalseAlarms:
    promised = likely = alpha
    if description is not None:
        promised = description.promised_rate
        likely = max(each.false_alarm_interval_90[1] for each in description.promises)
    return FalseAlarms(
        alarms=sum(map(_alarmed, successes)),
        successes=len(successes),
        unknown=sum(_alarmed(each) and _counts(each) and each.outcome is None for each in records),
        promised=promised,
        likely=likely,
    )


def _outcomes(records: Sequence[RolloutRecord]) -> Outcomes:
    claimed = [record for record in records if record.claim == "success"]
    return Outcomes(
        claimed=len(claimed),
        confirmed=sum(record.check == "confirmed" for record in claimed),
        doubtful=sum(record.check == "doubtful" for record in claimed),
        doubted_by_judges=sum("doubtful" in record.judge_words.values() for record in claimed),
        labelled_false=sum(record.label == "failure" for record in claimed),
        failed=sum(record.outcome == "failure" for record in records),
        unknown=sum(record.outcome is None for record in records),
    )
