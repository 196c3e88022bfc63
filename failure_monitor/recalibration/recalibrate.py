# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Recalibration: a bundle and rollouts in, a bundle with a lineage and its effect out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from failure_monitor.atomic_file import reject_unwritable_folder
from failure_monitor.bundle import folder as bundle_files
from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import BundleDescription, LineageSection
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import USUAL_FOLDS, CalibrationSettings
from failure_monitor.decision import Rollout
from failure_monitor.evaluation.bundle_reading import reading_for
from failure_monitor.evaluation.watched_promise import PromiseCourse, promise_course
from failure_monitor.executors.executor import Executor
from failure_monitor.listed_names import list_names
from failure_monitor.missing_package import missing_packages_named
from failure_monitor.promise.reference import references
from failure_monitor.recalibration.chosen_rollouts import (
    ChosenRollouts,
    RecalibrationError,
    Window,
    choose_rollouts,
)
from failure_monitor.recalibration.group_shares import AS_NEW, read_shares, shares_of
from failure_monitor.scores.probe import Probe
from failure_monitor.sources.reading_options import (
    Progress,
    ReadingOptions,
    no_progress,
    paths_of,
)


@dataclass(frozen=True)
class PastAlarm:
    """Whether a rollout raised an alarm by the old bundle, and would by the new one."""

    name: str
    success: bool
    before: bool
    after: bool


@dataclass(frozen=True, eq=False)
class Recalibration:
    """A bundle that was calibrated again, and what that changes.

    Attributes:
        old: the bundle before.
        new: the bundle after.
        chosen: what became of the rollouts.
        promise: of the old bundle over the new successful rollouts; None if it is too old to say.
        alarms: of the new rollouts and the failed ones.
    """

    old: Bundle
    new: Bundle
    chosen: ChosenRollouts
    promise: PromiseCourse | None
    alarms: tuple[PastAlarm, ...]

    @property
    def missed(self) -> tuple[str, ...]:
        """Failed rollouts in which the old bundle raised an alarm, and the new one would not."""
        return tuple(
            alarm.name
            for alarm in self.alarms
            if alarm.before and not alarm.after and not alarm.success
        )


