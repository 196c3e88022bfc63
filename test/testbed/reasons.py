# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The sentences that stand in the code, with `…` for what is only known when they are said."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from testbed.repository import ROOT

PACKAGE = ROOT / "failure_monitor"
MIN_WORDS = 3
HOLE = "…"


def sentences(path: Path) -> Iterator[str]:
    """Yield every text of a module that could be a reason: of some words, and no docstring."""
    yield from sentences_in(path.read_text(encoding="utf-8"))


def sentences_in(source: str) -> Iterator[str]:
    """Yield every text of some source that could be a reason."""
    tree = ast.parse(source)
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, (ast.JoinedStr, ast.Assert))
        for part in ast.walk(node)
        if part is not node
    }
    parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = "" if id(node) in parts else _text(node)
        if len(re.findall(r"[A-Za-z]{2,}", text)) >= MIN_WORDS and " " in text:
            yield text


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else HOLE for part in node.values
        )
    return ""


def modules(*places: str) -> list[Path]:
    """Return the modules of the package in folders, or of these names."""
    found = []
    for place in places:
        path = PACKAGE / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return found
