# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Sources and outputs by address, in memory and on this machine's disk."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.bags import write_bag
from testbed.command_line import run_here
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.errors import UsageError
from failure_monitor.missing_package import MissingPackageError
from failure_monitor.sources.addresses import (
    is_address,
    local_copy,
    located,
    resolved,
    shown,
)
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollout_store import add_to_store
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError

fsspec = pytest.importorskip("fsspec", reason="pip install 'failure_monitor[remote]'")
ROLLOUTS = RolloutSet(POLICY, tuple(synthetic_rollout(seed) for seed in range(3)))


@pytest.fixture
def memory() -> Iterator[Path]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield Path("memory://robots")
    system.store.clear()


def upload(folder: Path, address: Path) -> None:
    fsspec.filesystem("memory").put(str(folder), f"/robots/{address.name}", recursive=True)


def test_an_address_goes_through_as_a_path_and_is_shown_as_it_was_written() -> None:
    for address in ("s3://robots/bags/one.mcap", "memory://robots", "gs://robots/day*/x_1"):
        path = Path(address)
        assert is_address(path)
        assert shown(path) == address
        assert shown(path.parent / path.name) == address
        assert resolved(path) == located(path) == path
    assert located(Path("file:///tmp/bags")) == Path("/tmp/bags")
    for path in (Path("bags/s3:/x"), Path("/s3:/x"), Path("10:30/x"), Path("bag_1"), Path(".")):
        assert not is_address(path)
        assert shown(path) == str(path)


def test_a_folder_of_this_machine_goes_before_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_archive(Path("set.npz"), ROLLOUTS)
    Path("s3:/robots").mkdir(parents=True)
    shutil.move("set.npz", "s3:/robots/set.npz")
    assert len(read_rollouts([Path("s3:/robots/set.npz")]).rollouts) == 3


def test_all_kinds_of_sources_are_read_from_memory(memory: Path, tmp_path: Path) -> None:
    write_archive(memory / "set.npz", ROLLOUTS)
    add_to_store(memory / "store", RolloutSet(POLICY, (synthetic_rollout(4),)))
    read = read_rollouts([memory])
    assert [rollout.name for rollout in read.rollouts] == [*(f"rollout {n}" for n in (0, 1, 2, 4))]
    assert {r.source for r in read.rollouts[:3]} == {"memory://robots/set.npz"}
    for pattern in ("s*", "*"):
        assert len(read_rollouts([memory / pattern]).rollouts) == 4
    bag = write_bag(tmp_path / "bag")
    upload(bag, memory / "bag")
    (local,), (remote,) = (read_rollouts([path]).rollouts for path in (bag, memory / "bag"))
    assert (remote.name, remote.sha256) == (local.name, local.sha256)
    assert remote.source == "memory://robots/bag"
    (file,) = bag.glob("*.mcap")
    assert read_rollouts([memory / "bag" / file.name]).rollouts[0].sha256


def test_the_address_of_a_file_of_this_machine_is_its_path(tmp_path: Path) -> None:
    (tmp_path / "bags").mkdir()
    write_bag(tmp_path / "bags" / "one")
    for name in ("set.npz", "store"):
        result = run_here(
            "archive", f"file://{tmp_path}/bags", "--output", f"file://{tmp_path}/{name}"
        )
        assert result.exit_code == 0, result.stderr
        assert (tmp_path / name).exists()
        (read,) = read_rollouts([Path(f"file://{tmp_path}/{name}")]).rollouts
        assert read.source == str(tmp_path / "bags" / "one")


def test_commands_write_to_an_address_and_inspect_it(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(fsspec.config.conf, "local", {"auto_mkdir": True})
    write_bag(tmp_path / "one")
    for _ in range(2):
        result = run_here("archive", "one", "--output", "local://robots/store")
        assert result.exit_code == 0, result.stderr
    assert "local://robots/store" in result.stdout
    assert "1 were there" in result.stdout
    result = run_here("archive", "one", "--output", "local://robots/set.npz")
    assert result.exit_code == 0, result.stderr
    for name in ("store", "set.npz"):
        result = run_here("inspect", f"local://robots/{name}")
        assert result.exit_code == 0, result.stderr
        assert "1: 1 succeeded" in result.stdout
    result = run_here("archive", "local://robots", "--output", "local://robots/set.npz")
    assert result.exit_code == 2
    assert "would be written over local://robots/set.npz, which SOURCES..." in result.stderr
    result = run_here("archive", "x", "--output", "y.npz", "--lerobot", "memory://robots/dataset")
    assert result.exit_code == 2
    assert "--lerobot memory://robots/dataset is an address: name a place on" in result.stderr
    for name in ("set.npz", "store"):
        result = run_here("archive", "one", "--output", f"memory://robots/{name}")
        assert result.exit_code == 2
        assert f"--output memory://robots/{name} ends with this process" in result.stderr
    fsspec.filesystem("memory").pipe_file("/robots/notes", b"mine")
    with pytest.raises(UsageError, match="memory://robots is there and no store"):
        add_to_store(memory, ROLLOUTS)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("memory://robots/none", "memory://robots/none does not exist"),
        ("memory://robots/none/*", r"no source matches the pattern memory://robots/none/\*"),
        ("memory://robots/notes", "memory://robots/notes is no known source"),
        ("nobody://robots/bags", "fsspec knows no addresses that begin with nobody://"),
    ],
)
def test_what_is_no_source_is_refused_by_its_address(
    memory: Path, address: str, sentence: str
) -> None:
    fsspec.filesystem("memory").pipe_file("/robots/notes/notes.txt", b"nothing")
    with pytest.raises(SourceError, match=sentence):
        read_rollouts([Path(address)])


def test_a_damaged_archive_is_named_by_its_address(memory: Path) -> None:
    write_archive(memory / "set.npz", ROLLOUTS)
    system = fsspec.filesystem("memory")
    whole = system.cat_file("/robots/set.npz")
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        system.pipe_file("/robots/set.npz", whole[:size])
        with pytest.raises(SourceError, match=r"memory://robots/set\.npz is not a readable"):
            read_rollouts([memory / "set.npz"])


def test_what_does_not_fit_on_this_disk_is_not_copied(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(write_bag(tmp_path / "bag"), memory / "bag")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SourceError, match=r"memory://robots/bag must be copied .* set TMPDIR"):
        read_rollouts([memory / "bag"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../../../outside", r"its name leads elsewhere by '\.\.'"),
        ("a" * 300, "File name too long"),
        ("z\0y", "embedded null byte"),
        ("z\ud800y", "surrogates not allowed"),
        ("metadata.yaml/inner", "File exists"),
    ],
)
def test_a_name_that_is_none_on_this_machine_writes_nothing_beside_the_copy(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    upload(write_bag(tmp_path / "bag"), memory / "bag")
    system = fsspec.filesystem("memory")
    system.store[f"/robots/bag/{name}"] = system.store["/robots/bag/metadata.yaml"]
    copies = tmp_path / "above" / "copies"
    copies.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    before = sorted(tmp_path.rglob("*"))
    for address in (memory, memory / "bag"):
        with pytest.raises(SourceError, match=f"cannot be copied to this machine .*{reason}"):
            read_rollouts([address])
        with pytest.raises(SourceError), local_copy(address):
            pass
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("memory", "fsspec")])
def test_a_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"'{package}' .*failure_monitor\[remote\]"):
        read_rollouts([Path(f"{scheme}://robots/bags")])
    assert not os.path.exists(f"{scheme}:")
