# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Which rollouts a bundle is calibrated on again, and which may not be.

A bundle does not hold its rollouts. They are read from their sources again and known by their
SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from failure_monitor.bundle.description import BundleDescription, RolloutSection
from failure_monitor.decision import Rollout, in_order_of_time
from failure_monitor.errors import FailureMonitorError
from failure_monitor.listed_names import list_names


class RecalibrationError(FailureMonitorError):
    """A bundle that cannot, or must not, be calibrated again on these rollouts."""


@dataclass(frozen=True)
class Window:
    """Which successful rollouts are used.

    Attributes:
        last: only so many of each task, the newest; None for all.
        since: only those that started then or later; None for all.
        replaces: whether those of the bundle are left out, even if they are given.
    """

    last: int | None = None
    since: datetime | None = None
    replaces: bool = False

    @property
    def drops_old(self) -> bool:
        """Whether rollouts of the bundle may go, so that not all need be given."""
        return self.replaces or self.last is not None or self.since is not None

    def of(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Return the rollouts in the window, in order of time.

        Raises:
            RecalibrationError: a time is asked for, and a rollout has no date.
        """
        undated = [rollout.name for rollout in rollouts if not rollout.has_date]
        if undated and (self.last is not None or self.since is not None):
            raise RecalibrationError(
                f"--last and --since go by dates, and the times of {len(undated)} rollouts are "
                f"none, as those of a simulation ({list_names(undated)}): leave out both options, "
                "and give the sources of those rollouts alone that are to be used (--replace)"
            )
        ordered = in_order_of_time(rollouts)
        if self.since is not None:
            start = self.since.timestamp()
            ordered = [each for each in ordered if each.stamps[0] >= start]
        if self.last is None:
            return ordered
        kept: list[Rollout] = []
        for task in dict.fromkeys(each.task for each in ordered):
            kept += [each for each in ordered if each.task == task][-self.last :]
        return kept


@dataclass(frozen=True, eq=False)
class ChosenRollouts:
    """What becomes of rollouts.

    Attributes:
        calibration: those to calibrate on.
        fit: those to fit the scores on, if the bundle's were fitted on others.
        learned_failures: the failed ones that a score of the bundle learned from.
        came: those to calibrate on that are new.
        went: the bundle's own that are used no more.
        failed: those that failed or in which a human acted; they calibrate nothing.
        for_tests: those that their source keeps for tests; they calibrate nothing either.
    """

    calibration: tuple[Rollout, ...]
    fit: tuple[Rollout, ...]
    learned_failures: tuple[Rollout, ...]
    came: tuple[Rollout, ...]
    went: tuple[RolloutSection, ...]
    failed: tuple[Rollout, ...]
    for_tests: tuple[Rollout, ...] = ()


def choose_rollouts(
    description: BundleDescription, rollouts: Sequence[Rollout], window: Window
) -> ChosenRollouts:
    """Return what becomes of rollouts that were read again.

    Raises:
        RecalibrationError: rollouts of the bundle are missing, none is new, or some would hide a
            failure.
    """
    unique = {rollout.sha256 or str(id(rollout)): rollout for rollout in rollouts if len(rollout)}
    fitted = _found(unique, description.fit, "fitted its scores on")
    fit = {key: each for key, each in fitted.items() if not _has_failed(each)}
    if fitted and not fit:
        raise RecalibrationError(
            f"all {len(fitted)} rollouts that the bundle fitted its scores on have failed, as "
            "their outcomes are stated now: calibrate anew"
        )
    learned = _found(unique, description.failures, "learned failures from")
    others = [rollout for key, rollout in unique.items() if key not in {*fit, *learned}]
    old = {section.sha256: section for section in description.calibration}
    _reject_unknown_outcomes([each for each in others if each.sha256 not in old])
    failed = [each for each in others if _has_failed(each)]
    succeeded = [each for each in others if not _has_failed(each)]
    for_tests = [each for each in succeeded if each.calibration is False]
    usable = [each for each in succeeded if each.calibration is not False]
    if window.replaces:
        usable = [rollout for rollout in usable if rollout.sha256 not in old]
    chosen = window.of(usable)
    used = {rollout.sha256 for rollout in chosen}
    went = tuple(section for sha256, section in old.items() if sha256 not in used)
    absent = [section.name for sha256, section in old.items() if sha256 not in unique]
    if absent and not window.drops_old:
        raise RecalibrationError(
            f"{len(absent)} of the {len(old)} rollouts that the bundle was calibrated on are not "
            f"among these ({list_names(absent)}): give their sources, "
            "too, or state which may go (--replace, --last, --since)"
        )
    came = tuple(rollout for rollout in chosen if rollout.sha256 not in old)
    if not came and not any(rollout.sha256 in {*old, *fitted} for rollout in failed):
        kept = f" ({len(for_tests)} are kept for tests by their source)" if for_tests else ""
        raise RecalibrationError(
            f"no successful rollout is new{kept}, so there is nothing to calibrate again: give "
            "sources of newer rollouts, or a larger window"
        )
    return ChosenRollouts(
        tuple(chosen),
        tuple(fit.values()),
        tuple(learned.values()),
        came,
        went,
        tuple(failed),
        tuple(for_tests),
    )


def _has_failed(rollout: Rollout) -> bool:
    return rollout.has_intervention or rollout.success is False


def _found(
    rollouts: dict[str, Rollout], sections: Sequence[RolloutSection], what: str
) -> dict[str, Rollout]:
    missing = [section.name for section in sections if section.sha256 not in rollouts]
    if missing:
        raise RecalibrationError(
            f"the bundle {what} {len(missing)} rollouts that are not among these "
            f"({list_names(missing)}): give their sources, too"
        )
    return {section.sha256: rollouts[section.sha256] for section in sections}


def _reject_unknown_outcomes(rollouts: Sequence[Rollout]) -> None:
    unknown = [rollout.name for rollout in rollouts if rollout.success is None]
    if unknown:
        raise RecalibrationError(
            f"{len(unknown)} new rollouts have no outcome ({list_names(unknown)}): to take them "
            "for successes could hide a failure, above all where the monitor stopped them; state "
            "how they ended (--labels), or leave them out"
        )
