# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every benchmark starts and has its place in the table; some run and say what they found."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from testbed.repository import ROOT

BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

RUN = (
    "calibration_scale.py",
    "calibration_time.py",
    "coverage.py",
    "latency.py",
    "published_benchmark.py",
)
"""Those that tests run, one of them in test_published_benchmark.py."""

long = pytest.mark.timeout(900)


def test_every_benchmark_is_in_the_table_with_its_command_and_page():
    rows = re.findall(
        r"^\| \[(\w+\.py)\]\((\S+)\) \| [^|]+ \| `python benchmarks/(\S+?)[ `].*\| (.+) \|$",
        (BENCHMARKS / "README.md").read_text(),
        flags=re.MULTILINE,
    )
    assert [row[0] for row in rows] == SCRIPTS
    for name, link, command, page in rows:
        assert name == link == command
        pages = [(BENCHMARKS / target).resolve() for target in re.findall(r"\]\((\S+)\)", page)]
        assert all(target in PAGES for target in pages)
        assert pages or page.startswith("no page; ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_benchmark_that_a_page_names_is_there(page: Path):
    assert set(re.findall(r"\bbenchmarks/(\w+\.py)", page.read_text())) <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_benchmark_takes_its_parts_from_another(script: str):
    names = {Path(other).stem for other in SCRIPTS}
    for node in ast.walk(ast.parse((BENCHMARKS / script).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module not in names
        elif isinstance(node, ast.Import):
            assert not names & {alias.name for alias in node.names}


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted({*SCRIPTS} - {*RUN}))
def test_every_other_benchmark_starts(script: str):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


def figures(path: Path, name: str, *options: str) -> tuple[list | dict, str]:
    """What a benchmark wrote as JSON, and what it printed."""
    result = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--json", path / "figures.json", *options],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    return json.loads((path / "figures.json").read_text()), result.stdout


@pytest.mark.slow
@long
def test_coverage(tmp_path):
    options = ("--splits", "2", "--trained-splits", "0", "--fittings", "0", "--jobs", "1")
    cells, printed = figures(tmp_path, "coverage", *options)
    assert {(cell["n"], cell["alpha"]) for cell in cells} == {
        (n, alpha) for n in (10, 20, 40) for alpha in (0.05, 0.1, 0.2) if n * alpha > 0.5
    }
    assert all(0 <= cell["rate"] <= 1 and cell["splits"] == 2 for cell in cells)
    assert "10 calibration rollouts cannot promise a false-alarm rate of 0.05" in printed


@pytest.mark.slow
@long
def test_latency(tmp_path):
    found, printed = figures(tmp_path, "latency", "--quick", "--endless", "1000")
    assert all(row["median_us"] > 0 and row["difference"] < 1e-4 for row in found["rows"])
    assert found["memory"]["decisions"] == 100
    assert "its target of 1000 µs at B 256, E 512" in printed


@pytest.mark.slow
@long
def test_calibration_time(tmp_path):
    found, printed = figures(tmp_path, "calibration_time", "--quick")
    assert found.keys() == {"default", "fiper"}
    for rule in found.values():
        assert [timing["rollouts"] for timing in rule["timings"]] == [10, 50]
    assert "the target of 5 s" in printed


@pytest.mark.slow
@long
def test_calibration_scale(tmp_path):
    found, printed = figures(tmp_path, "calibration_scale", "--quick")
    assert [(scale["source"], scale["rule"], scale["rollouts"]) for scale in found] == [
        ("bags", "default", 10),
        ("archive", "default", 10),
        ("archive", "default", 20),
    ]
    assert all(scale["cpu_seconds"] > 0 and scale["peak_megabytes"] > 50 for scale in found)
    assert "MB each" in printed
