# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A list of rollouts and sources that are to be left out, as the audit writes it.

A line each, as `sha256sum` writes them: the SHA-256 and the name of a rollout, or the word
`source` and the path of what could not be read at all. `#` begins a comment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from failure_monitor.atomic_file import write_atomically
from failure_monitor.decision import Rollout
from failure_monitor.sources.rollouts import find_sources
from failure_monitor.sources.source import SourceError

SOURCE = "source"
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Exclusions:
    """What is to be left out.

    Attributes:
        rollouts: names of rollouts, by their SHA-256.
        sources: paths of whole sources.
    """

    rollouts: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[Path, ...] = ()

    def left(self, paths: Sequence[Path]) -> list[Path]:
        """The sources at some paths without those that are to be left out.

        Raises:
            SourceError: there is no source, or none is left.
        """
        if not self.sources:
            return list(paths)
        left = [
            found.path for found in find_sources(paths) if found.path.resolve() not in self.sources
        ]
        if paths and not left:
            raise SourceError(
                f"all sources in {', '.join(map(str, paths))} are to be left out: shorten the list "
                "of exclusions, or name other sources"
            )
        return left

    def kept(self, rollouts: Sequence[Rollout]) -> tuple[Rollout, ...]:
        """Those of the rollouts that are not to be left out."""
        return tuple(rollout for rollout in rollouts if rollout.sha256 not in self.rollouts)


def write_exclusions(path: Path, exclusions: Exclusions) -> None:
    """Write a list; it appears under its name once it is complete.

    Raises:
        UnwritableError: it cannot be written.
    """
    lines = ["# what `failure-monitor audit` would drop; for `failure-monitor calibrate --exclude`"]
    lines += [f"{sha256}  {name}" for sha256, name in exclusions.rollouts.items()]
    lines += [f"{SOURCE}  {source}" for source in exclusions.sources]
    write_atomically(path, "\n".join(lines) + "\n")


def read_exclusions(path: Path) -> Exclusions:
    """Read a list.

    Raises:
        SourceError: it cannot be read, or a line says neither.
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
