# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout log: a file to which a monitor appends a line for every rollout.

A line that a power cut has left damaged costs that line alone. Nothing is ever removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from failure_monitor.errors import FailureMonitorError
from failure_monitor.rollout_log.record import VERSION, RolloutRecord
from failure_monitor.schema import NewerVersionError, SchemaError, plain, read_json

SUFFIX = ".rollouts.jsonl"
"""What the name of every rollout log ends with."""

SHORT_HASH = 12
"""Number of digits of a bundle's hash in a log's name."""

MAX_LINE = 65_536
"""Bytes of a line; a longer one was not written here."""


class RolloutLogError(FailureMonitorError):
    """A file that is no rollout log, or one that cannot be read or written."""


class RecordTooLongError(RolloutLogError):
    """A record that could not be read again."""


def log_path(folder: Path, monitor: str, bundle: str) -> Path:
    """Return where the log of a monitor lies.

    Args:
        folder: the folder of the promise's file.
        monitor: the node's full name.
        bundle: the bundle's SHA-256.
    """
    name = monitor.strip("/").replace("/", ".")
    return folder / f"{name}.{bundle[:SHORT_HASH]}{SUFFIX}"


def append(path: Path, record: RolloutRecord) -> None:
    """Append a line and have the disk keep it; may block for as long as the disk does.

    Raises:
        RolloutLogError: the file cannot be written.
        RecordTooLongError: the record could not be read again.
    """
    line = json.dumps(plain(record), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
    if len(line) > MAX_LINE:
        raise RecordTooLongError(
            f"the record of rollout '{record.rollout}' has {len(line)} bytes, expected at most "
            f"{MAX_LINE}"
        )
    _reject_no_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as stream:
            # In one piece: who reads meanwhile sees a whole line or none.
            whole = line if _ends_a_line(stream.fileno()) else b"\n" + line
            written = stream.write(whole)
            while written < len(whole):
                # A disk that is nearly full takes a part of it, and says so only when asked again.
                written += stream.write(whole[written:])
            os.fsync(stream.fileno())
    except OSError as error:
        raise RolloutLogError(f"'{path}' cannot be written ({error.strerror or error})") from None


def read_log(
    path: Path, remark: Callable[[str], None] = lambda remark: None
) -> list[RolloutRecord]:
    """Return the newest record of every rollout, in the order in which they ended.

    Args:
        path: the file.
        remark: called with what was left out, such as a line that is damaged.

    Raises:
        RolloutLogError: there is no such file, it cannot be read, has no record, or is of a newer
            failure_monitor.
    """
    _reject_no_file(path)
    records: dict[str, RolloutRecord] = {}
    damaged: list[int] = []
    is_cut = False
    try:
        for number, line in _lines(path):
            record = _record(path, number, line)
            if record is None:
                damaged.append(number)
                is_cut = not line.endswith(b"\n")
            else:
                records[record.rollout] = record
    except OSError as error:
        raise RolloutLogError(f"'{path}' cannot be read ({error.strerror or error})") from None
    if damaged and not records and not is_cut:
        raise RolloutLogError(
            f"'{path}' is no rollout log: none of its lines is the record of a rollout"
        )
    if damaged:
        listed = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
        remark(f"'{path}': damaged lines left out: {listed}")
    return list(records.values())


def _reject_no_file(path: Path) -> None:
    """Reject a folder, pipe or device: to open a pipe waits for its other end."""
    if not path.is_file() and (path.exists() or path.is_symlink()):
        raise RolloutLogError(f"'{path}' is no file: move it away")


def _ends_a_line(descriptor: int) -> bool:
    """Return whether what is appended begins a line: a power cut may leave half of one."""
    size = os.fstat(descriptor).st_size
    return not size or os.pread(descriptor, 1, size - 1) == b"\n"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers; of one that is too long, its beginning."""
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_LINE):
            number += 1
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(MAX_LINE)
            yield number, line if not rest or rest is line else line + b"\n"


def _record(path: Path, number: int, line: bytes) -> RolloutRecord | None:
    """Return the record of a line; None if it is damaged."""
    try:
        return read_json(RolloutRecord, line, newest=VERSION)
    except NewerVersionError:
        raise RolloutLogError(
            f"'{path}', line {number}, was written by a newer failure_monitor: update it here"
        ) from None
    except SchemaError:
        return None
