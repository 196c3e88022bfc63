# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The files of the repository to which pages lead, as pages of the site.

The site shows docs/ alone, and its pages link to tests, parameter files and examples as well. Each
of these becomes a page below docs/repository/, where the links then lead: Markdown and
reStructuredText as they are, a folder as a list, anything else as code.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

FOLDER = "repository"
"""Below docs/; made when the site is, and not kept."""

CODE_OR_LINK = re.compile(
    r"^( *)```.*?^\1```$|`[^`\n]*`|(\]\(<?)(?P<to>[^)\s>#:]+)(#[^)\s>]*)?(>?\))",
    re.MULTILINE | re.DOTALL,
)
"""Code, in which nothing is a link, or the end of a link or picture that leads to a file."""

TEXTS = {".md", ".rst"}

LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".xml": "xml"}


def page_of(path: str) -> str:
    """Return the file below docs/ that shows a file or folder of the repository.

    Args:
        path: from the root of the repository, as `test/README.md`.
    """
    if path.startswith("docs/"):
        # Of a folder the contents are the page.
        return path.removeprefix("docs/") if PurePosixPath(path).suffix else "index.rst"
    return f"{FOLDER}/{path}" + ("" if PurePosixPath(path).suffix in TEXTS else ".md")


def with_site_links(text: str, path: str) -> str:
    """Return a page of the repository whose links lead to where the site shows their targets.

    Args:
        text: of the page, as Markdown.
        path: of the page, from the root of the repository.
    """
    here = posixpath.dirname(page_of(path))

    def on_site(link: re.Match[str]) -> str:
        if link["to"] is None:
            return link[0]
        _, opening, to, anchor, closing = link.groups()
        target = posixpath.relpath(page_of(_target(path, to)), here or ".")
        return f"{opening}{target}{anchor or ''}{closing}"

    return CODE_OR_LINK.sub(on_site, text)


def contents(index: Path) -> set[str]:
    """Return the pages in the tables of contents, as `tutorials/trusted_bundle`."""
    return set(re.findall(r"^   (\w[\w/]*)$", index.read_text(encoding="utf-8"), re.MULTILINE))


def gather(root: Path, docs: Path, listed: set[str]) -> list[str]:
    """Write the pages of files outside docs/ to which pages lead, and return their paths.

    Args:
        root: the repository.
        docs: where the site's sources are, docs/ or a copy.
        listed: the pages in the tables of contents, as `repository/CONTRIBUTING`.
    """
    shutil.rmtree(docs / FOLDER, ignore_errors=True)
    pages = [page.relative_to(root).as_posix() for page in sorted((root / "docs").rglob("*.md"))]
    pages = [page for page in pages if not page.startswith(f"docs/{FOLDER}/")]
    names = sorted(name.removeprefix(f"{FOLDER}/") for name in listed if name.startswith(FOLDER))
    suffixes = [(name, suffix) for name in names for suffix in sorted(TEXTS)]
    found = {
        f"{name}{suffix}": None
        for name, suffix in suffixes
        if (root / f"{name}{suffix}").is_file()
    }
    for page in pages:
        found.update(dict.fromkeys(_outside(page, _text(root / page))))
    waiting = list(found)
    for path in waiting:
        new = [each for each in _outside(path, _text(root / path)) if each not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    for path in waiting:
        page = docs / page_of(path)
        page.parent.mkdir(parents=True, exist_ok=True)
        is_listed = page.relative_to(docs).with_suffix("").as_posix() in listed
        page.write_text(_page(root, path, is_listed), encoding="utf-8")
    return waiting


def _target(path: str, link: str) -> str:
    """Return where a link of a page leads, from the root of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _outside(path: str, text: str) -> Iterator[str]:
    links = (match["to"] for match in CODE_OR_LINK.finditer(text))
    targets = (_target(path, link) for link in links if link is not None)
    return (target for target in targets if not target.startswith("docs/"))


def _text(path: Path) -> str:
    """Return the text of a page whose links are followed; empty for what is no page."""
    return path.read_text(encoding="utf-8") if path.suffix == ".md" else ""


def _page(root: Path, path: str, is_listed: bool) -> str:
    source = root / path
    if source.suffix == ".md":
        head = "" if is_listed else "---\norphan: true\n---\n"
        return head + with_site_links(_text(source), path)
    if source.suffix == ".rst":
        return ("" if is_listed else ":orphan:\n\n") + source.read_text(encoding="utf-8")
    head = f"---\norphan: true\nnosearch: true\n---\n# {path}\n\n"
    if source.is_dir():
        names = sorted(each.name for each in source.iterdir() if not each.name.startswith("_"))
        return head + "\n".join(f"- `{name}`" for name in names) + "\n"
    language = LANGUAGES.get(source.suffix, "text")
    return f"{head}````{language}\n{source.read_text(encoding='utf-8')}````\n"
