# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The site of these pages: `make site`, or rosdoc2, which runs this file from another folder."""

import posixpath
import re
import sys
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from failure_monitor import __version__

sys.path.insert(0, str(Path(__file__).parent))
from sentences import modules, spoken

project = "failure_monitor"
author = "The failure_monitor authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"{project} {release}"

# Anchors of headings, as one who browses the repository has them.
myst_heading_anchors = 6
autodoc_typehints = "description"
autodoc_member_order = "bysource"
# ROS need not be there to read a docstring.
autodoc_mock_imports = [
    "action_msgs",
    "builtin_interfaces",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rclpy",
    "sensor_msgs",
    "std_msgs",
]
nitpicky = True
# Types in signatures: not all of them have a place in the reference.
nitpick_ignore_regex = [("py:.*", ".*")]

LINK_UP = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((\.\./[^)\s]+)\)")
"""A link to a page of the folder above, or to a file of the repository that is no page."""


def name_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Name the files of the repository without a link: the site has pages alone."""
    folder = posixpath.dirname(page)

    def without_link_out(link: re.Match[str]) -> str:
        leads_out = posixpath.normpath(posixpath.join(folder, link[2])).startswith("..")
        return link[1] if leads_out else link[0]

    source[0] = LINK_UP.sub(without_link_out, source[0])


class Spoken(SphinxDirective):
    """What the modules that it names say to who runs a command, a line for each sentence."""

    has_content = True
    option_spec: ClassVar = {"raised": directives.flag}
    """With `raised`, for modules whose other texts are help and captions, errors alone."""

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        only = "raised" in self.options
        texts = {text for path in modules(*self.content) for text in spoken(path, raised=only)}
        items = [nodes.list_item("", nodes.paragraph("", "", nodes.literal(t, t))) for t in texts]
        return [nodes.bullet_list("", *sorted(items, key=lambda item: item.astext().lower()))]


def setup(app: Sphinx) -> None:
    """Run this on every page."""
    app.connect("source-read", name_files)
    app.add_directive("spoken", Spoken)
