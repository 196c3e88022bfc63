# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The Markdown pages of this repository: their links, headings and blocks of code."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from testbed.repository import ROOT

PAGES = sorted(
    path
    for pattern in (
        "*.md",
        ".github/**/*.md",
        "benchmarks/*.md",
        "docs/*.md",
        "docs/*/*.md",
        "examples/**/*.md",
        "test/*.md",
    )
    for path in ROOT.glob(pattern)
    # Made by `make site` from the others.
    if path.parent != ROOT / "docs" / "repository"
)

FENCE = re.compile(r"^( *)```([\w{}-]*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(<?([^)\s>]+)>?\)")


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language, in their order."""
    return [code for _, kind, code in FENCE.findall(text) if kind == language]


def without_code(text: str) -> str:
    """Return a page without its blocks of code and its code within lines."""
    return re.sub(r"`[^`\n]*`", "`", FENCE.sub("", text))


def links(text: str) -> list[str]:
    """Return where the links and pictures of a page lead."""
    return LINK.findall(without_code(text))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#{1,6} (.+?)\s*$", FENCE.sub("", text), re.MULTILINE)
    slugs = Counter()
    found = set()
    for heading in headings:
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
        slugs[slug] += 1
    return found


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of a page."""
    found = links(page.read_text(encoding="utf-8"))
    return [link for link in found if not (re.match(r"[a-z]+:", link) or _leads(page, link))]


def _leads(page: Path, link: str) -> bool:
    """Return whether there is what a link within the repository leads to."""
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not (target == ROOT or ROOT in target.parents) or not target.exists():
        return False
    is_page = target.suffix == ".md"
    return not (anchor and is_page) or anchor in anchors(target.read_text(encoding="utf-8"))
