#!/usr/bin/env python3
# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Prepares a release, checks that all of it fits together, and tags it. Nothing is uploaded.

.ci/release.py set 0.2.0      writes the version wherever it stands, and the changelog's heading
.ci/release.py check          says what does not fit; `make release` runs the rest as well
.ci/release.py tag            checks, and tags the commit
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]

PLACES = {
    "package.xml": r"(<version>)([^<]+)",
    "setup.py": r'(    version=")([^"]+)',
    "failure_monitor/__init__.py": r'(__version__ = ")([^"]+)',
    "CITATION.cff": r"(^version: )(\S+)",
}
"""Where the version stands, and what it stands behind."""

FORTHCOMING = re.compile(r"^Forthcoming\n-+$", re.MULTILINE)
HEADING = re.compile(r"^(Forthcoming|\d+\.\d+\.\d+ \(\d{4}-\d{2}-\d{2}\))\n-+$", re.MULTILINE)


def versions(root: Path) -> dict[str, str]:
    """Return the version by the file in which it stands."""
    found = {}
    for name, pattern in PLACES.items():
        match = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        found[name] = match.group(2) if match else "none"
    return found


def set_version(root: Path, version: str, today: str) -> None:
    """Write a version wherever it stands, and make what is forthcoming its changes."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise SystemExit(f"release: '{version}' is no version: write three numbers, as 0.2.0")
    changelog = root / "CHANGELOG.rst"
    changes = changelog.read_text(encoding="utf-8")
    if not FORTHCOMING.search(changes):
        raise SystemExit(
            "release: CHANGELOG.rst has no section Forthcoming, so nothing is to be released: "
            "write there what is different"
        )
    for name, pattern in PLACES.items():
        path = root / name
        text = path.read_text(encoding="utf-8")
        path.write_text(
            re.sub(pattern, rf"\g<1>{version}", text, count=1, flags=re.MULTILINE),
            encoding="utf-8",
        )
    heading = f"{version} ({today})"
    dated = FORTHCOMING.sub(f"{heading}\n{'-' * len(heading)}", changes)
    changelog.write_text(dated, encoding="utf-8")


def unknown_dependencies(root: Path) -> list[str]:
    """Return what package.xml depends on and rosdistro did not know."""
    manifest = ElementTree.parse(root / "package.xml").getroot()
    named = {item.text or "" for item in manifest if item.tag.endswith("depend")}
    lines = (root / ".ci" / "rosdistro_keys.txt").read_text(encoding="utf-8").splitlines()
    return sorted(named - set(lines))


def problems(root: Path) -> list[str]:
    """Return what does not fit, a sentence for each."""
    found = versions(root)
    version = found["package.xml"]
    wrong = [
        f"{name} has version {other}, package.xml {version}: .ci/release.py set VERSION"
        for name, other in found.items()
        if other != version
    ]
    newest = HEADING.search((root / "CHANGELOG.rst").read_text(encoding="utf-8"))
    if newest is None or not newest.group(1).startswith(f"{version} ("):
        is_first = newest.group(1) if newest else "nothing"
        wrong.append(
            f"CHANGELOG.rst begins with {is_first}, expected {version} and its date: "
            ".ci/release.py set VERSION"
        )
    wrong += [
        f"package.xml depends on {name}, which .ci/rosdistro_keys.txt does not list: look it up "
        "in ros/rosdistro, and add it there if rosdep knows it"
        for name in unknown_dependencies(root)
    ]
    return wrong


def repository_problems(root: Path, version: str) -> list[str]:
    """Return why this commit cannot be tagged."""
    wrong = []
    if _git(root, "status", "--porcelain"):
        wrong.append("there are changes that are not committed: commit them")
    if _git(root, "tag", "--list", version):
        wrong.append(f"there is a tag {version} already: set the next version")
    return wrong


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def main(arguments: list[str]) -> None:
    """Run one of the three."""
    version = versions(ROOT)["package.xml"]
    match arguments:
        case ["set", to]:
            set_version(ROOT, to, date.today().isoformat())
        case ["check" | "tag" as verb]:
            wrong = [*problems(ROOT), *repository_problems(ROOT, version)]
            if wrong:
                raise SystemExit("\n".join(f"release: {each}" for each in wrong))
            if verb == "tag":
                _git(ROOT, "tag", "--annotate", version, "--message", version)
                print(f"tagged {version}; nothing was uploaded")
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
