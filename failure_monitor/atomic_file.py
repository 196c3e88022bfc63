# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from failure_monitor.errors import FailureMonitorError

Writer = Callable[[BinaryIO], object]
"""Writes the content of a file into a stream."""


class UnwritableError(FailureMonitorError):
    """A file or folder cannot be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"cannot write {path}: {error.strerror or error}")


def reject_unwritable_file(path: Path) -> None:
    """Reject a path that `write_atomically` cannot write, before there is anything to write.

    Raises:
        UnwritableError: states why not.
    """
    try:
        mode = _mode(path)
        if _open_descriptor(path) is not None:
            return
        if mode is None or stat.S_ISREG(mode):
            _try_in(Path(os.path.realpath(path)).parent)
        elif stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder, expected a file")
        elif stat.S_ISSOCK(mode) or not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UnwritableError(path, error) from None


def reject_unwritable_folder(folder: Path) -> None:
    """Reject a path that `write_folder_atomically` cannot write, before there is any content.

    Raises:
        UnwritableError: states why not.
    """
    try:
        mode = _mode(folder)
        if mode is not None and not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is a file, expected a folder")
        above = Path(os.path.realpath(folder)).parent
        while not above.exists():
            above = above.parent
        _try_in(above)
    except OSError as error:
        raise UnwritableError(folder, error) from None


def _try_in(folder: Path) -> None:
    """Make a file in a folder, and remove it: only this tells whether that is possible."""
    if not folder.exists():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}")
    partial = _beside(folder / "trial")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    finally:
        # Also where Ctrl-C comes in between.
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON as `write_atomically` does.

    Raises:
        UnwritableError: the file cannot be written.
    """
    write_atomically(path, json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """Return JSON as `write_json` writes it."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_atomically(path: Path, content: str | bytes | Writer) -> None:
    """Write a file beside its place and move it there once it is complete.

    A file that is replaced keeps its mode. Where the path is a link, the link stays and what it
    points to is replaced. Devices and pipes are written into.

    Args:
        path: the file.
        content: text, bytes, or a function that writes into a stream, for large content.

    Raises:
        UnwritableError: the path is a folder, or cannot be written.
    """
    try:
        mode = _mode(path)
        descriptor = _open_descriptor(path)
        if descriptor is not None:
            _write(os.dup(descriptor), content)
        elif mode is None or stat.S_ISREG(mode):
            _replace_file(Path(os.path.realpath(path)), mode, content)
        elif stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder, expected a file")
        else:
            _write(os.open(path, os.O_WRONLY), content)
    except OSError as error:
        raise UnwritableError(path, error) from None


def write_folder_atomically(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder beside its place and move it there once all its files are complete.

    A folder in its place is replaced with all that it holds, and keeps its mode. Where the path is
    a link, the link stays and what it points to is replaced. Folders above are created.

    Args:
        folder: the folder.
        files: the content of each file, by name.

    Raises:
        UnwritableError: the path is a file, or cannot be written.
    """
    try:
        mode = _mode(folder)
        if mode is not None and not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, "it is a file, expected a folder")
        target = Path(os.path.realpath(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace_folder(target, mode, files)
    except OSError as error:
        raise UnwritableError(folder, error) from None


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _open_descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that the path stands for, as /dev/stdout does.

    It may be of a plain file, by a redirection of the shell. To replace that file would lose
    whatever else is written into it.
    """
    while path.is_symlink():
        if path.parent.resolve() == Path("/proc/self/fd").resolve():
            return int(path.name)
        path = path.parent / path.readlink()
    return None


def _beside(path: Path) -> Path:
    """Return a name in the same folder that nothing has yet, and that is not too long."""
    return path.with_name(f".{path.name[:32]}.{secrets.token_hex(8)}.partial")


def _replace_file(path: Path, mode: int | None, content: str | bytes | Writer) -> None:
    partial = _beside(path)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _write(descriptor, content)
        if mode is not None:
            partial.chmod(stat.S_IMODE(mode))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write(descriptor: int, content: str | bytes | Writer) -> None:
    with open(descriptor, "wb") as stream:
        if isinstance(content, str):
            # In JSON this escapes what is no text, in names of files.
            stream.write(content.encode(errors="backslashreplace"))
        elif isinstance(content, bytes):
            stream.write(content)
        else:
            content(stream)


def _replace_folder(folder: Path, mode: int | None, files: Mapping[str, bytes]) -> None:
    partial = _beside(folder)
    partial.mkdir()
    try:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        if mode is None:
            partial.rename(folder)
            return
        partial.chmod(stat.S_IMODE(mode))
        _exchange(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(partial: Path, folder: Path) -> None:
    """Replace a folder, which cannot be renamed over unless it is empty."""
    old = _beside(folder)
    folder.rename(old)
    try:
        partial.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old)
