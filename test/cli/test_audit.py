# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The audit of real bags, and a calibration without what it would drop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from testbed.command_line import run_command, write_rollout_bag
from testbed.synthetic import synthetic_rollout

from failure_monitor.bundle.folder import load
from failure_monitor.calibration.audit_text import audited_rollouts
from failure_monitor.cli.terminal_table import terminal_table
from failure_monitor.sources.exclusions import Exclusions, read_exclusions, write_exclusions
from failure_monitor.sources.source import SourceError
from failure_monitor.text_table import TextTable


@pytest.fixture(scope="module")
def bags(tmp_path_factory) -> Path:
    """Ten good rollouts, one with NaN, a failure, one of another policy, one cut off."""
    folder = tmp_path_factory.mktemp("audited")
    for seed in range(10):
        write_rollout_bag(folder / f"good_{seed}", synthetic_rollout(seed))
    with_nan = synthetic_rollout(20)
    with_nan.embeddings[4, 1] = np.nan
    write_rollout_bag(folder / "with_nan", with_nan)
    write_rollout_bag(folder / "failed", synthetic_rollout(21), success=False)
    other = synthetic_rollout(22)
    write_rollout_bag(folder / "other", replace(other, embeddings=np.tile(other.embeddings, 2)))
    write_rollout_bag(folder / "cut", synthetic_rollout(23))
    (mcap,) = (folder / "cut").glob("*.mcap")
    mcap.write_bytes(b"")
    return folder


@pytest.mark.slow
def test_the_audit_finds_what_cannot_calibrate_and_calibrate_leaves_it_out(bags, tmp_path):
    listed, results = tmp_path / "drop.txt", tmp_path / "audit.json"
    refused = run_command("calibrate", bags, "--output", tmp_path / "bundle")
    assert refused.returncode == 1
    audited = run_command("audit", bags, "--drop", listed, "--json", results, "--jobs", "1")
    assert audited.returncode == 0, audited.stderr
    for said in (
        "drop with_nan: 1 decisions have NaN or infinite values, the first is 4",
        "drop failed: it failed",
        "drop other: another policy: embedding size 12, most have 6",
        "cut",
    ):
        assert said in audited.stdout
    assert audited.stderr.count("decisions are ordered by header stamp") == 1
    verdicts = {
        each["name"]: each["verdict"] for each in json.loads(results.read_text())["rollouts"]
    }
    assert [verdicts[name] for name in ("with_nan", "failed", "other")] == ["drop"] * 3
    assert "drop" not in [verdicts[f"good_{seed}"] for seed in range(10)]
    calibrated = run_command(
        *("calibrate", bags, "--exclude", listed, "--output", tmp_path / "bundle"),
        *("--scores", "knn", "--jobs", "1"),
    )
    assert calibrated.returncode == 0, calibrated.stderr
    names = [rollout.name for rollout in load(tmp_path / "bundle").calibration]
    assert sorted(names) == [f"good_{seed}" for seed in range(10)]


def test_exclusions_are_read_as_they_are_written(tmp_path):
    exclusions = Exclusions({"0" * 64: "with nan", "1" * 64: "b"}, (tmp_path / "a bag",))
    write_exclusions(tmp_path / "list", exclusions)
    assert read_exclusions(tmp_path / "list") == exclusions


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nonsense\n", "line 1: expected a SHA-256"),
        (f"{'0' * 64}  a\nsource\n", "line 2: expected a SHA-256"),
        ("\x00\xff", "cannot be read"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, content, said):
    path = tmp_path / "list"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SourceError, match=said):
        read_exclusions(path)


def test_a_list_that_excludes_everything_is_refused(bags, tmp_path):
    listed = tmp_path / "list"
    write_exclusions(listed, Exclusions(sources=((bags / "good_0").resolve(),)))
    refused = run_command(
        *("calibrate", bags / "good_0", "--exclude", listed, "--output", tmp_path / "bundle")
    )
    assert refused.returncode == 1
    assert "are excluded" in refused.stderr


def test_headings_and_numbers_are_whole_in_a_terminal_of_80_columns():
    name = "a_folder_of_a_long_name_2026_11_29/rollout_0001"
    measured = {"decisions": 1234, "seconds": 1234.5, "rate": 100.0, "longest_gap": 12.34}
    p = {"trajectory_p": 0.5, "scores_p": 0.25}
    found = SimpleNamespace(rollouts=[SimpleNamespace(name=name, **measured, **p, verdict="drop")])
    console = Console(width=80)
    with console.capture() as shown:
        console.print(terminal_table(audited_rollouts(found)))
    lines = shown.get().splitlines()
    words = " ".join(lines).split()
    for column in audited_rollouts(found).columns:
        assert set(column.split()) <= {*words}
    assert {"1234", "1234.5", "100.0", "12.34", "0.50", "0.25", "drop"} <= {*words}
    assert "…" not in "".join(words)


def test_a_long_word_of_a_wide_table_goes_on_in_the_next_line():
    task = "button-press-topdown-v3"
    columns = ("rollout", "task", *(f"number_{place}" for place in range(8)))
    table = TextTable("", columns, (("a", task, *"12345678"),), left_aligned=frozenset({"task"}))
    console = Console(width=200)
    with console.capture() as shown:
        console.print(terminal_table(table))
    words = shown.get().split()
    assert {"button-press-top", "down-v3"} <= {*words}
