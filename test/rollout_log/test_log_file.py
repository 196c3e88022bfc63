# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The rollout log: what was appended is read, whatever became of the file since."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from failure_monitor.rollout_log.log_file import (
    MAX_LINE,
    RolloutLogError,
    append,
    log_path,
    read_log,
)
from failure_monitor.rollout_log.record import RolloutRecord

FIRST = RolloutRecord(
    rollout="20261129T034512.120Z-1",
    robot="left ärm",
    monitor="/left/failure_monitor",
    bundle="ab" * 32,
    alpha=0.1,
    started=1.0,
    ended=21.5,
    decisions=40,
    level=0.5,
    judges={"reward": 0.25},
    claim="success",
)
SECOND = replace(FIRST, rollout="20261129T034612.120Z-2", claim=None, level=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return log_path(tmp_path / "folder", FIRST.monitor, FIRST.bundle)


def test_its_name_tells_the_monitor_and_the_bundle(path):
    assert path.name == "left.failure_monitor.abababababab.rollouts.jsonl"


def test_what_was_appended_is_read_and_the_newest_of_a_rollout_counts(path):
    append(path, FIRST)
    append(path, SECOND)
    labelled = replace(FIRST, label="failure")
    append(path, labelled)
    assert read_log(path) == [labelled, SECOND]
    assert [record.outcome for record in read_log(path)] == ["failure", None]


def test_a_line_cut_off_by_a_power_cut_costs_that_line_alone(path):
    append(path, FIRST)
    append(path, SECOND)
    path.write_bytes(path.read_bytes()[:-20])
    remarks: list[str] = []
    assert read_log(path, remarks.append) == [FIRST]
    append(path, SECOND)
    assert read_log(path, remarks.append) == [FIRST, SECOND]
    assert len(remarks) == 2
    assert all("damaged lines left out: 2" in remark for remark in remarks)


@pytest.mark.parametrize(
    "line",
    [b"\0" * 300, b"[" * 5000, b"null", b'{"version": 1}', b"\xff", b"x" * (3 * MAX_LINE), b""],
    ids=["zeros", "nested", "null", "fields missing", "no text", "too long", "empty"],
)
def test_a_damaged_line_is_left_out_with_a_remark(path, line):
    append(path, FIRST)
    with path.open("ab") as stream:
        stream.write(line + b"\n")
    append(path, SECOND)
    remarks: list[str] = []
    assert read_log(path, remarks.append) == [FIRST, SECOND]
    assert remarks == [f"'{path}': damaged lines left out: 2"]


def test_a_first_line_that_is_being_written_is_no_record_yet(path):
    append(path, FIRST)
    path.write_bytes(path.read_bytes()[:30])
    assert read_log(path) == []


@pytest.mark.parametrize("content", ["a table,of labels\n1,success\n", '{"version": 9}\n'])
def test_another_file_and_a_newer_one_are_refused_by_name(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(RolloutLogError, match=r"no rollout log|newer failure_monitor") as raised:
        read_log(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_a_folder_and_a_pipe_are_refused(path):
    with pytest.raises(RolloutLogError, match="cannot be read"):
        read_log(path)
    path.mkdir(parents=True)
    with pytest.raises(RolloutLogError, match="no file"):
        append(path, FIRST)
    path.rmdir()
    os.mkfifo(path)
    for use in (read_log, lambda path: append(path, FIRST)):
        with pytest.raises(RolloutLogError, match="no file"):
            use(path)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Have files take what fits, and then nothing more, as a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_record_of_which_a_full_disk_takes_a_part_is_reported_and_costs_no_other(path):
    append(path, FIRST)
    with (
        no_file_longer_than(path.stat().st_size + 20),
        pytest.raises(RolloutLogError, match="cannot be written"),
    ):
        append(path, SECOND)
    append(path, SECOND)
    remarks: list[str] = []
    assert read_log(path, remarks.append) == [FIRST, SECOND]
    assert "damaged lines left out: 2" in remarks[0]


def test_a_record_that_could_not_be_read_again_is_not_written(path):
    with pytest.raises(RolloutLogError, match="expected at most"):
        append(path, replace(FIRST, why_ended="x" * MAX_LINE))
    assert not path.exists()
