# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a calibrated judge: JSON, written whole or not at all, read strictly."""

from __future__ import annotations

from pathlib import Path

from failure_monitor.atomic_file import json_text, write_atomically
from failure_monitor.errors import FailureMonitorError
from failure_monitor.judges.judge import VERSION, CalibratedJudge
from failure_monitor.schema import plain
from failure_monitor.versioned_file import MAX_BYTES, VersionedFile

REMEDY = "write it with `failure-monitor calibrate-judge`"


class JudgeFileError(FailureMonitorError):
    """A file that holds no calibrated judge."""


JUDGES = VersionedFile(CalibratedJudge, VERSION, "calibrated judge", REMEDY, JudgeFileError)
"""The files of judges."""


def save_judge(judge: CalibratedJudge, path: Path) -> None:
    """Write a judge.

    Raises:
        JudgeFileError: it rests on so many rollouts that its file could not be read again.
        UnwritableError: the file cannot be written.
    """
    content = json_text(plain(judge)).encode()
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
    judge = JUDGES.read(path)
    if judge is None:
        raise JudgeFileError(f"the judge '{path}' does not exist: {REMEDY}")
    return judge
