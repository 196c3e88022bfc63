# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where the shipped rollouts lie, and the figures that they gave."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "rollouts"
"""One archive of each task, written by published_rollouts.py."""

RESULTS = Path(__file__).with_name("results.json")
"""What published_benchmark.py wrote of them, with the dealings and draws that are its defaults."""


def shipped_archives() -> list[Path]:
    """Return the archives, in order of their names."""
    return sorted(FOLDER.glob("*.npz"))
