# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Options that cannot be right are named before any work begins."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from testbed.command_line import run_here

from failure_monitor.calibration.from_sources import calibrate
from failure_monitor.errors import FailureMonitorError

CALIBRATE = "calibrate SOURCE --output new"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((f"{CALIBRATE} --alpha {alpha}", "--alpha") for alpha in ("0", "1", "-0.1", "nan", "x")),
        (f"{CALIBRATE} --seed -1", "--seed"),
        (f"{CALIBRATE} --window 0", "--window"),
        (f"{CALIBRATE} --folds 1", "--folds"),
        (f"{CALIBRATE} --rule most", "--rule"),
        (f"{CALIBRATE} --threshold wavy", "--threshold"),
        (f"{CALIBRATE} --scores nonsense", "nonsense"),
        (f"{CALIBRATE} --choose-by nonsense", "nonsense"),
        (f"{CALIBRATE} --action-kind push", "--action-kind"),
        (f"{CALIBRATE} --executed-actions 0", "--executed-actions"),
        *(
            (f"{CALIBRATE} --control-period {period}", "--control-period")
            for period in ("0", "-0.05", "inf", "nan")
        ),
        (f"{CALIBRATE} --exclude ''", "--exclude"),
        ("calibrate SOURCE --output ''", "--output"),
        ("audit SOURCE --seed -1", "--seed"),
        *(
            (f"audit SOURCE --boundaries pauses --pause {pause}", "--pause")
            for pause in ("inf", "nan", "0", "-1")
        ),
        ("inspect SOURCE --samples 0", "--samples"),
        ("inspect SOURCE --noise-seed -1", "--noise-seed"),
        ("inspect SOURCE --decision-rate inf", "--decision-rate"),
        ("inspect SOURCE --stamp-tolerance -1", "--stamp-tolerance"),
        ("inspect SOURCE --action-chunks-topic ''", "--action-chunks-topic"),
        ("inspect SOURCE --jobs 0", "--jobs"),
        ("archive SOURCE --output new.npz --action-chunks-topic ''", "--action-chunks-topic"),
        ("evaluate SOURCE SOURCE --group-by colour", "--group-by"),
        ("label SOURCE --outcome success --success-topic ''", "--success-topic"),
        ("check --seconds inf", "--seconds"),
        (f"{CALIBRATE} --seed 99999999999999999999", "--seed"),
        (f"{CALIBRATE} --window 99999999999999999999", "--window"),
        ("inspect SOURCE --jobs 99999999999999999999", "--jobs"),
        ("check --embedding-topic 'a b'", "a b"),
    ],
)
def test_a_value_without_a_meaning_is_told_by_its_option(tmp_path, monkeypatch, command, option):
    monkeypatch.chdir(tmp_path)
    arguments = ["" if part == "''" else part for part in command.replace("'a b'", "a_b").split()]
    result = run_here(*(part.replace("a_b", "a b") for part in arguments))
    assert result.exit_code == 2, result.output
    assert option in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("calibrate SOURCE --output file", "--output: cannot write file: it is a file"),
        ("calibrate SOURCE --output file/new", "--output: cannot write file/new"),
        ("calibrate SOURCE --output /proc/new", "--output: cannot write /proc/new"),
        ("calibrate SOURCE --output held", "held exists and is no bundle"),
        ("calibrate SOURCE --output SOURCE", "what SOURCES... names, too"),
        ("calibrate SOURCE --output new --report new", "what --output names, too"),
        ("archive SOURCE --output none/new.npz", "there is no folder"),
        ("archive file --output file", "what SOURCES... names, too"),
        ("audit SOURCE --json held", "--json: cannot write held: it is a folder"),
        ("audit SOURCE --json link", "--json: cannot write link: it is a folder"),
        ("audit SOURCE --json a --drop a", "what --drop names, too"),
        ("inspect SOURCE --json none/a", "there is no folder"),
        ("inspect SOURCE --json loop", "--json: cannot write loop: Too many levels"),
        ("evaluate SOURCE SOURCE --report file", "--report: cannot write file: it is a file"),
        ("check --json none/a", "--json: cannot write none/a"),
    ],
)
def test_what_cannot_be_written_is_told_first_and_nothing_is_touched(
    tmp_path, monkeypatch, command, words
):
    monkeypatch.chdir(tmp_path)
    Path("held").mkdir()
    Path("held/notes").write_text("mine")
    Path("file").write_text("mine")
    Path("link").symlink_to("held")
    Path("loop").symlink_to("loop")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    result = run_here(*command.split())
    assert result.exit_code == 2 or (result.exit_code == 1 and "is no bundle" in words)
    assert words in result.stderr.replace(f"{tmp_path}/", "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert Path("link").is_symlink()


@pytest.mark.parametrize(
    "command",
    [
        "inspect bag --json bag/metadata.yaml",
        "inspect bag --json bag/new.json",
        "inspect . --json link.json",
        "inspect * --json set.npz",
        "archive . --output set.npz",
        "archive . --output bag/more",
        "audit . --drop bag/drop.txt",
        "evaluate bundle . --report bundle/report",
        "evaluate bundle bag --json bundle/bundle.yaml",
        "promise bundle bag --figure bundle/arrays.svg",
        "calibrate set.npz --fit . --output bag/bundle",
        "calibrate set.npz --policy policy --output policy/bundle",
        "evaluate-judge judge.json . --json robot/x.rollouts.jsonl",
        "fleet robot --html robot/x.rollouts.jsonl",
        "fleet one=robot --json robot/x.promise.json",
    ],
)
def test_no_output_goes_into_or_over_what_is_read(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    files = (
        *("bag/metadata.yaml", "bag/bag_0.mcap", "set.npz", "bundle/bundle.yaml", "judge.json"),
        *("policy/config.json", "robot/x.rollouts.jsonl", "robot/x.promise.json", "notes.json"),
    )
    for file in files:
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("mine")
    Path("link.json").symlink_to("bag/metadata.yaml")
    result = run_here(*command.split())
    assert result.exit_code == 2, result.output
    assert re.search("would be written (into|over) .*, which .* names", result.stderr)
    assert {path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"mine"}
    # A file that is no source may lie among them, also for the second time.
    assert "notes.json" not in run_here("inspect", ".", "--json", "notes.json").stderr
    # So may a bundle that is calibrated again.
    assert "written over" not in run_here("calibrate", ".", "--output", "bundle").stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("inspect bag/bag_0.mcap --json bag/metadata.yaml", "a file of bag:"),
        ("inspect 'bag/*.mcap' --json link.json", "a file of bag:"),
        ("inspect none --json set.npz", "holds rollouts"),
        ("archive none --output bag/bag_0.mcap", "holds rollouts"),
        ("evaluate none none --json bundle/bundle.yaml", "a file of bundle:"),
        ("fleet none --html dataset/meta/info.json", "a file of dataset:"),
        ("archive none --output store/parts/PART.npz", "holds rollouts"),
    ],
)
def test_no_output_replaces_a_recording_that_is_not_read(tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    command = command.replace("PART", "0" * 64)
    files = (
        *("bag/metadata.yaml", "bag/bag_0.mcap", "set.npz", "bundle/bundle.yaml"),
        *("dataset/meta/info.json", "store/store.json", f"store/parts/{'0' * 64}.npz"),
    )
    for file in files:
        Path(file).parent.mkdir(exist_ok=True, parents=True)
        Path(file).write_text("mine")
    Path("link.json").symlink_to("bag/metadata.yaml")
    result = run_here(*command.replace("'", "").split())
    assert result.exit_code == 2, result.output
    assert words in result.stderr.replace(f"{tmp_path}/", "")
    assert {path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"mine"}
    # An archive is written again.
    assert "set.npz" not in run_here("archive", "none", "--output", "set.npz").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"alpha": float("nan")}, "an alpha of nan is no chance"),
        ({"seed": -1}, "the seed is -1"),
        ({"folds": 1}, "1 folds hold no rollout apart"),
        ({"output": "/proc/new"}, "cannot write /proc/new"),
    ],
)
def test_in_python_too(arguments, words):
    with pytest.raises(FailureMonitorError, match=words):
        calibrate("SOURCE", **arguments)


def test_what_lies_in_a_bundle_beside_it_is_not_lost(tmp_path, bundle_folder):
    import shutil

    folder = tmp_path / "bundle"
    shutil.copytree(bundle_folder, folder)
    (folder / "notes.txt").write_text("mine")
    result = run_here("calibrate", tmp_path / "none", "--output", folder)
    assert "would be replaced, and holds notes.txt, no part of a bundle" in result.stderr
    (folder / "notes.txt").unlink()
    assert os.listdir(folder)
    assert "notes" not in run_here("calibrate", tmp_path / "none", "--output", folder).stderr
