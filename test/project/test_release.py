# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A release is tagged only if version, changelog and dependencies fit together."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from testbed.repository import ROOT

SPEC = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
release = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(release)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files of the repository in which the version and the dependencies stand."""
    for name in (*release.PLACES, "CHANGELOG.rst", ".ci/rosdistro_keys.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
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
