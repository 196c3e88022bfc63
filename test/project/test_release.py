# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A release is tagged only if version, changelog and dependencies fit together."""

from __future__ import annotations

import importlib.util
import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from testbed.repository import ROOT

SPEC = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
release = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(release)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files in which the version and the dependencies stand, with changes to be released."""
    for name in (*release.PLACES, "CHANGELOG.rst", ".ci/rosdistro_keys.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.rst"
    changes = changelog.read_text(encoding="utf-8")
    if "\nForthcoming\n" not in changes:
        new = "Forthcoming\n-----------\n* A change\n\n"
        changelog.write_text(release.HEADING.sub(rf"{new}\g<0>", changes, count=1), "utf-8")
    return tmp_path


def test_the_version_is_the_same_everywhere_and_rosdep_knows_every_dependency():
    assert len(set(release.versions(ROOT).values())) == 1
    assert release.unknown_dependencies(ROOT) == []


def test_setting_a_version_makes_all_fit(copy: Path):
    release.set_version(copy, "7.8.9", "2030-01-02")
    assert set(release.versions(copy).values()) == {"7.8.9"}
    assert release.problems(copy) == []
    changes = (copy / "CHANGELOG.rst").read_text()
    assert "\n7.8.9 (2030-01-02)\n------------------\n" in changes
    assert "Forthcoming" not in changes


def test_bloom_reads_the_changes_of_a_version(copy: Path):
    changelog = pytest.importorskip("catkin_pkg.changelog", reason="comes with colcon")
    release.set_version(copy, "7.8.9", "2030-01-02")
    read = changelog.get_changelog_from_path(str(copy / "CHANGELOG.rst"), "failure_monitor")
    [(day, [changes])] = [
        (day, text) for version, day, text in read.foreach_version() if version == "7.8.9"
    ]
    assert day.date() == date(2030, 1, 2)
    text = (copy / "CHANGELOG.rst").read_text(encoding="utf-8")
    written = release.HEADING.split(text.partition("(2030-01-02)\n")[2])[0]
    assert str(changes).count("* ") == len(re.findall(r"^ *\* ", written, re.MULTILINE))


def test_without_changes_nothing_is_released(copy: Path):
    release.set_version(copy, "7.8.9", "2030-01-02")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match="no section Forthcoming"):
        release.set_version(copy, "7.9.0", "2030-01-03")
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_what_does_not_fit_is_named(copy: Path):
    release.set_version(copy, "7.8.9", "2030-01-02")
    citation = copy / "CITATION.cff"
    citation.write_text(citation.read_text().replace("7.8.9", "7.8.8"))
    manifest = copy / "package.xml"
    manifest.write_text(
        manifest.read_text().replace(">python3-scipy<", ">python3-no-such-package<")
    )
    changes = copy / "CHANGELOG.rst"
    changes.write_text(changes.read_text().replace("7.8.9 (2030-01-02)", "Forthcoming"))
    wrong = " ".join(release.problems(copy))
    assert "CITATION.cff has version 7.8.8, package.xml 7.8.9" in wrong
    assert "python3-no-such-package" in wrong
    assert "CHANGELOG.rst begins with" in wrong


def test_a_version_is_three_numbers(copy: Path):
    with pytest.raises(SystemExit, match="three numbers"):
        release.set_version(copy, "0.2", "2030-01-02")
