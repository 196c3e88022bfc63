# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Files by path or by address, as `s3://bucket/bags`: the one place that knows fsspec.

An address goes through the package as a path, which makes `s3:/bucket/bags` of it; `shown` gives
it back. Nothing but what is asked for is transferred, in blocks.
"""

from __future__ import annotations

import errno
import glob
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from failure_monitor.atomic_file import write_atomically
from failure_monitor.errors import FailureMonitorError
from failure_monitor.missing_package import MissingPackageError
from failure_monitor.sources.source import SourceError

SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
LOCAL = "file:"

BLOCK = 4 << 20
"""Bytes that are transferred at a time."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    # It is s3fs that tries again; botocore below it would do so each of these times.
    "s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
}
"""Settings of file systems where users have none of that name in fsspec's configuration."""

MAX_ATTEMPTS = 3
"""How often s3fs tries a request, and a block, before it reports that a store does not answer."""

FORBIDDEN = frozenset(
    {
        "PermissionError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "ProfileNotFound",
    }
)
NO_ANSWER = frozenset(
    {"TimeoutError", "ConnectionError", "HTTPClientError", "ClientConnectionError"}
)
CUT_OFF = frozenset({"ClientPayloadError", "IncompleteReadError", "IncompleteRead"})
"""Classes of errors of fsspec, botocore and aiohttp, by their names: none need be installed."""


def is_address(path: Path) -> bool:
    """Return whether a path stands for an address, as `s3://bucket/bags`."""
    first = str(path).partition("/")[0]
    return SCHEME.fullmatch(first) is not None and not os.path.lexists(first)


def located(path: Path) -> Path:
    """Return the path of a file of this machine for its address, `file:///…`; else as it is."""
    if is_address(path) and path.parts[0] == LOCAL:
        return Path("/", *path.parts[1:])
    return path


def shown(path: Path) -> str:
    """Return a path or address as users write it."""
    if not is_address(path):
        return str(path)
    scheme, *parts = path.parts
    return f"{scheme}//{'/'.join(parts)}"


def resolved(path: Path) -> Path:
    """Return a path without links, from the root on; an address as it is."""
    return path if is_address(path) else path.resolve()


def outlasts_process(address: Path) -> bool:
    """Return whether what is written to an address is there once this process has ended.

    Raises:
        SourceError: fsspec knows no such addresses.
        MissingPackageError: A package that writes there is not installed.
    """
    with _problems(address):
        system, _ = _system(address)
        from fsspec.implementations.memory import MemoryFileSystem

    return not isinstance(system, MemoryFileSystem)


def exists(path: Path) -> bool:
    """Return whether there is a file or folder.

    Raises:
        SourceError: The store gives no answer.
        MissingPackageError: A package that asks it is not installed.
    """
    return path.exists() if not is_address(path) else _information(path) is not None


def is_file(path: Path) -> bool:
    """Return whether there is a file, as `exists` does."""
    if not is_address(path):
        return path.is_file()
    information = _information(path)
    return information is not None and information["type"] == "file"


def file_sizes(folder: Path) -> dict[Path, int]:
    """Return the size in bytes of each file in a folder or under it, or of a file, sorted.

    Raises:
        SourceError: There is none at an address, or the store gives no answer.
        MissingPackageError: A package that asks it is not installed.
    """
    if not is_address(folder):
        files = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
        return {file: file.stat().st_size for file in files if file.is_file()}
    with _problems(folder):
        system, name = _system(folder)
        system.invalidate_cache()
        found = system.find(name, detail=True)
    if not found:
        raise _missing(folder)
    return {
        folder / each[len(name) :].lstrip("/"): int(information["size"])
        for each, information in sorted(found.items())
    }


