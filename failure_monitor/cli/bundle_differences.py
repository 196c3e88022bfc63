# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""In what two bundles differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.description import BundleDescription, RolloutSection
from failure_monitor.cli.inspected_bundle import SHORT_HASH, rollouts_by_purpose
from failure_monitor.listed_names import list_names
from failure_monitor.schema import plain

APART = ("calibration", "fit", "failures", "files")
"""What is not compared number by number."""
NONE = "–"


@dataclass(frozen=True)
class Difference:
    """Something in which two bundles differ, as text."""

    what: str
    first: str
    second: str


def differences(first: Bundle, second: Bundle) -> list[Difference]:
    """Return all differences: settings and numbers, rollouts, then files."""
    one, other = first.description, second.description
    return [*_settings(one, other), *_rollouts(one, other), *_files(one, other)]


def differences_table(found: Sequence[Difference], first: Path, second: Path) -> Table:
    """Return a table with a row for each difference."""
    if all(difference.what == "created" for difference in found):
        title = "The same but for the time at which they were made"
    else:
        title = "Differences"
    table = Table(title=title, title_justify="left")
    table.add_column("what", overflow="fold")
    table.add_column(escape(str(first)), overflow="fold")
    table.add_column(escape(str(second)), overflow="fold")
    for difference in found:
        table.add_row(*map(escape, (difference.what, difference.first, difference.second)))
    return table


def _settings(one: BundleDescription, other: BundleDescription) -> Iterator[Difference]:
    firsts, seconds = (
        {
            what: value
            for section, inner in plain(description).items()
            if section not in APART
            for what, value in _leaves(section, inner)
        }
        for description in (one, other)
    )
    for what in (*firsts, *(what for what in seconds if what not in firsts)):
        if firsts.get(what) != seconds.get(what):
            yield Difference(what, _said(firsts.get(what)), _said(seconds.get(what)))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every number and text with its path; named parts are keyed by their name or task."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(".".join(filter(None, (path, key))), inner)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for item in value:
            named = item.get("name") or item.get("task") or ""
            yield from _leaves(f"{path}[{named}]" if named else path, item)
    else:
        yield path, value


def _said(value: Any) -> str:
    if value is None or value == "":
        return NONE
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or NONE
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rollouts(one: BundleDescription, other: BundleDescription) -> Iterator[Difference]:
    firsts, seconds = rollouts_by_purpose(one), rollouts_by_purpose(other)
    for purpose in firsts:
        only_first = _without(firsts[purpose], seconds[purpose])
        only_second = _without(seconds[purpose], firsts[purpose])
        if only_first or only_second:
            yield Difference(
                f"rollouts for {purpose} that the other has not",
                _named(only_first),
                _named(only_second),
            )


def _without(
    rollouts: Sequence[RolloutSection], others: Sequence[RolloutSection]
) -> list[RolloutSection]:
    known = {rollout.sha256 for rollout in others}
    return [rollout for rollout in rollouts if rollout.sha256 not in known]


def _named(rollouts: Sequence[RolloutSection]) -> str:
    names = list_names(rollout.name for rollout in rollouts)
    return f"{len(rollouts)}: {names}" if rollouts else NONE


def _files(one: BundleDescription, other: BundleDescription) -> Iterator[Difference]:
    for name in sorted({*one.files, *other.files}):
        hashes = [description.files.get(name, NONE) for description in (one, other)]
        if hashes[0] != hashes[1]:
            yield Difference(f"file {name}", *(sha256[:SHORT_HASH] for sha256 in hashes))
