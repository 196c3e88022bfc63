# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Pages lead where they say, and what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from testbed.pages import PAGES, anchors, broken_links, links
from testbed.repository import ROOT

import failure_monitor

KIT = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "test/README.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_heading_that_are_there(page: Path):
    assert broken_links(page) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("testbed.pages.ROOT", tmp_path)
    (tmp_path / "a.md").write_text("# One\n## A `b`, c!\n## One\n```\n# no heading\n```\n")
    (tmp_path / "b.md").write_text(
        "[good](a.md#a-b-c) [good](a.md#one-1) [no](a.md#no-heading) ![no](c.png) "
        "`[code](x.md)` [far](https://example.org/x) [`no`](#here) [out](../..)\n"
    )
    assert broken_links(tmp_path / "a.md") == []
    assert broken_links(tmp_path / "b.md") == ["a.md#no-heading", "c.png", "#here", "../.."]
    assert anchors((tmp_path / "a.md").read_text()) == {"one", "a-b-c", "one-1"}


def test_pages_that_must_be_there_are_looked_at():
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"README.md", "docs/safety.md", "benchmarks/README.md"} <= names
    assert {page.relative_to(ROOT).as_posix() for page in KIT} <= names
    assert sum(len(links(page.read_text(encoding="utf-8"))) for page in PAGES) > 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_target_of_make_that_a_page_names_is_there(page: Path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= targets


def test_every_mark_of_tests_is_explained():
    declared = re.findall(
        r'^    "(\w+)(?:\(\w+\))?: ', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    page = (ROOT / "test" / "README.md").read_text(encoding="utf-8")
    assert declared
    assert set(re.findall(r"^\| `(\w+)(?:\(\w+\))?` \|", page, re.MULTILINE)) == set(declared)


@pytest.mark.parametrize("page", KIT, ids=lambda page: page.name)
def test_every_folder_that_the_kit_names_is_there(page: Path):
    named = re.findall(r"`(failure_monitor/[\w/]+/)", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_dir()] == []


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == failure_monitor.__version__
    assert citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_hooks_before_a_commit_are_the_linters():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    [repository] = hooks["repos"]
    assert repository["repo"] == "local"
    entries = {hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE).group(1)
    assert set(re.findall(r"\$\(BIN\)/(.+)", lint)) <= entries


def test_public_ci_runs_what_every_change_must_pass():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        run = [step["run"] for step in steps if "run" in step]
        assert run == [".ci/run"]
        assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize(
    "template", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md")), ids=lambda p: p.name
)
def test_issue_templates_have_a_name_and_say_what_they_are_for(template: Path):
    _, head, body = template.read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head).keys() >= {"name", "about"}
    assert body.strip()
