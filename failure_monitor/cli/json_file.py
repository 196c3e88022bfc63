# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Results for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from failure_monitor.atomic_file import write_whole
from failure_monitor.errors import FailureMonitorError


class UnwritableError(FailureMonitorError):
    """A file that cannot be written."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of JSON; it appears under its name once it is complete.

    Raises:
        UnwritableError: it cannot be written.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        write_whole(path, text + "\n")
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror or error}") from None
