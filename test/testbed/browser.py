# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A real browser without a screen: what it logs about a page, and what it draws."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
CONSOLE = re.compile(r":CONSOLE[:(].*?\] (.*)")
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)


@cache
def browser() -> str | None:
    """Return the command of a browser that starts; None where there is none."""
    for name in NAMES:
        # On Ubuntu the command may be there and only say how to install what it stands for.
        if shutil.which(name) and _run([name, "--no-sandbox", "--version"]).returncode == 0:
            return name
    return None


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


class Visit:
    """What came of opening a page.

    Attributes:
        document: the page as the browser has it when all is loaded.
        console: the messages on its console.
    """

    def __init__(self, page: Path) -> None:
        done = _open(page, "--dump-dom", "--virtual-time-budget=5000")
        self.document = done.stdout
        self.console = CONSOLE.findall(done.stderr)


def print_to_pdf(page: Path, pdf: Path) -> None:
    _open(page, "--no-pdf-header-footer", f"--print-to-pdf={pdf}")


def _open(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    name = browser()
    assert name is not None
    with tempfile.TemporaryDirectory() as profile:
        command = [name, *OPTIONS, f"--user-data-dir={profile}", *options, page.as_uri()]
        done = _run(command)
    assert done.returncode == 0, done.stderr
    return done


def measure(page: Path, script: str, *, width: int) -> Any:
    """Return the value of an expression in a copy of the page that allows scripts.

    The page itself allows none, so a measuring page stands in for it: the same, but for its
    policy and one script at its end. It stands in a frame, as windows are never as narrow as
    phones.
    """
    copy, around = page.with_name("measured.html"), page.with_name("around.html")
    html, count = POLICY.subn("", page.read_text(encoding="utf-8"))
    assert count == 1
    probe = f"onload = () => parent.postMessage(JSON.stringify({script}), '*')"
    copy.write_text(html.replace("</body>", f"<script>{probe}</script></body>"), encoding="utf-8")
    around.write_text(
        "<body><script>onmessage = said => { document.body.dataset.measured = said.data }</script>"
        f'<iframe src="{copy.name}" style="border: 0; width: {width}px; height: 900px"></iframe>'
    )
    found = re.search(r'data-measured="([^"]*)"', Visit(around).document)
    assert found is not None
    return json.loads(unescape(found[1]))
