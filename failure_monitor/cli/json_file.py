# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Results for other programs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            partial = Path(folder) / path.name
            partial.write_text(text + "\n", encoding="utf-8")
            os.replace(partial, path)
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror or error}") from None