@missing_packages_named()
def recalibrate(
    bundle_folder: Path,
    sources: str | Path | Sequence[str | Path],
    output: Path | None = None,
    *,
    window: Window | None = None,
    alpha: float | None = None,
    future: str = "",
    accept_missed: bool = False,
    reading: ReadingOptions | None = None,
    report: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> Recalibration:
    """Calibrate a bundle again, as `failure-monitor recalibrate` does.

    Args:
        bundle_folder: the bundle.
        sources: of new rollouts, and of the bundle's own.
        output: the folder to write the new bundle to; None writes nothing.
        window: which rollouts are used; None for all.
        alpha: the promised false-alarm rate; None for the bundle's.
        future: the shares of groups among successful rollouts to come, such as
            'evening=0.7,morning=0.3', or 'as-new' for those of the new rollouts; empty for what
            the bundle was weighed for, if it was.
        accept_missed: whether alarms in failed rollouts may be lost.
        reading: how the sources are read.
        report: receives each step, a sentence.
        progress: shows how far reading is.

    Raises:
        FailureMonitorError: the bundle or a source cannot be read, the rollouts do not support a
            calibration, or it would hide a failure.
    """
    reading = reading or ReadingOptions()
    reading.check()
    stated = read_shares(future) if future not in ("", AS_NEW) else None
    old, sha256 = bundle_files.load(bundle_folder), bundle_files.content_hash(bundle_folder)
    if output is not None:
        reject_unwritable_folder(output)
        bundle_files.reject_other_content(output)
    with reading_for(old, reading) as completed:
        rollout_set = completed.read(
            paths_of(sources),
            like=old.policy,
            described=old.description.stated_policy,
            progress=progress,
        )
    chosen = choose_rollouts(old.description, rollout_set.rollouts, window or Window())
    shares = shares_of(chosen.came) if future == AS_NEW else stated or old.description.future
    made = calibrate(
        chosen.calibration,
        old.policy,
        _settings(old.description, alpha, shares),
        fit_rollouts=chosen.fit,
        failures=chosen.learned_failures,
        delays={key: reception.delays for key, reception in rollout_set.receptions.items()},
        executor=reading.workers,
        report=report,
    )
    if set(made.command_names) != set(old.command_names):
        raise RecalibrationError(
            f"the bundle's scores take the commands as sent ({list_names(old.command_names)}), "
            f"and those of these rollouts are {list_names(made.command_names)}: read the same "
            "commands of them (--commands-topic), or calibrate again"
        )
    new = _as_before(
        made,
        old,
        LineageSection(
            parent=sha256,
            parent_created=old.description.created,
            came=tuple(rollout.sha256 for rollout in chosen.came),
            went=tuple(section.sha256 for section in chosen.went),
        ),
    )
    recalibration = Recalibration(
        old,
        new,
        chosen,
        _promise(old, sha256, chosen, reading.workers),
        _alarms(old, new, chosen, reading.workers),
    )
    if recalibration.missed and not accept_missed:
        raise RecalibrationError(
            f"the new bundle would raise no alarm in {len(recalibration.missed)} failed rollouts "
            f"in which the old one did ({list_names(recalibration.missed)}): leave out what is "
            "unlike the usual success (`failure-monitor audit`), or accept it by --accept-missed"
        )
    if output is not None:
        bundle_files.save(new, output)
    return recalibration


def _settings(
    description: BundleDescription, alpha: float | None, future: Mapping[str, float]
) -> CalibrationSettings:
    scores = tuple(score.name for score in description.scores)
    return CalibrationSettings(
        scores=scores,
        probed_scores=tuple(name for name in scores if name != Probe.name),
        rule=description.rule,
        alpha=description.alpha if alpha is None else alpha,
        window=description.window,
        threshold=description.threshold,
        promise=description.promise,
        future=future,
        folds=description.folds if description.folds > USUAL_FOLDS else None,
        seed=description.seed,
        choosers=tuple(score.name for score in description.choosers),
        outcome_alpha=0.0 if description.outcome is None else description.outcome.alpha,
    )


def _as_before(made: Bundle, old: Bundle, lineage: LineageSection) -> Bundle:
    """Return a bundle with what it takes over from the one before."""
    before = old.description
    description = replace(
        made.description,
        stated_policy=before.stated_policy,
        rule_choice=before.rule_choice,
        external_topics=before.external_topics,
        message_types=before.message_types,
        positions_topic=before.positions_topic,
        joints=before.joints,
        black_box=before.black_box,
        lineage=(*before.lineage, lineage),
    )
    return replace(made, description=description, encoder=old.encoder, sampler=old.sampler)


def _promise(
    old: Bundle, sha256: str, chosen: ChosenRollouts, executor: Executor
) -> PromiseCourse | None:
    if not references(old.description, sha256):
        return None
    # Also those that their source sets apart for calibration.
    came = [replace(rollout, calibration=None) for rollout in chosen.came]
    return promise_course(old, sha256, came, executor=executor)


def _alarms(
    old: Bundle, new: Bundle, chosen: ChosenRollouts, executor: Executor
) -> tuple[PastAlarm, ...]:
    """Return the alarms of new and failed rollouts.

    A rollout that the new bundle was calibrated on counts by what was fitted without it.
    """
    rollouts = (*chosen.came, *chosen.failed)
    held_out = {section.sha256: section.max_level for section in new.calibration}
    before = executor.map(_calls, old, [rollout.policys_part for rollout in rollouts])
    fresh = [rollout for rollout in rollouts if held_out.get(rollout.sha256) is None]
    called = executor.map(_calls, new, [rollout.policys_part for rollout in fresh])
    calls = {id(rollout): call for rollout, call in zip(fresh, called, strict=True)}

    def after(rollout: Rollout) -> bool:
        level = held_out.get(rollout.sha256)
        return calls[id(rollout)] if level is None else level > 1

    return tuple(
        PastAlarm(
            rollout.name,
            success=bool(rollout.success) and not rollout.has_intervention,
            before=call,
            after=after(rollout),
        )
        for rollout, call in zip(rollouts, before, strict=True)
    )


def _calls(bundle: Bundle, rollout: Rollout) -> bool:
    return bool((~(bundle.levels(rollout) <= 1)).any())
