# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A store of many rollouts: archives in parts, to which writers add without waiting for another.

    store.json              what it is, and the version of this format
    parts/SHA256.npz        an archive of some rollouts, not compressed, named after its content
    manifests/WRITER.jsonl  a line for each part that a writer wrote, behind the part itself

What no manifest names is not there yet. Nothing that stands is changed, but for a writer's own
manifest, which is replaced as a whole; so whoever ends at any time leaves a store that is whole.
"""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from failure_monitor.decision import Rollout
from failure_monitor.errors import FailureMonitorError, UsageError
from failure_monitor.listed_names import list_names
from failure_monitor.schema import at_least, like, read
from failure_monitor.sources.addresses import (
    exists,
    file_sizes,
    is_address,
    is_file,
    open_file,
    read_file,
    shown,
    write_file,
)
from failure_monitor.sources.archive_reading import contents_of
from failure_monitor.sources.archive_writing import arrays_of
from failure_monitor.sources.reading import Found
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.source import Advance, BagOptions, SourceContents, SourceError

logger = logging.getLogger(__name__)

STORE_FILE = "store.json"
PARTS, MANIFESTS = "parts", "manifests"
FORMAT, VERSION = "failure_monitor rollout store", 1

MAX_PART_BYTES = 32 << 20
MAX_PART_ROLLOUTS = 100
"""What a part holds at most, but for a rollout that is larger by itself."""

MAX_PART_SECONDS = 60.0
"""The time after which what was read is written though a part has room for more."""

MAX_MANIFEST_PARTS = 100
"""The parts of a manifest, which is written anew for each; those after go into another."""

SMALL_BLOCK = 64 << 10
"""Bytes that are transferred of a part at an address where less is read."""

NAME_OF_FILE = re.compile(r"\.[A-Za-z]\w*")
"""Suffix of a file's name; a folder's may end otherwise, such as `shift_2026.11`."""

HASH = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class StoredRollout:
    """A rollout of a part, as its manifest lists it.

    Attributes:
        sha256: of what it was read from, by which rollouts are told apart.
        name: of the rollout.
        decisions: how many it has.
        success: whether it succeeded; None if unknown.
    """

    sha256: str
    name: str
    decisions: Annotated[int, at_least(0)]
    success: bool | None


@dataclass(frozen=True)
class Part:
    """A part, as its manifest describes it.

    Attributes:
        sha256: of its file, after which that is named.
        size: of its file, in bytes.
        arrays: the SHA-256 of each array, as it is written; they are checked when they are read.
        rollouts: what it holds.
    """

    sha256: Annotated[str, like(HASH, "a SHA-256 in hexadecimal")]
    size: Annotated[int, at_least(0)]
    arrays: Mapping[str, str]
    rollouts: tuple[StoredRollout, ...]


@dataclass(frozen=True)
class Stored:
    """What was added to a store.

    Attributes:
        rollouts: how many rollouts.
        already: how many were in it before.
        parts: in how many parts.
        size: the size of these in bytes.
    """

    rollouts: int
    already: int
    parts: int
    size: int


class RolloutStore:
    """A store, or one of its parts."""

    def recognises(self, path: Path) -> bool:
        """Return whether it is a folder with a store's file, or in one's folder of parts."""
        return is_store(path) or _is_part(path)

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Refuse to read it as one: its parts are sources."""
        raise SourceError(f"{shown(path)} is read part by part")

    def found(self, path: Path) -> list[Found]:
        """Return the parts that hold rollouts which none before them holds.

        What writers left unfinished is named in a warning.

        Raises:
            SourceError: It is of another version, holds nothing, or a manifest is damaged.
        """
        store = path.parent.parent if _is_part(path) else path
        parts = _parts_of(store)
        if store != path:
            named = [part for part in parts if part.sha256 == path.stem]
            if not named:
                raise SourceError(f"{shown(path)} is in no manifest of its store: name the store")
            parts = [*parts[: parts.index(named[0])], named[0]]
        elif not parts:
            raise SourceError(f"{shown(store)} holds no rollouts yet: add some with 'archive'")
        else:
            _warn_of_unlisted(store, parts)
        seen: set[str] = set()
        found = []
        for part in parts:
            new = [each.sha256 for each in part.rollouts if each.sha256 not in seen]
            seen.update(new)
            if new and (store == path or part.sha256 == path.stem):
                kind = StoredPart(part, frozenset(new))
                found.append(Found(_part_file(store, part.sha256), kind, part.size))
        return found


