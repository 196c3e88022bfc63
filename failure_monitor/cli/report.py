# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The reports that commands write when they are asked to."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from failure_monitor.bundle.folder import content_hash
from failure_monitor.cli.app import output, progress
from failure_monitor.cli.declaration import Option

if TYPE_CHECKING:
    from failure_monitor.calibration.audit import Audit
    from failure_monitor.calibration.from_sources import Calibration
    from failure_monitor.evaluation.from_sources import EvaluatedBundle
    from failure_monitor.executors.executor import Executor
    from failure_monitor.report.page import Page
    from failure_monitor.report.reproduction import Origin
    from failure_monitor.sources.rollout_set import RolloutSet

ReportFolder = Annotated[
    Path | None,
    Option(
        "--report",
        metavar="DIR",
        writes="folder",
        help="write a report into this folder: one page, DIR/index.html, that holds all it shows. "
        "A report there is replaced, another page rejected, other files are left alone",
    ),
]


def check_report(folder: Path | None) -> None:
    """Reject a folder that a report cannot be written to, before anything takes long.

    Raises:
        ReportError: its page is not a report of this package.
        ModuleNotFoundError: a package that reports need is not installed.
    """
    if folder is not None:
        from failure_monitor.report.page import reject_other_content

        reject_other_content(folder)


def report_calibration(
    folder: Path, calibration: Calibration, bundle_folder: Path, executor: Executor
) -> None:
    """Write the report of a calibration.

    Args:
        folder: where to.
        calibration: what was calibrated, and on what.
        bundle_folder: where the bundle was written to.
        executor: what works over the rollouts.

    Raises:
        FailureMonitorError: it cannot be written.
    """
    from failure_monitor.report.calibration_report import calibration_report

    bundle, rollouts = calibration.bundle, calibration.rollouts
    calibrated = replace(calibration.rollout_set, rollouts=rollouts)
    with _interrupted_after_all_else():
        found = _audit(calibrated, bundle.description.seed, executor)
        progress.print("drawing the report")
        _write(calibration_report(bundle, rollouts, found, _origin(bundle_folder)), folder)


def report_evaluation(
    folder: Path,
    evaluated_bundle: EvaluatedBundle,
    bundle_folder: Path,
    *,
    camera: str,
    executor: Executor,
) -> None:
    """Write the report of an evaluation.

    Args:
        folder: where to.
        evaluated_bundle: the bundle, the rollouts and the figures.
        bundle_folder: where the bundle lies.
        camera: the topic whose frames are shown; empty for the first that can be.
        executor: what works over the rollouts.

    Raises:
        FailureMonitorError: it cannot be written.
    """
    from failure_monitor.evaluation.evaluate import evaluated
    from failure_monitor.report.evaluation_report import evaluation_report
    from failure_monitor.report.scored_rollout import scored

    bundle, evaluation = evaluated_bundle.bundle, evaluated_bundle.evaluation
    rollout_set = evaluated_bundle.rollout_set
    rollouts = evaluated(rollout_set)
    successes = tuple(rollout for rollout in rollouts if rollout.success)
    succeeded = replace(rollout_set, rollouts=successes)
    with _interrupted_after_all_else():
        found = _audit(succeeded, bundle.description.seed, executor) if successes else None
        progress.print("drawing the report")
        page = evaluation_report(
            bundle,
            evaluation,
            scored(bundle, rollouts, evaluation.results, executor),
            found,
            _origin(bundle_folder),
            camera=camera,
        )
        _write(page, folder)


@contextmanager
def _interrupted_after_all_else() -> Iterator[None]:
    """Report that an interrupt costs the report alone: all else is written."""
    try:
        yield
    except KeyboardInterrupt:
        progress.print("interrupted; the report was not written", style="red")
        raise SystemExit(130) from None


def _audit(rollout_set: RolloutSet, seed: int, executor: Executor) -> Audit:
    from failure_monitor.calibration.audit import audit, receptions_of

    return audit(
        rollout_set.rollouts,
        [rollout_set.policy] * len(rollout_set.rollouts),
        receptions=receptions_of([rollout_set]),
        seed=seed,
        executor=executor,
        report=lambda step: progress.print(f"audit: {step}"),
    )


def _origin(bundle_folder: Path) -> Origin:
    from failure_monitor.report.reproduction import Origin

    return Origin(
        command=shlex.join([_program(), *sys.argv[1:]]),
        bundle=str(bundle_folder),
        bundle_sha256=content_hash(bundle_folder),
        made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
    )


def _program() -> str:
    """Return what starts the command line: itself, or `ros2 failure_monitor`."""
    return "ros2" if Path(sys.argv[0]).name == "ros2" else "failure-monitor"


def _write(page: Page, folder: Path) -> None:
    from failure_monitor.report.page import write

    output.print(f"wrote {write(page, folder)}", soft_wrap=True, markup=False)
