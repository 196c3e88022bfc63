# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a reviewer asks of a bundle, as tables: promise, policy, settings, rollouts, files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import BundleDescription, RolloutSection, ScoreSection
from failure_monitor.bundle.folder import DESCRIPTION_FILE
from failure_monitor.cli.policy_rows import add_policy_rows
from failure_monitor.cli.promise_table import promise_table
from failure_monitor.listed_names import list_names

SHORT_HASH = 12
"""Digits of a SHA-256 that are shown."""


def bundle_tables(
    inspected: Bundle, path: Path, sha256: str, budget: Sequence[tuple[str, str]]
) -> Iterator[Table]:
    """Yield the tables, the most important first.

    Args:
        inspected: the bundle.
        path: where it lies.
        sha256: the hash by which it is known.
        budget: what the promise means in a week, as headings and texts.
    """
    description = inspected.description
    yield promise_table(inspected)
    yield _budget_table(budget)
    yield _policy_table(inspected)
    if any((description.black_box, description.positions_topic, description.joints)):
        yield _inputs_table(description)
    yield _scores_table(inspected)
    yield _making_table(description, sha256)
    yield _rollouts_table(description)
    yield _files_table(description, path)


def _budget_table(budget: Sequence[tuple[str, str]]) -> Table:
    table = Table(title="What it means in a week", show_header=False, title_justify="left")
    for what, text in budget:
        table.add_row(escape(what), escape(text))
    return table


def _policy_table(inspected: Bundle) -> Table:
    table = Table(title="For which policy", show_header=False, title_justify="left")
    add_policy_rows(table, inspected.policy, inspected.description.stated_policy)
    return table


def _inputs_table(description: BundleDescription) -> Table:
    table = Table(title="What its decisions were made of", show_header=False, title_justify="left")
    made = description.black_box
    if made is not None:
        for stream, model in (("embeddings", made.encoder), ("action chunks", made.sampler)):
            table.add_row(
                stream, "published by the policy" if model is None else f"by {model.file}"
            )
        for camera, topic in made.cameras.items():
            table.add_row("camera", escape(f"{camera} on {topic}"))
        rate = f"{made.observation_rate:g} Hz" if made.observation_rate else "every frame"
        table.add_row("observations", f"{rate}, stamps within {made.matching_tolerance:g} s")
        table.add_row("noise seed", str(made.noise_seed))
    positions = description.positions_topic
    if positions is not None:
        joints = f" of {', '.join(positions.joints)}" if positions.joints else ""
        table.add_row(
            "measured positions", escape(f"{positions.message_type} on {positions.name}{joints}")
        )
    if description.joints is not None:
        topics = f" on {', '.join(description.joints.topics)}" if description.joints.topics else ""
        table.add_row("joints", escape(f"{', '.join(description.joints.quantities)}{topics}"))
        if description.joints.commands:
            sent = f" on {topic}" if (topic := description.joints.commands_topic) else ""
            names = list_names(description.joints.commands)
            table.add_row("commands as sent", escape(f"{names}{sent}"))
    return table


def _scores_table(inspected: Bundle) -> Table:
    table = Table(title="Scores", title_justify="left")
    for column in ("score", "part of", "centre", "spread", "numbers of its own"):
        table.add_column(column)
    scale = inspected.scale
    for index, score in enumerate(inspected.description.scores):
        table.add_row(
            score.name,
            "rule",
            _range(scale.centre[..., index]),
            _range(scale.spread[..., index]),
            _parameters(score),
        )
    for score in inspected.description.choosers:
        table.add_row(score.name, "choice", "", "", _parameters(score))
    return table


def _range(numbers: NDArray[np.float64]) -> str:
    """Return a number, or its range over folds and decisions."""
    least, most = (f"{number:.4g}" for number in (numbers.min(), numbers.max()))
    return least if least == most else f"{least} to {most}"


def _parameters(score: ScoreSection) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in score.parameters.items())


def _making_table(description: BundleDescription, sha256: str) -> Table:
    table = Table(title="How it was made", show_header=False, title_justify="left")
    table.add_row("made", f"{description.created} by failure_monitor {description.tool_version}")
    table.add_row("hash", f"{sha256} (of {DESCRIPTION_FILE}, which holds those of all files)")
    for step in description.lineage:
        table.add_row(
            "recalibrated",
            f"from {step.parent[:SHORT_HASH]}, made {step.parent_created}: {len(step.came)} "
            f"rollouts came, {len(step.went)} went",
        )
    table.add_row("rule", f"{description.rule}, window {description.window}")
    table.add_row("threshold", f"{description.threshold}, alpha {description.alpha:g}")
    if description.decision_period is not None:
        table.add_row(
            "a decision every",
            f"{description.decision_period:.3g} s, late after {description.max_decision_age:.3g} "
            "s",
        )
    if description.longest_plan_age is not None:
        table.add_row(
            "a plan is executed",
            f"for up to {description.longest_plan_age:.3g} s after its observation, too old after "
            f"{description.max_plan_age:.3g} s",
        )
    table.add_row("folds, seed", f"{description.folds}, {description.seed}")
    if description.steering is not None:
        limits = (
            f"{task} {limit:.4g}".strip() for task, limit in description.steering.limits.items()
        )
        table.add_row("trusted horizon", escape(f"limit of dispersion {', '.join(limits)}"))
    return table


def _rollouts_table(description: BundleDescription) -> Table:
    with_tasks = any(promise.task for promise in description.promises)
    table = Table(title="From which rollouts", title_justify="left")
    table.add_column("rollout", overflow="fold")
    table.add_column("for")
    if with_tasks:
        table.add_column("task")
    if description.future:
        table.add_column("group")
    table.add_column("decisions", justify="right")
    table.add_column("SHA-256")
    for purpose, rollouts in rollouts_by_purpose(description).items():
        for rollout in rollouts:
            tasks = (escape(rollout.task),) if with_tasks else ()
            groups = (escape(rollout.group),) if description.future else ()
            number, sha256 = str(rollout.decisions), rollout.sha256[:SHORT_HASH]
            table.add_row(escape(rollout.name), purpose, *tasks, *groups, number, sha256)
    return table


def rollouts_by_purpose(description: BundleDescription) -> dict[str, tuple[RolloutSection, ...]]:
    """Return the rollouts that made a bundle, by what they were used for."""
    return {
        "calibration": description.calibration,
        "fitting": description.fit,
        "failures": description.failures,
    }


def _files_table(description: BundleDescription, path: Path) -> Table:
    table = Table(title="Files, all of them unchanged", title_justify="left")
    table.add_column("file")
    table.add_column("bytes", justify="right")
    table.add_column("SHA-256")
    for name, sha256 in description.files.items():
        table.add_row(escape(name), str((path / name).stat().st_size), sha256[:SHORT_HASH])
    return table