@dataclass(frozen=True, eq=False)
class StoredPart:
    """A part that is to be read.

    Attributes:
        part: what its manifest says.
        wanted: the hashes of the rollouts that are read of it.
    """

    part: Part
    wanted: frozenset[str]

    def recognises(self, path: Path) -> bool:
        """Return whether a path is a part's; the store finds them."""
        return _is_part(path)

    def read(self, path: Path, options: BagOptions, advance: Advance) -> SourceContents:
        """Return its wanted rollouts, of arrays whose content is what the manifest says.

        Raises:
            SourceError: It is missing, truncated or changed.
        """
        with ExitStack() as opened:
            try:
                stream = opened.enter_context(open_file(path, SMALL_BLOCK))
                size = stream.seek(0, io.SEEK_END)
                if size != self.part.size:
                    raise SourceError(
                        f"{shown(path)} has {size} bytes, and {self.part.size} in its manifest: "
                        f"{REMEDY}"
                    )
                arrays = _CheckedArrays(
                    opened.enter_context(zipfile.ZipFile(stream)), self.part.arrays
                )
            except FailureMonitorError:
                raise
            except Exception as error:  # zip and the file system each have errors of their own
                raise SourceError(f"{shown(path)} cannot be read ({error}): {REMEDY}") from None
            contents = contents_of(path, arrays, options)
        if [each.sha256 for each in contents.rollouts] != [r.sha256 for r in self.part.rollouts]:
            raise SourceError(f"{shown(path)} holds other rollouts than its manifest: {REMEDY}")
        kept = tuple(each for each in contents.rollouts if each.sha256 in self.wanted)
        return replace(contents, rollouts=kept)


REMEDY = (
    "the part was truncated or changed; copy it there again, or archive its rollouts again after "
    "removing it and its line in the manifest, or leave it out (--skip-unreadable)"
)


