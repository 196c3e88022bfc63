# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Where this repository lies, and which programs it installs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def setup_arguments() -> dict[str, ast.expr]:
    """Return the keyword arguments of `setup` in setup.py."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    call = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def entry_points(group: str) -> dict[str, str]:
    """Return the entry points of a group: what each name stands for, as `module:function`."""
    points = ast.literal_eval(setup_arguments()["entry_points"])[group]
    return dict(re.split(r"\s*=\s*", point) for point in points)


def console_scripts() -> dict[str, str]:
    """Return the programs that are installed."""
    return entry_points("console_scripts")