def matching(pattern: Path) -> list[Path]:
    """Return what matches a pattern, sorted.

    Raises:
        SourceError: The store gives no answer.
        MissingPackageError: A package that asks it is not installed.
    """
    if not is_address(pattern):
        return [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    with _problems(pattern):
        system, name = _system(pattern)
        system.invalidate_cache()
        found = system.glob(name)
    return [Path(pattern.parts[0], each.lstrip("/")) for each in sorted(found)]


def open_file(path: Path, block: int = BLOCK) -> BinaryIO:
    """Open a file to read it anywhere; at an address only the blocks that are read come.

    Args:
        path: The file.
        block: The bytes that come at least where less is read.

    Raises:
        OSError: A file of this machine cannot be opened.
        SourceError: One at an address cannot be opened; also raised when it is read.
        MissingPackageError: A package that reads it is not installed.
    """
    if not is_address(path):
        if path.exists() and not path.is_file():
            # To open a pipe waits for its other end.
            raise OSError(errno.EINVAL, "it is no file", str(path))
        return path.open("rb")
    return io.BufferedReader(_Blocks(path), block)


def read_file(path: Path) -> bytes:
    """Return the content of a small file, as `open_file` does."""
    with open_file(path) as stream:
        return stream.read()


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; folders above are created.

    Raises:
        UnwritableError: A file of this machine cannot be written.
        SourceError: One at an address cannot be written.
        MissingPackageError: A package that writes it is not installed.
    """
    if not is_address(path):
        write_atomically(path, content)
        return
    with _problems(path):
        system, name = _system(path)
        system.pipe_file(name, content)
        system.invalidate_cache()


@contextmanager
def local_copy(source: Path) -> Iterator[Path]:
    """Yield a copy of a file or folder at an address on this machine, which is deleted then.

    Raises:
        SourceError: It cannot be read, changed meanwhile, or there is too little space.
    """
    sizes = file_sizes(source)
    needed = sum(sizes.values())
    with tempfile.TemporaryDirectory(prefix="failure_monitor_") as folder:
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise SourceError(
                f"{shown(source)} must be copied to be read, {needed >> 20} MiB, and "
                f"{tempfile.gettempdir()} has {free >> 20} MiB free: set TMPDIR to a folder with "
                "more, or read fewer at a time (--jobs)"
            )
        for file, size in sizes.items():
            with _placed(file, source, folder) as place:
                _copy(file, size, place)
        yield Path(folder, _own_name(source))


@contextmanager
def outline(folder: Path) -> Iterator[tuple[Path, Mapping[Path, int]]]:
    """Yield a folder of empty files with the names of those at an address, and their sizes.

    By it kinds of sources are told apart without a word of their content.
    """
    sizes = file_sizes(folder)
    with tempfile.TemporaryDirectory(prefix="failure_monitor_") as name:
        for file in sizes:
            with _placed(file, folder, name) as place:
                place.touch()
        yield Path(name, _own_name(folder)), sizes


@contextmanager
def _placed(file: Path, source: Path, folder: str) -> Iterator[Path]:
    """Yield where a file of a source at an address goes in a folder of this machine.

    Raises:
        SourceError: Its name leads out of the folder, or it cannot be written there.
    """
    parts = (_own_name(source), *file.relative_to(source).parts)
    try:
        if os.pardir in parts:
            raise ValueError(f"its name leads elsewhere by '{os.pardir}'")
        place = Path(folder, *parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        yield place
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise SourceError(
            f"{shown(file)} cannot be copied to this machine ({why}): give it another name or "
            "remove it there, or name the sources beside it one by one"
        ) from None


def _own_name(source: Path) -> str:
    return source.name or source.parts[0]


def _copy(file: Path, size: int, place: Path) -> None:
    with open_file(file) as stream, place.open("wb") as copy:
        shutil.copyfileobj(stream, copy, BLOCK)
        if copy.tell() != size:
            raise SourceError(
                f"{shown(file)} ended after {copy.tell()} of {size} bytes: it is truncated or "
                "was changed meanwhile; write it again, or leave it out"
            )


class _Blocks(io.RawIOBase):
    """A file at an address, of which blocks are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        with _problems(path):
            self._system, self._name = _system(path)
            self._system.invalidate_cache()
            self._size = int(self._system.info(self._name)["size"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, begin + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        with _problems(self._path):
            block = self._system.cat_file(self._name, start=self._place, end=end)
        if len(block) != end - self._place:
            raise SourceError(
                f"{shown(self._path)} ended after {self._place + len(block)} of {self._size} "
                "bytes: it is truncated or was changed meanwhile; write it again, or leave it out"
            )
        buffer[: len(block)] = block
        self._place = end
        return len(block)


def _information(path: Path) -> Mapping[str, Any] | None:
    """Return what the store says of a file or folder; None if there is none."""
    with _problems(path):
        system, name = _system(path)
        system.invalidate_cache()
        try:
            information: Mapping[str, Any] = system.info(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
    return information


def _system(path: Path) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the name in it."""
    try:
        from fsspec.config import conf
        from fsspec.core import url_to_fs

        scheme = path.parts[0].rstrip(":")
        own = {k: v for k, v in SETTINGS.get(scheme, {}).items() if k not in conf.get(scheme, {})}
        system, name = url_to_fs(shown(path), **own)
        if hasattr(system, "retries"):
            system.retries = min(system.retries, MAX_ATTEMPTS)
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "fsspec":
            raise MissingPackageError("fsspec", purpose=shown(path)) from None
        if path.parts[0] in ("s3:", "s3a:"):
            raise MissingPackageError("s3fs", purpose=shown(path)) from None
        raise SourceError(f"{shown(path)} needs another package: {error}") from None
    except ValueError:
        raise SourceError(
            f"{shown(path)} is no path, and fsspec knows no addresses that begin with "
            f"{path.parts[0]}//: write a path, s3://BUCKET/NAME, or another of its protocols"
        ) from None
    return system, str(name)


@contextmanager
def _problems(path: Path) -> Iterator[None]:
    """Turn any error of a store in the block into a sentence with the address and a remedy."""
    try:
        yield
    except FailureMonitorError:
        raise
    except FileNotFoundError:
        raise _missing(path) from None
    except Exception as error:  # each file system has errors of its own
        kinds = {kind.__name__ for kind in type(error).__mro__}
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if kinds & FORBIDDEN:
            raise SourceError(
                f"{shown(path)} is forbidden ({said}): give this machine, and each worker, "
                "credentials that may read it (for s3:// by AWS_PROFILE, or AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY), and write it where it is an output"
            ) from None
        if kinds & CUT_OFF:
            raise SourceError(
                f"{shown(path)} ended early ({said}): the object, or what lies between, is cut "
                "off; run this again, and write it again if it stays so, or leave it out"
            ) from None
        if kinds & NO_ANSWER:
            raise SourceError(
                f"{shown(path)}: the store does not answer in time ({said}): look at the network "
                "and its address (for s3:// AWS_ENDPOINT_URL), and run this again; what is slow "
                'has more time by FSSPEC_S3=\'{"config_kwargs": {"read_timeout": 120}}\''
            ) from None
        raise SourceError(
            f"{shown(path)} cannot be reached ({said}): look at the address and the store"
        ) from None


def _missing(path: Path) -> SourceError:
    return SourceError(
        f"{shown(path)} does not exist: check the bucket and the name, upper and lower case too"
    )
