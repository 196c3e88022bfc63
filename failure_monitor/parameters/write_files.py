# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes config/*.yaml and docs/parameters.md from the dataclasses of parameters.

    python -m failure_monitor.parameters.write_files

or `make parameters`. No node needs this.
"""

from __future__ import annotations

from pathlib import Path

from failure_monitor.parameters.config_file import config_file
from failure_monitor.parameters.nodes import NODES
from failure_monitor.parameters.reference_page import reference_page

ROOT = Path(__file__).parents[2]
"""The repository."""


def files() -> dict[Path, str]:
    """Return the text of every file that is written, by its path."""
    configs = {ROOT / "config" / node.file: config_file(node) for node in NODES if node.file}
    return {**configs, ROOT / "docs" / "parameters.md": reference_page()}


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
