# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Reads and writes lists of rollouts and sources to exclude, which the audit makes.

Each line holds the SHA-256 and the name of a rollout, as of `sha256sum`, or the word `source` and
the path of a source that could not be read at all. `#` starts a comment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from failure_monitor.atomic_file import write_atomically
from failure_monitor.decision import Rollout
from failure_monitor.sources.addresses import resolved
from failure_monitor.sources.found_sources import find_sources
from failure_monitor.sources.source import SourceError

SOURCE = "source"
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Exclusions:
    """The rollouts and sources to exclude.

    Attributes:
        rollouts: The names of rollouts, by their SHA-256.
        sources: The paths of whole sources.
    """

    rollouts: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[Path, ...] = ()

    def remaining_sources(self, paths: Sequence[Path]) -> list[Path]:
        """Return the sources at some paths without the excluded ones.

        Raises:
            SourceError: There is no source, or none remains.
        """
        if not self.sources:
            return list(paths)
        remaining = [
            found.path for found in find_sources(paths) if resolved(found.path) not in self.sources
        ]
        if paths and not remaining:
            raise SourceError(
                f"all sources in {', '.join(map(str, paths))} are excluded: shorten the list of "
                "exclusions, or name other sources"
            )
        return remaining

    def remaining_rollouts(self, rollouts: Sequence[Rollout]) -> tuple[Rollout, ...]:
        """Return the rollouts without the excluded ones."""
        return tuple(rollout for rollout in rollouts if rollout.sha256 not in self.rollouts)


def write_exclusions(path: Path, exclusions: Exclusions) -> None:
    """Write a list, whole or not at all.

    Raises:
        UnwritableError: It cannot be written.
    """
    lines = [
        "# what `failure-monitor audit` would drop; for `failure-monitor calibrate --exclude`"
    ]
    lines += [f"{sha256}  {name}" for sha256, name in exclusions.rollouts.items()]
    lines += [f"{SOURCE}  {source}" for source in exclusions.sources]
    write_atomically(path, "\n".join(lines) + "\n")


def read_exclusions(path: Path) -> Exclusions:
    """Read a list.

    Raises:
        SourceError: It cannot be read, or a line is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} cannot be read ({error}): name a list that `failure-monitor audit --drop` "
            "wrote"
        ) from None
    rollouts: dict[str, str] = {}
    sources: list[Path] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == SOURCE and rest.strip():
            sources.append(Path(rest.strip()))
        elif SHA256.fullmatch(word):
            rollouts[word] = rest.strip()
        else:
            raise SourceError(
                f"{path}, line {number}: expected a SHA-256 and a rollout's name, or '{SOURCE}' "
                f"and a path, got '{line}'"
            )
    return Exclusions(rollouts, tuple(sources))
