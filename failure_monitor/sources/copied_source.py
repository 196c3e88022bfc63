# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A source at an address, of a kind that is read from files of this machine: bags, datasets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from failure_monitor.errors import FailureMonitorError
from failure_monitor.sources.addresses import local_copy, shown
from failure_monitor.sources.source import Advance, BagOptions, SourceContents, SourceKind


@dataclass(frozen=True)
class CopiedSource:
    """A source that is copied to be read; the copy is deleted then.

    Attributes:
        kind: What reads the copy.
    """

    kind: SourceKind

    def recognises(self, path: Path) -> bool:
        """Return whether a copy is of the kind."""
        return self.kind.recognises(path)

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Return all its rollouts, which come from the address.

        Raises:
            FailureMonitorError: It cannot be copied, is damaged or of another format.
        """
        with local_copy(path) as copy:
            try:
                contents = self.kind.read(copy, options, advance)
            except FailureMonitorError as error:
                error.args = tuple(
                    said.replace(str(copy), shown(path)) if isinstance(said, str) else said
                    for said in error.args
                )
                raise
        rollouts = tuple(
            replace(rollout, source=rollout.source.replace(str(copy), shown(path)))
            for rollout in contents.rollouts
        )
        return replace(contents, rollouts=rollouts)
