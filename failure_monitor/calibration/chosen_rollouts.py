# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses which rollouts of some sources calibrate, and which failures teach."""

from __future__ import annotations

from collections.abc import Sequence

from failure_monitor.decision import Rollout
from failure_monitor.listed_names import list_names
from failure_monitor.thresholds.conformal import (
    CalibrationError,
)


def choose(rollouts: Sequence[Rollout]) -> tuple[list[Rollout], list[str]]:
    """Return the rollouts that may calibrate, and remarks on what was left out or assumed.

    Where a source sets rollouts apart for calibration, those of them that succeeded are taken.
    Elsewhere all are that did not fail: one without an outcome counts as successful. One in which
    a human intervened is left out: it is not the policy's alone.
    """
    remarks = []
    apart = [rollout for rollout in rollouts if rollout.calibration is False]
    failed = [
        rollout
        for rollout in rollouts
        if rollout.calibration is not False
        and (rollout.success is False or (rollout.calibration and not rollout.success))
    ]
    if apart:
        remarks.append(f"{len(apart)} rollouts that their source keeps for tests are left out")
    if failed:
        remarks.append(
            f"{len(failed)} of {len(rollouts)} rollouts failed, by what is known of them, and are "
            f"left out ({list_names([rollout.name for rollout in failed])})"
        )
    others = {id(rollout) for rollout in (*apart, *failed)}
    helped = [r for r in rollouts if r.has_intervention and id(r) not in others]
    if helped:
        remarks.append(
            f"a human intervened in {len(helped)} of {len(rollouts)} rollouts, which are left out "
            f"({list_names([rollout.name for rollout in helped])})"
        )
    left_out = {id(rollout) for rollout in (*apart, *failed, *helped)}
    chosen = [rollout for rollout in rollouts if id(rollout) not in left_out]
    unlabelled = [rollout for rollout in chosen if rollout.success is None]
    if unlabelled:
        remarks.append(f"{len(unlabelled)} rollouts without an outcome are taken as successful")
    return chosen, remarks


def choose_failures(rollouts: Sequence[Rollout]) -> tuple[list[Rollout], list[str]]:
    """Return the rollouts that the score `probe` may learn from as failures, and remarks.

    Those that succeeded are left out; one without an outcome counts as a failure, as its owner
    gave it as one. One in which a human intervened failed there, whatever the human made of it.

    Raises:
        CalibrationError: all of them succeeded.
    """
    remarks = []
    chosen = [part for part in (each.policys_part for each in rollouts) if not part.success]
    if rollouts and not chosen:
        raise CalibrationError(
            f"all {len(rollouts)} rollouts given as failures succeeded: give some that failed"
        )
    if len(chosen) < len(rollouts):
        remarks.append(f"{len(rollouts) - len(chosen)} rollouts that succeeded are left out")
    unlabelled = [rollout for rollout in chosen if rollout.success is None]
    if unlabelled:
        remarks.append(f"{len(unlabelled)} rollouts without an outcome are taken as failed")
    return chosen, remarks