class _CheckedArrays:
    """Reads arrays, each if it is what the manifest says."""

    def __init__(self, archive: zipfile.ZipFile, hashes: Mapping[str, str]) -> None:
        self._archive = archive
        self._hashes = hashes

    @property
    def files(self) -> Sequence[str]:
        """The names of all arrays."""
        return tuple(self._hashes)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return an array."""
        content = self._archive.read(f"{name}.npy")
        if sha256(content).hexdigest() != self._hashes[name]:
            raise ValueError("its SHA-256 is another than in the manifest")
        array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        return array


def is_store(path: Path) -> bool:
    """Return whether there is a store at a path or address."""
    return is_file(path / STORE_FILE)


def reject_no_place(path: Path) -> None:
    """Reject a path where no store can be, since something else is there, or by its name.

    Raises:
        UsageError: There is, or its name ends as one of a file does.
    """
    if is_store(path):
        return
    if NAME_OF_FILE.fullmatch(path.suffix):
        raise UsageError(
            f"{shown(path)} cannot become an archive: name a file that ends in .npz, or a store "
            "of rollouts, a folder whose name does not end as a file's"
        )
    if is_address(path):
        # A store in the cloud has no folders but by the names of its files.
        if exists(path):
            raise _taken(path)
    elif path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise _taken(path)


def _taken(path: Path) -> UsageError:
    return UsageError(
        f"{shown(path)} is there and no store of rollouts: name a new folder, a store, or an "
        "archive with a name that ends in .npz"
    )


def first_part(store: Path) -> Path | None:
    """Return the path of a store's first part; None if it holds nothing yet.

    Raises:
        SourceError: It is of another version, or a manifest is damaged.
    """
    parts = _parts_of(store)
    return _part_file(store, parts[0].sha256) if parts else None


def add_to_store(store: Path, rollout_set: RolloutSet) -> Stored:
    """Add the rollouts that a store does not hold yet, in parts, each whole or not at all.

    Other writers may add to it at the same time; a rollout that both add is read once.

    Args:
        store: A store, or where one shall be.
        rollout_set: The rollouts.

    Raises:
        UsageError: Something else is there.
        SourceError: The store is of another version, damaged, or its address cannot be written.
        UnwritableError: It cannot be written.
    """
    writer = StoreWriter(store)
    writer.add(rollout_set)
    return writer.close()


class StoreWriter:
    """Adds rollouts to a store as they come, in parts, each whole or not at all.

    Attributes:
        stored: What was added until now.
    """

    def __init__(self, store: Path) -> None:
        """Prepare to add to a store, or to make one; errors are those of `add_to_store`."""
        self._store = store
        self._there: set[str] | None = None
        self._like: RolloutSet | None = None
        self._open: list[Rollout] = []
        self._open_bytes = 0
        self._written = time.monotonic()
        self._manifest = ""
        self._lines: list[str] = []
        self.stored = Stored(0, 0, 0, 0)

    def add(self, rollout_set: RolloutSet) -> None:
        """Add those rollouts that the store does not hold yet, now or with others after them.

        Args:
            rollout_set: Rollouts of the same policy as those before.
        """
        there = self._hashes()
        for rollout in rollout_set.rollouts:
            if rollout.sha256 in there:
                self.stored = replace(self.stored, already=self.stored.already + 1)
                continue
            size = rollout.chunks.nbytes + rollout.embeddings.nbytes
            size += 0 if rollout.tokens is None else rollout.tokens.nbytes
            if self._open and self._is_full(size):
                self._write()
            self._open.append(rollout)
            self._open_bytes += size
            # Those after them know more of what the sources leave open.
            self._like = replace(rollout_set, rollouts=(), receptions={})

    def close(self) -> Stored:
        """Write what is left; return what was added."""
        if self._open:
            self._write()
        return self.stored

    def _hashes(self) -> set[str]:
        """Return which rollouts were in the store before, which is made where there is none."""
        if self._there is None:
            reject_no_place(self._store)
            if not is_store(self._store):
                description = json.dumps({"format": FORMAT, "version": VERSION})
                write_file(_made(self._store / STORE_FILE), f"{description}\n".encode())
            parts = _parts_of(self._store)
            self._there = {each.sha256 for part in parts for each in part.rollouts}
        return self._there

    def _is_full(self, size: int) -> bool:
        return (
            self._open_bytes + size > MAX_PART_BYTES
            or len(self._open) == MAX_PART_ROLLOUTS
            or time.monotonic() - self._written > MAX_PART_SECONDS
        )

    def _write(self) -> None:
        """Write a part, and then its line."""
        assert self._like is not None, "add() was called"
        part, content = _packed(replace(self._like, rollouts=tuple(self._open)))
        write_file(_made(_part_file(self._store, part.sha256)), content)
        if len(self._lines) == MAX_MANIFEST_PARTS or not self._lines:
            now = datetime.now(timezone.utc)
            self._manifest = f"{now:%Y%m%dT%H%M%S%f}Z_{secrets.token_hex(4)}.jsonl"
            self._lines = []
        self._lines.append(json.dumps(asdict(part), ensure_ascii=False) + "\n")
        # After the part, of which it tells.
        content = "".join(self._lines).encode("utf-8", "replace")
        write_file(_made(self._store / MANIFESTS / self._manifest), content)
        self.stored = replace(
            self.stored,
            rollouts=self.stored.rollouts + len(self._open),
            parts=self.stored.parts + 1,
            size=self.stored.size + part.size,
        )
        self._open, self._open_bytes, self._written = [], 0, time.monotonic()


def _packed(rollout_set: RolloutSet) -> tuple[Part, bytes]:
    """Return a part with the content of its file."""
    hashes = {}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        arrays = arrays_of(rollout_set)
        # Small ones side by side, so that of a part at an address they come at once.
        for name, array in sorted(arrays.items(), key=lambda each: each[1].nbytes):
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
            hashes[name] = sha256(stream.getbuffer()).hexdigest()
            # With the date that a name alone gets, so that equal content has an equal hash.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), stream.getbuffer())
    content = packed.getvalue()
    rollouts = tuple(
        StoredRollout(each.sha256, each.name, len(each), each.success)
        for each in rollout_set.rollouts
    )
    return Part(sha256(content).hexdigest(), len(content), hashes, rollouts), content


def _made(path: Path) -> Path:
    """Return a path whose folder is there."""
    if not is_address(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"{path.parent} cannot be made: {error.strerror or error}") from None
    return path


def _part_file(store: Path, name: str) -> Path:
    return store / PARTS / f"{name}.npz"


def _is_part(path: Path) -> bool:
    return (
        path.parent.name == PARTS
        and path.suffix == ".npz"
        and re.fullmatch(HASH, path.stem) is not None
        and is_store(path.parent.parent)
    )


def _parts_of(store: Path) -> list[Part]:
    """Return the parts of all manifests, the earliest writer's first."""
    _check_version(store)
    files = [file for file in _files_in(store / MANIFESTS) if file.suffix == ".jsonl"]
    return [part for file in files for part in _manifest(file)]


