# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Small JSON files, each with a version and the fields of one dataclass, read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from failure_monitor.errors import FailureMonitorError
from failure_monitor.schema import NewerVersionError, SchemaError, read_json

MAX_BYTES = 4_000_000
"""A file that is larger is not read: it was not written here, and nothing else of a process runs
while it parses JSON."""

T = TypeVar("T")


@dataclass(frozen=True)
class VersionedFile(Generic[T]):
    """A kind of files.

    Attributes:
        kind: the dataclass of what they hold.
        newest: the newest version that can be read.
        what: what they hold, for messages.
        remedy: what to do about a file that does not hold it.
        error: what a file is rejected with.
    """

    kind: type[T]
    newest: int
    what: str
    remedy: str
    error: type[FailureMonitorError]

    def read(self, path: Path) -> T | None:
        """Return what a file holds; None if there is none.

        Raises:
            FailureMonitorError: `error`: it cannot be read, is damaged, large, or of a newer
                version.
        """
        try:
            if not path.is_file() and (path.exists() or path.is_symlink()):
                # To open a pipe waits for its other end.
                raise self.error(f"'{path}' is no file: {self.remedy}")
            with path.open("rb") as stream:
                text = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.error(
                f"'{path}' cannot be read ({error.strerror or error}): let this user read it, or "
                f"{self.remedy}"
            ) from None
        if len(text) > MAX_BYTES:
            raise self.error(
                f"'{path}' holds no {self.what} (it has more than {MAX_BYTES} bytes): "
                f"{self.remedy}"
            )
        try:
            return read_json(self.kind, text, newest=self.newest)
        except NewerVersionError:
            raise self.error(
                f"'{path}' was written by a newer failure_monitor: update it here, or "
                f"{self.remedy}"
            ) from None
        except SchemaError as error:
            raise self.error(f"'{path}' holds no {self.what} ({error}): {self.remedy}") from None
