# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The site of these pages: `make site`, or rosdoc2, which runs this file from another folder."""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import failure_monitor

sys.path.insert(0, str(Path(__file__).parent))
from repository_pages import contents, gather, with_site_links

project = "failure_monitor"
author = "The failure_monitor authors"
version = release = failure_monitor.__version__

extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False

# Anchors of headings, as one who browses the repository has them.
myst_heading_anchors = 6

ROOT = Path(failure_monitor.__file__).parents[1]
"""Found by the package: where rosdoc2 runs this file, docs/ is a copy."""


def add_repository_pages(app: Sphinx) -> None:
    """Write the pages of files outside docs/, before pages are looked for."""
    gather(ROOT, Path(app.srcdir), contents(Path(app.srcdir) / "index.rst"))


def lead_to_site(app: Sphinx, page: str, source: list[str]) -> None:
    """Have the links of a page of docs/ lead to the site's pages."""
    if not page.startswith("repository/"):
        source[0] = with_site_links(source[0], f"docs/{page}.md")


def setup(app: Sphinx) -> None:
    """Run these, and know the language of what programs print."""
    app.connect("builder-inited", add_repository_pages)
    app.connect("source-read", lead_to_site)
    app.add_lexer("log", TextLexer)