def _check_version(store: Path) -> None:
    try:
        stated = json.loads(read_file(store / STORE_FILE))
        kind, version = stated["format"], stated["version"]
    except FailureMonitorError:
        raise
    except Exception as error:  # of the file system, of JSON, or for want of keys
        raise SourceError(
            f"{shown(store / STORE_FILE)} cannot be read ({error}): write "
            f"'{json.dumps({'format': FORMAT, 'version': VERSION})}' into it if the store is of "
            "this version"
        ) from None
    if kind != FORMAT:
        raise SourceError(
            f"{shown(store / STORE_FILE)} is of another format, '{kind}', expected '{FORMAT}': "
            "name another folder, or the sources in this one"
        )
    if version != VERSION:
        raise SourceError(
            f"{shown(store)} is a store of version {version}, expected {VERSION}: read "
            "it with the version of this package that wrote it"
        )


def _files_in(folder: Path) -> dict[Path, int]:
    """Return the size of each file in a folder, which may be missing; without unfinished ones."""
    if not exists(folder):
        return {}
    return {f: size for f, size in file_sizes(folder).items() if not f.name.startswith(".")}


def _manifest(file: Path) -> list[Part]:
    """Return the parts of a manifest; of one whose last line is truncated, those before."""
    try:
        content = read_file(file)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}: let this user") from None
    parts = []
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            parts.append(read(Part, json.loads(line)))
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                logger.warning(
                    "%s ends in the middle of its line %d: the rollouts of the %d parts before "
                    "are read; what followed is lost unless it is archived again",
                    shown(file),
                    number,
                    len(parts),
                )
                break
            raise SourceError(
                f"{shown(file)}: line {number} describes no part ({error}): the manifest is "
                "damaged; copy it there again, or remove it and archive its rollouts again"
            ) from None
    return parts


def _warn_of_unlisted(store: Path, parts: Sequence[Part]) -> None:
    """Log which parts no manifest names."""
    listed = {part.sha256 for part in parts}
    unlisted = [file.stem for file in _files_in(store / PARTS) if file.stem not in listed]
    if unlisted:
        logger.warning(
            "%s: %d parts are in no manifest (%s): a writer ended before it was done, or still "
            "writes; the rollouts of the other %d parts are read. Archiving the same sources "
            "again adds what is missing",
            shown(store),
            len(unlisted),
            list_names(name[:12] for name in unlisted),
            len(parts),
        )
