# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""No record is lost to a disk that takes none for a while."""

from __future__ import annotations

from dataclasses import replace

from testbed.rollout_records import BLANK

from failure_monitor.rollout_log.log_file import MAX_LINE, read_log
from failure_monitor.ros.monitor.rollout_log_writer import MAX_WAITING, RolloutLogWriter


class Disk:
    """Does at once what a thread would do, unless it hangs."""

    hangs = False

    def submit(self, work):
        if not self.hangs:
            work()


def test_what_could_not_be_written_is_written_with_the_next_record(tmp_path):
    folder = tmp_path / "folder"
    folder.write_text("a file in the place of the folder, as nobody can write into one")
    writer = RolloutLogWriter(folder / "log", Disk())
    for name in ("1", "2"):
        writer.write(replace(BLANK, rollout=name))
        assert "cannot be written" in writer.problem
    writer.write(replace(BLANK, rollout="1", label="failure"))
    folder.unlink()
    writer.write(replace(BLANK, rollout="3"))
    assert writer.problem == ""
    found = read_log(writer.path)
    assert [(one.rollout, one.label) for one in found] == [
        ("2", None),
        ("1", "failure"),
        ("3", None),
    ]


def test_a_record_that_cannot_be_read_again_keeps_no_other_from_the_disk(tmp_path):
    writer = RolloutLogWriter(tmp_path / "log", Disk())
    writer.write(replace(BLANK, why_ended="x" * MAX_LINE))
    assert "expected at most" in writer.problem
    writer.write(BLANK)
    assert writer.problem == ""
    assert read_log(writer.path) == [BLANK]


def test_records_that_come_while_the_disk_hangs_wait_and_what_is_lost_is_said(tmp_path):
    disk = Disk()
    writer = RolloutLogWriter(tmp_path / "log", disk)
    disk.hangs = True
    for number in range(MAX_WAITING + 2):
        writer.write(replace(BLANK, rollout=str(number)))
        writer.write(replace(BLANK, rollout=str(number), label="success"))
    disk.hangs = False
    writer.write(BLANK)
    found = read_log(writer.path)
    assert [one.rollout for one in found[:2]] == ["3", "4"]
    assert len(found) == MAX_WAITING
    assert writer.problem.startswith("3 records were lost")
