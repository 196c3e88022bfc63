# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The sentences that stand in the code, with `…` for what is only known when they are said."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

MIN_WORDS = 3
LONG = 6
"""Number of words from which on a text that is not raised reads like a reason."""

HOLE = "…"


def package_folder() -> Path:
    """Return the folder of the package, which is not imported."""
    spec = find_spec("failure_monitor")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def modules(*places: str) -> list[Path]:
    """Return the modules of the package in folders, or of these names."""
    found = []
    for place in places:
        path = package_folder() / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return found


def sentences(path: Path) -> Iterator[str]:
    """Yield every text of a module that could be a reason: of some words, and no docstring."""
    yield from sentences_in(path.read_text(encoding="utf-8"))


def spoken(path: Path, *, raised: bool = False) -> Iterator[str]:
    """Yield what a module says to who runs a command: what it raises, and what reads like it.

    Args:
        path: the module.
        raised: leave out what is not raised.
    """
    source = path.read_text(encoding="utf-8")
    errors = set(sentences_in(source, raised=True))
    for text in dict.fromkeys(sentences_in(source, raised=raised)):
        is_long = len(re.findall(r"[A-Za-z]{2,}", text)) >= LONG and not text.startswith("SELECT ")
        if text in errors or is_long:
            yield re.sub(r"%(\.\d+)?[sdfg]", HOLE, text).strip()


def sentences_in(source: str, *, raised: bool = False) -> Iterator[str]:
    """Yield every text of some source that could be a reason.

    Args:
        source: of a module.
        raised: leave out what is not raised as an error.
    """
    tree = ast.parse(source)
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, (ast.JoinedStr, ast.Assert))
        for part in ast.walk(node)
        if part is not node
    }
    parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    roots = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)] if raised else [tree]
    for node in (node for root in roots for node in ast.walk(root)):
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
