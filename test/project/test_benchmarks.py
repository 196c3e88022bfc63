# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of coverage, latency and calibration run, and say what they found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from testbed.repository import ROOT

BENCHMARKS = ROOT / "benchmarks"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def figures(path: Path, name: str, *options: str) -> tuple[list | dict, str]:
    """What a benchmark wrote as JSON, and what it printed."""
    result = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--json", path / "figures.json", *options],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    return json.loads((path / "figures.json").read_text()), result.stdout


def test_coverage(tmp_path):
    options = ("--splits", "2", "--trained-splits", "0", "--fittings", "0", "--jobs", "1")
    cells, printed = figures(tmp_path, "coverage", *options)
    assert {(cell["n"], cell["alpha"]) for cell in cells} == {
        (n, alpha) for n in (10, 20, 40) for alpha in (0.05, 0.1, 0.2) if n * alpha > 0.5
    }
    assert all(0 <= cell["rate"] <= 1 and cell["splits"] == 2 for cell in cells)
    assert "10 calibration rollouts cannot promise a false-alarm rate of 0.05" in printed


def test_latency(tmp_path):
    found, printed = figures(tmp_path, "latency", "--quick", "--endless", "1000")
    assert all(row["median_us"] > 0 and row["difference"] < 1e-4 for row in found["rows"])
    assert found["memory"]["decisions"] == 100
    assert "its target of 1000 µs at B 256, E 512" in printed


def test_calibration_time(tmp_path):
    found, printed = figures(tmp_path, "calibration_time", "--quick")
    assert found.keys() == {"default", "fiper"}
    for rule in found.values():
        assert [timing["rollouts"] for timing in rule["timings"]] == [10, 20, 50]
    assert "the target of 20 s" in printed


def test_calibration_scale(tmp_path):
    found, printed = figures(tmp_path, "calibration_scale", "--quick")
    assert [(scale["source"], scale["rule"], scale["rollouts"]) for scale in found] == [
        ("bags", "default", 10),
        ("bags", "fiper", 10),
        *(("archive", rule, n) for rule in ("default", "fiper") for n in (10, 20)),
    ]
    assert all(scale["cpu_seconds"] > 0 and scale["peak_megabytes"] > 50 for scale in found)
    assert "MB each" in printed
