# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The site of these pages: `make site`, or rosdoc2, which runs this file from a copy of docs/."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

RUN_BY_ROSDOC2 = re.search(r'exec\(open\("(.+?)"\)', Path(__file__).read_text(encoding="utf-8"))
DOCS = Path(RUN_BY_ROSDOC2[1] if RUN_BY_ROSDOC2 else __file__).parent
"""The folder of this file: rosdoc2 names it in a conf.py of its own, which runs this one."""

sys.path.insert(0, str(DOCS.parent))
sys.path.insert(0, str(DOCS))
from repository_pages import contents, gather, with_site_links  # noqa: E402

from failure_monitor import __version__  # noqa: E402

project = "failure_monitor"
author = "The failure_monitor authors"
version = release = __version__

extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False

# Anchors of headings, as one who browses the repository has them.
myst_heading_anchors = 6


def add_repository_pages(app: Sphinx) -> None:
    """Write the pages of files outside docs/, before pages are looked for."""
    gather(DOCS.parent, Path(app.srcdir), contents(DOCS / "index.rst"))


def lead_to_site(app: Sphinx, page: str, source: list[str]) -> None:
    """Have the links of a page of docs/ lead to the site's pages."""
    if (DOCS / f"{page}.md").is_file() and not page.startswith("repository/"):
        source[0] = with_site_links(source[0], f"docs/{page}.md")


def setup(app: Sphinx) -> None:
    """Run these, and know the language of what programs print."""
    app.connect("builder-inited", add_repository_pages)
    app.connect("source-read", lead_to_site)
    app.add_lexer("log", TextLexer)
