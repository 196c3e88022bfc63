# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What is written is there whole or not at all, and nothing but plain files is replaced."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.bags import write_bag
from testbed.command_line import run_command

from failure_monitor.atomic_file import (
    UnwritableError,
    write_atomically,
    write_folder_atomically,
    write_json,
)


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    "content", ["früh", "früh".encode(), lambda stream: stream.write("früh".encode())]
)
def test_text_bytes_and_what_a_function_writes_replace_a_file(tmp_path: Path, content) -> None:
    path = tmp_path / "file"
    path.write_text("before, and longer")
    write_atomically(path, content)
    assert path.read_text(encoding="utf-8") == "früh"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_readable_and_ends_with_a_line(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"name": "früh", "rates": [0.5]})
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "früh", "rates": [0.5]}
    assert "früh" in text
    assert text.endswith("}\n")


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    target.write_text("before")
    (tmp_path / "chain").symlink_to("elsewhere/target")
    (tmp_path / "link").symlink_to("chain")
    write_atomically(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "chain").is_symlink()
    assert target.read_text() == "after"
    assert list(target.parent.iterdir()) == [target]


def test_a_link_to_nothing_yet_stays_and_its_target_is_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "after"


def test_a_link_that_leads_in_a_circle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(UnwritableError, match="link: Too many levels"):
        write_atomically(tmp_path / "link", "after")


def test_a_device_is_written_into() -> None:
    before = os.stat("/dev/null")
    write_atomically(Path("/dev/null"), "text")
    assert os.path.samestat(os.stat("/dev/null"), before)


def test_a_named_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomically(pipe, "text")
    reader.join(10)
    assert read == ["text"]
    assert pipe.is_fifo()


def test_a_redirected_standard_output_keeps_what_is_written_before_and_after(
    tmp_path: Path,
) -> None:
    code = (
        "from pathlib import Path; from failure_monitor.atomic_file import write_atomically\n"
        "print('before', flush=True); write_atomically(Path('/dev/stdout'), 'file\\n')\n"
        "print('after', flush=True)"
    )
    with (tmp_path / "output").open("w") as output:
        subprocess.run([sys.executable, "-c", code], stdout=output, check=True, timeout=60)
    assert (tmp_path / "output").read_text() == "before\nfile\nafter\n"


def test_a_folder_in_the_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnwritableError, match="folder: it is a folder, expected a file"):
        write_atomically(tmp_path / "folder", "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_folder_that_is_missing_is_named_with_the_path_and_not_the_partial_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "missing" / "file"
    with pytest.raises(UnwritableError) as raised:
        write_atomically(path, "text")
    assert str(raised.value) == f"cannot write {path}: No such file or directory"


def test_a_file_keeps_its_mode_and_a_new_one_gets_that_of_the_umask(
    tmp_path: Path, umask: int
) -> None:
    write_atomically(tmp_path / "new", "text")
    assert mode(tmp_path / "new") == 0o666 & ~umask
    (tmp_path / "new").chmod(0o604)
    write_atomically(tmp_path / "new", "again")
    assert mode(tmp_path / "new") == 0o604


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error) -> None:
    (tmp_path / "file").write_text("before")

    def fail(stream) -> None:
        stream.write(b"part")
        raise error

    with pytest.raises((UnwritableError, KeyboardInterrupt)):
        write_atomically(tmp_path / "file", fail)
    assert (tmp_path / "file").read_text() == "before"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_the_longest_name_of_a_file_is_possible(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_atomically(path, "text")
    assert path.read_text() == "text"


def test_a_partial_file_lies_in_the_folder_of_the_target(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    (tmp_path / "link").symlink_to(target)
    seen: list[int] = []
    write_atomically(
        tmp_path / "link", lambda stream: seen.append(len(list(target.parent.iterdir())))
    )
    assert seen == [1]


def test_a_folder_is_replaced_whole_with_its_mode(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "above" / "folder"
    write_folder_atomically(folder, {"one": b"1", "two": b"2"})
    assert mode(folder) == 0o777 & ~umask
    assert mode(folder / "one") == 0o666 & ~umask
    folder.chmod(0o705)
    (tmp_path / "link").symlink_to(folder)
    write_folder_atomically(tmp_path / "link", {"three": b"3"})
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in folder.iterdir()] == ["three"]
    assert mode(folder) == 0o705
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    write_folder_atomically(folder, {"one": b"1"})
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if target == folder and path.joinpath("two").exists():
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(UnwritableError, match="folder: Input/output error"):
        write_folder_atomically(folder, {"two": b"2"})
    assert (folder / "one").read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with pytest.raises(UnwritableError, match="file: it is a file, expected a folder"):
        write_folder_atomically(tmp_path / "file", {"one": b"1"})
    assert (tmp_path / "file").read_text() == "before"


def test_a_command_writes_into_standard_output_and_through_a_link(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 11)
    (tmp_path / "file.json").write_text("before")
    (tmp_path / "link.json").symlink_to("file.json")
    linked = run_command("inspect", bag, "--json", tmp_path / "link.json")
    assert linked.returncode == 0, linked.stderr
    assert (tmp_path / "link.json").is_symlink()
    piped = run_command("inspect", bag, "--json", "/dev/stdout")
    assert piped.returncode == 0, piped.stderr
    assert (tmp_path / "file.json").read_text() in piped.stdout
