# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from failure_monitor.atomic_file import write_json
from failure_monitor.bundle import folder as bundle_files
from failure_monitor.cli.app import output
from failure_monitor.cli.budget_options import BudgetOptions
from failure_monitor.cli.declaration import Argument, Option
from failure_monitor.cli.options import ActionOptions, Reading
from failure_monitor.cli.reading_progress import shown_progress
from failure_monitor.errors import UsageError
from failure_monitor.schema import plain

Inspected = Annotated[
    list[Path],
    Argument(
        metavar="BUNDLE|SOURCE...",
        help="a bundle; two bundles, for their differences; or sources of rollouts",
    ),
]


def inspect(
    paths: Inspected,
    reading: Reading,
    actions: ActionOptions,
    budget: BudgetOptions,
    json: Annotated[
        Path | None, Option(help="write all of it here as JSON", writes="file")
    ] = None,
) -> None:
    """Show what a bundle promises and rests on, how two bundles differ, or what bags hold."""
    bundles = [path for path in paths if (path / bundle_files.DESCRIPTION_FILE).is_file()]
    if not bundles:
        found = _inspect_sources(paths, reading, actions)
    elif len(bundles) < len(paths) or len(paths) > 2:
        raise UsageError(
            "bundles are inspected alone or two at a time, and apart from sources: name one "
            "bundle, two bundles, or sources only"
        )
    elif len(bundles) == 2:
        found = _compare_bundles(*bundles)
    else:
        found = _inspect_bundle(bundles[0], budget)
    if json is not None:
        write_json(json, found)


def _inspect_bundle(path: Path, budget: BudgetOptions) -> dict[str, Any]:
    from failure_monitor.cli.inspected_bundle import bundle_tables

    inspected = bundle_files.load(path)
    sha256 = bundle_files.content_hash(path)
    for table in bundle_tables(inspected, path, sha256, budget.rows(inspected)):
        output.print(table)
    return {"bundle_sha256": sha256, **plain(inspected.description)}


def _compare_bundles(first: Path, second: Path) -> dict[str, Any]:
    from failure_monitor.cli.bundle_differences import differences, differences_table

    found = differences(bundle_files.load(first), bundle_files.load(second))
    output.print(differences_table(found, first, second))
    return {
        "differences": [
            {"what": difference.what, "first": difference.first, "second": difference.second}
            for difference in found
        ]
    }


def _inspect_sources(
    paths: Sequence[Path], reading: Reading, actions: ActionOptions
) -> dict[str, Any]:
    from failure_monitor.cli.inspected_source import (
        contents_table,
        rollouts_json,
        rollouts_table,
        topics_json,
        topics_table,
    )
    from failure_monitor.sources.bag_topics import topics_of_bags
    from failure_monitor.sources.found_sources import find_sources

    topics = topics_of_bags([found.path for found in find_sources(paths)])
    # What is there is shown even if no rollout can be read: then it is needed most.
    if topics:
        output.print(topics_table(topics, reading.topics, reading.black_box))
    rollout_set = reading.options.read(paths, actions.stated, progress=shown_progress)
    output.print(contents_table(rollout_set, "What these sources hold"))
    output.print(rollouts_table(rollout_set))
    return {"topics": topics_json(topics), **rollouts_json(rollout_set)}
