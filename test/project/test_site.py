# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The site shows every page once, and what is made from the code is as the code is.

`make site`, a stage of .ci/run, builds it; a warning is an error there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import make_command_reasons
import make_python_reference
import pytest
import yaml
from repository_pages import FOLDER, gather, page_of, with_site_links
from testbed.pages import PAGES, broken_links, links
from testbed.repository import ROOT

import failure_monitor
from failure_monitor.cli import COMMANDS, reference_page
from failure_monitor.cli.declaration import Remainder, parameters_of

DOCS = ROOT / "docs"


def listed() -> list[str]:
    """The pages in the tables of contents, by their places."""
    index = (DOCS / "index.rst").read_text(encoding="utf-8")
    return re.findall(r"^   (\w[\w/]*)$", index, re.MULTILINE)


def pages_of_docs() -> list[Path]:
    """The pages of docs/ without those that the site adds from the repository."""
    return [path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] != FOLDER]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the site is made from: its pages, with the links that they have there."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns(FOLDER), dirs_exist_ok=True)
    gather(ROOT, folder, set(listed()))
    for page in pages_of_docs():
        path = page.relative_to(ROOT).as_posix()
        text = with_site_links(page.read_text(encoding="utf-8"), path)
        (folder / page_of(path)).write_text(text, encoding="utf-8")
    return folder


def test_every_link_of_a_page_is_one_on_the_site(site: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("testbed.pages.ROOT", site)
    pages = [page for page in site.rglob("*.md") if "````" not in page.read_text("utf-8")]
    assert {page: broken for page in pages if (broken := broken_links(page))} == {}
    to_folders = {
        (page.relative_to(site).as_posix(), link)
        for page in pages
        for link in links(page.read_text(encoding="utf-8"))
        if not re.match("[a-z]+:|#", link) and (page.parent / link.partition("#")[0]).is_dir()
    }
    assert to_folders == set()
    for page in PAGES:
        path = page.relative_to(ROOT).as_posix()
        shown = site / page_of(path)
        if shown.is_file():
            there, here = (links(each.read_text(encoding="utf-8")) for each in (page, shown))
            assert len(here) == len(there), path


def test_pages_lead_to_files_of_the_repository_on_the_site(site: Path):
    safety = links((site / "safety.md").read_text(encoding="utf-8"))
    assert "repository/test/faults/test_gate_faults.py.md" in safety
    assert "../gate.md" in links((site / "tutorials" / "node_of_your_own.md").read_text("utf-8"))
    shown = (site / FOLDER / "config" / "gate.yaml.md").read_text(encoding="utf-8")
    assert (ROOT / "config" / "gate.yaml").read_text(encoding="utf-8") in shown
    for name in listed():
        assert any((site / f"{name}{suffix}").is_file() for suffix in (".md", ".rst")), name


def test_what_is_code_is_no_link():
    text = "[a](../x.py) `[b](../x.py)`\n```\nc[0](../x.py)\n```\n[d](https://example.org/x)\n"
    on_site = with_site_links(text, "docs/page.md")
    assert on_site == text.replace("[a](../x.py)", "[a](repository/x.py.md)")


def test_every_page_is_in_the_index_once():
    count = Counter(name for name in listed() if not name.startswith(FOLDER))
    names = {path.relative_to(DOCS).with_suffix("").as_posix() for path in pages_of_docs()}
    assert set(count) == names, "docs/index.rst lists the pages of docs/ by their chapters"
    assert set(count.values()) == {1}


def test_every_page_begins_with_its_only_title():
    for path in pages_of_docs():
        text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
        assert text.startswith("# "), path
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, path


def test_the_command_line_s_page_is_up_to_date():
    written = reference_page.PAGE.read_text(encoding="utf-8")
    assert written == reference_page.reference_page(), "docs/command_line.md: make reference"


def test_the_command_line_s_page_has_every_option_of_every_command():
    *sections, shared = re.split(r"^## ", reference_page.reference_page(), flags=re.MULTILINE)[1:]
    panels = dict(re.findall(r"^### (.+)\n\n((?:\|.*\n)+)", shared, re.MULTILINE))
    assert len(panels) > 3
    for command, section in zip(COMMANDS, sections, strict=True):
        linked = "".join(table for panel, table in panels.items() if f"[{panel}](#" in section)
        for parameter in parameters_of(command):
            label = parameter.label.replace("|", r"\|")
            is_there = f"`{label}`" in section + linked
            assert is_there or isinstance(parameter.declaration, Remainder), (section, label)


@pytest.mark.parametrize(
    ("page", "made"),
    [
        (make_python_reference.PAGE, make_python_reference.python_reference),
        (make_command_reasons.PAGE, make_command_reasons.command_reasons),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_pages_that_are_made_from_the_code_are_up_to_date(page, made):
    is_current = page.read_text(encoding="utf-8") == made()
    assert is_current, f"docs/{page.name}: make reference"


def test_the_python_reference_has_all_that_the_package_exports():
    headings = re.findall(r"^### (\w+)$", make_python_reference.python_reference(), re.MULTILINE)
    assert set(failure_monitor.__all__) - {"__version__"} <= set(headings)
    assert len(set(headings)) == len(headings)


def test_docs_ros_org_finds_the_pages():
    [named] = ElementTree.parse(ROOT / "package.xml").iter("rosdoc2")
    _, settings = yaml.safe_load_all((ROOT / named.text).read_text(encoding="utf-8"))
    [builder] = settings["builders"]
    folder = ROOT / builder["sphinx"]["sphinx_sourcedir"]
    assert (folder / "conf.py").is_file()
    assert (folder / "index.rst").is_file()


def test_rosdoc2_runs_the_settings_from_a_copy(tmp_path: Path):
    copy = shutil.copytree(DOCS, tmp_path / "wrapped", ignore=shutil.ignore_patterns(FOLDER))
    wrapper = copy / "conf.py"
    wrapper.write_text(f'exec(open("{DOCS / "conf.py"}").read())\nprint(DOCS, release)\n')
    done = subprocess.run(
        [sys.executable, "-I", wrapper], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(DOCS), failure_monitor.__version__]
