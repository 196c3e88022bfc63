# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a calibrated judge: JSON, written whole or not at all, read strictly."""

from __future__ import annotations

from pathlib import Path

from failure_monitor.atomic_file import json_text, write_atomically
from failure_monitor.errors import FailureMonitorError
from failure_monitor.judges.judge import VERSION, CalibratedJudge
from failure_monitor.schema import NewerVersionError, SchemaError, plain, read_json

MAX_BYTES = 4_000_000
"""A file that is larger holds no judge."""

REMEDY = "write it with `failure-monitor calibrate-judge`"


class JudgeFileError(FailureMonitorError):
    """A file that holds no calibrated judge."""


def save_judge(judge: CalibratedJudge, path: Path) -> None:
    """Write a judge.

    Raises:
        JudgeFileError: it rests on so many rollouts that its file could not be read again.
        UnwritableError: the file cannot be written.
    """
    content = json_text(plain(judge))
    if len(content) > MAX_BYTES:
        rollouts = len(judge.successes) + len(judge.failures)
        raise JudgeFileError(
            f"the judge '{judge.name}' of {rollouts} labelled rollouts would have {len(content)} "
            f"bytes, expected at most {MAX_BYTES}: calibrate it on fewer, some thousand are plenty"
        )
    write_atomically(path, content)


def load_judge(path: Path) -> CalibratedJudge:
    """Read a judge.

    Raises:
        JudgeFileError: there is none, or it is damaged or of a newer failure_monitor.
    """
    try:
        if not path.is_file():
            # To open a pipe waits for its other end.
            why = "is no file" if path.exists() else "does not exist"
            raise JudgeFileError(f"the judge '{path}' {why}: {REMEDY}")
        with path.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise JudgeFileError(f"the judge '{path}' cannot be read ({error.strerror})") from None
    if len(text) > MAX_BYTES:
        raise JudgeFileError(f"'{path}' has more than {MAX_BYTES} bytes, so it is no judge")
    try:
        return read_json(CalibratedJudge, text, newest=VERSION)
    except NewerVersionError:
        raise JudgeFileError(
            f"'{path}' was written by a newer failure_monitor: update it here, or {REMEDY}"
        ) from None
    except SchemaError as error:
        raise JudgeFileError(f"'{path}' holds no calibrated judge ({error}): {REMEDY}") from None
