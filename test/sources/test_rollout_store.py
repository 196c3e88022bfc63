# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A store of rollouts: what is read of it, whoever writes, whatever becomes of its files."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
import weakref
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testbed.command_line import COMMAND, run_here
from testbed.store_writer import add_rollouts
from testbed.synthetic import POLICY, STATED, synthetic_rollout

from failure_monitor.decision import Rollout
from failure_monitor.errors import UsageError
from failure_monitor.executors.executor import SerialExecutor
from failure_monitor.executors.process_executor import ProcessExecutor
from failure_monitor.sources import rollout_store
from failure_monitor.sources.agreed_policy import reject_contradiction
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollout_store import add_to_store
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError, Topics

CONTEXT = multiprocessing.get_context("spawn")
TOKENS = Topics(tokens="/policy/tokens")


def rollouts(*seeds: int) -> RolloutSet:
    return RolloutSet(POLICY, tuple(synthetic_rollout(seed) for seed in seeds))


def names(read: RolloutSet) -> list[str]:
    return [rollout.name for rollout in read.rollouts]


def named(seeds: Sequence[int]) -> list[str]:
    return [f"rollout {seed}" for seed in seeds]


@pytest.fixture(autouse=True)
def two_in_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_store, "MAX_PART_ROLLOUTS", 2)


def parts(store: Path) -> list[Path]:
    """The files of the parts, in the order in which they were written."""
    lines = [
        json.loads(line)
        for manifest in sorted((store / "manifests").iterdir())
        for line in manifest.read_text().splitlines()
    ]
    return [store / "parts" / f"{line['sha256']}.npz" for line in lines]


def test_a_store_gives_what_an_archive_of_the_rollouts_gives(tmp_path: Path) -> None:
    written = rollouts(*range(5))
    write_archive(tmp_path / "set.npz", written)
    added = add_to_store(tmp_path / "store", written)
    assert (added.rollouts, added.already, added.parts) == (5, 0, 3)
    assert added.size == sum(part.stat().st_size for part in parts(tmp_path / "store"))
    archive = read_rollouts([tmp_path / "set.npz"])
    for executor in (None, ProcessExecutor(2, isolates=True)):
        store = read_rollouts([tmp_path / "store"], executor=executor)
        assert store.policy == archive.policy
        for one, other in zip(archive.rollouts, store.rollouts, strict=True):
            for field in {field.name for field in fields(Rollout)} - {"source"}:
                np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    # It is a source like others: beside them, and in a folder of them.
    shutil.move(tmp_path / "set.npz", tmp_path / "other.npz")
    with pytest.raises(SourceError, match="are the same rollout"):
        read_rollouts([tmp_path])
    assert len(read_rollouts([tmp_path / "st*"]).rollouts) == 5


def test_the_same_rollout_is_not_stored_twice(tmp_path: Path) -> None:
    store = tmp_path / "store"
    add_to_store(store, rollouts(0, 1, 2))
    again = add_to_store(store, rollouts(2, 3, 0))
    assert (again.rollouts, again.already) == (1, 2)
    before = sorted(store.rglob("*"))
    nothing = add_to_store(store, rollouts(3, 1))
    assert (nothing.rollouts, nothing.already, nothing.parts, nothing.size) == (0, 2, 0, 0)
    assert sorted(store.rglob("*")) == before
    assert names(read_rollouts([store])) == named([0, 1, 2, 3])


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    together = CONTEXT.Barrier(2)
    seeds = (range(30), range(20, 50))
    writers = [CONTEXT.Process(target=add_rollouts, args=(store, own, together)) for own in seeds]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert sorted(names(read_rollouts([store]))) == sorted(named(range(50)))


def test_what_a_killed_writer_left_is_read_and_completed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    seeds = range(2000)
    alone = CONTEXT.Barrier(1)
    writer = CONTEXT.Process(target=add_rollouts, args=(store, seeds, alone))
    writer.start()
    manifests = store / "manifests"
    begin = time.monotonic()
    while not manifests.exists() or len(list((store / "parts").iterdir())) < 10:
        assert writer.is_alive()
        assert time.monotonic() - begin < 120
        time.sleep(0.01)
    writer.kill()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    # As it is if it ends between a part and its line.
    part = rollout_store._packed(rollouts(10_000))[1]
    (store / "parts" / f"{'0' * 64}.npz").write_bytes(part)
    left = names(read_rollouts([store]))
    assert 9 <= len(left) < len(seeds)
    assert left == named(seeds)[: len(left)]
    assert "1 parts are in no manifest (000000000000" in caplog.text or "2 parts" in caplog.text
    wanted = range(len(left) + 5)
    added = add_to_store(store, rollouts(*wanted))
    assert (added.rollouts, added.already) == (5, len(left))
    assert names(read_rollouts([store])) == named(wanted)


def truncate(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-100])


def change_a_byte(part: Path) -> None:
    with zipfile.ZipFile(part) as archive:
        place = archive.getinfo("action_chunks.npy").header_offset
    content = bytearray(part.read_bytes())
    content[place + 500] ^= 1
    part.write_bytes(content)


def replace_numbers(part: Path) -> None:
    """Write other numbers, whose checksums in the file fit."""
    size = part.stat().st_size
    with zipfile.ZipFile(part) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    chunks = bytearray(content["action_chunks.npy"])
    chunks[-1] ^= 1
    content["action_chunks.npy"] = bytes(chunks)
    with zipfile.ZipFile(part, "w") as archive:
        for name, array in content.items():
            archive.writestr(zipfile.ZipInfo(name), array)
    assert part.stat().st_size == size


def replace_by_a_pipe(part: Path) -> None:
    part.unlink()
    os.mkfifo(part)


@pytest.mark.parametrize(
    "damage", [truncate, change_a_byte, replace_numbers, replace_by_a_pipe, Path.unlink]
)
def test_a_damaged_part_is_named_by_its_hash_and_may_be_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    store = tmp_path / "store"
    add_to_store(store, rollouts(*range(6)))
    wrong = parts(store)[1]
    damage(wrong)
    with pytest.raises(SourceError, match=wrong.stem) as refused:
        read_rollouts([store])
    assert "\n" not in str(refused.value)
    read = read_rollouts(
        [store], executor=ProcessExecutor(2, isolates=True), skips_unreadable=True
    )
    assert names(read) == named([0, 1, 4, 5])
    assert f"left out: {wrong}" in caplog.text


def test_only_arrays_that_are_asked_for_are_read(tmp_path: Path) -> None:
    store = tmp_path / "store"
    tokens = np.ones((12, 3, 4), np.float32)
    written = rollouts(0)
    add_to_store(store, replace(written, rollouts=(replace(written.rollouts[0], tokens=tokens),)))
    (part,) = parts(store)
    content = bytearray(part.read_bytes())
    with zipfile.ZipFile(part) as archive:
        content[archive.getinfo("tokens.npy").header_offset + 300] ^= 1
    part.write_bytes(content)
    (rollout,) = read_rollouts([store]).rollouts
    assert rollout.tokens is None
    with pytest.raises(SourceError, match="'tokens' cannot be read"):
        read_rollouts([store], TOKENS)


def test_a_manifest_that_ends_in_a_line_is_read_up_to_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    add_to_store(store, rollouts(0, 1, 2, 3))
    (manifest,) = (store / "manifests").iterdir()
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-20])
    assert names(read_rollouts([store])) == named([0, 1])
    assert f"{manifest} ends in the middle of its line 2" in caplog.text
    manifest.write_bytes(whole[20:])
    with pytest.raises(SourceError, match="line 1 describes no part"):
        read_rollouts([store])


@pytest.mark.parametrize(
    "line",
    [
        '{"sha256": "../../etc", "size": 3, "arrays": {}, "rollouts": []}',
        '{"sha256": 1, "size": 3, "arrays": {}, "rollouts": []}',
        '{"size": 3}',
        "[]",
        "7",
        '{"sha256": "%s", "size": 3, "arrays": [], "rollouts": []}' % ("a" * 64),
        '{"sha256": "%s", "size": 3, "arrays": {}, "rollouts": [{"x": 1}]}' % ("a" * 64),
        "\udcff",
        "[" * 100_000,
        '{"sha256": "%s", "size": -3, "arrays": {}, "rollouts": []}' % ("a" * 64),
        '{"sha256": "%s", "size": 3, "arrays": {}, "rollouts": [{"sha256": [1], "name": "a", '
        '"decisions": 1, "success": true}]}' % ("a" * 64),
    ],
)
def test_a_line_of_a_manifest_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    store = tmp_path / "store"
    add_to_store(store, rollouts(0))
    (manifest,) = (store / "manifests").iterdir()
    manifest.write_bytes(line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(SourceError, match="line 1 describes no part"):
        read_rollouts([store])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"format": "failure_monitor rollout store", "version": 2}', "of version 2, expected 1"),
        ("", "store.json cannot be read"),
        ("[1]", "store.json cannot be read"),
        ('{"format": "mine"}', "store.json cannot be read"),
        ('{"format": "mine", "version": 1}', "is of another format, 'mine'"),
    ],
)
def test_a_store_of_another_version_is_refused(
    tmp_path: Path, content: str, sentence: str
) -> None:
    store = tmp_path / "store"
    add_to_store(store, rollouts(0))
    (store / "store.json").write_text(content)
    with pytest.raises(SourceError, match=sentence):
        read_rollouts([store])
    with pytest.raises(SourceError, match=sentence):
        add_to_store(store, rollouts(1))


def write_archives(folder: Path, *sets: RolloutSet) -> Path:
    folder.mkdir()
    for place, rollout_set in enumerate(sets):
        write_archive(folder / f"{place}.npz", rollout_set)
    return folder


def test_rollouts_are_taken_source_by_source_and_do_not_stay_in_memory(tmp_path: Path) -> None:
    silent = replace(rollouts(0, 1), action_kind_is_known=False)
    folder = write_archives(tmp_path / "set", silent, *(rollouts(seed) for seed in range(2, 6)))
    taken: list[RolloutSet] = []
    alive: list[list[bool]] = []
    chunks: list[weakref.ref[Any]] = []

    def take(rollout_set: RolloutSet) -> None:
        gc.collect()
        alive.append([array() is not None for array in chunks])
        chunks.extend(weakref.ref(rollout.chunks) for rollout in rollout_set.rollouts)
        few = [replace(each, chunks=each.chunks.copy()) for each in rollout_set.rollouts]
        taken.append(replace(rollout_set, rollouts=tuple(few)))

    rest = read_rollouts([folder], take=take, executor=SerialExecutor())
    whole = read_rollouts([folder])
    assert alive == [[], [False] * 2, [False] * 3, [False] * 4, [False] * 5]
    assert not any(rollout.chunks.any() for rollout in rest.rollouts)
    for one, other in zip(rest.rollouts, whole.rollouts, strict=True):
        assert one.chunks.shape == other.chunks.shape
        assert (one.name, one.sha256, one.success) == (other.name, other.sha256, other.success)
    assert rest.policy == whole.policy
    assert [each.action_kind_is_known for each in taken] == [False] + [True] * 4
    stored = [rollout for each in taken for rollout in each.rollouts]
    for one, other in zip(stored, whole.rollouts, strict=True):
        np.testing.assert_array_equal(one.chunks, other.chunks)


@pytest.mark.parametrize("how", [("--executor", "serial"), ("--jobs", 2, "--worker-memory", "4G")])
def test_what_is_refused_in_the_middle_leaves_what_was_before_it(
    tmp_path: Path, how: tuple[object, ...]
) -> None:
    other = replace(
        rollouts(9),
        policy=replace(POLICY, samples=4),
        rollouts=(replace(synthetic_rollout(9), chunks=synthetic_rollout(9).chunks[:, :4]),),
    )
    sets = [rollouts(0), rollouts(1), rollouts(2), other, rollouts(3), rollouts(4)]
    folder, store = write_archives(tmp_path / "set", *sets), tmp_path / "store"
    with pytest.raises(SourceError) as refused:
        read_rollouts([folder])
    for expected in (named(range(3)), named(range(3))):
        result = run_here("archive", folder, "--output", store, *how)
        assert result.exit_code == 1
        assert " ".join(str(refused.value).split()) in " ".join(result.stderr.split())
        assert names(read_rollouts([store])) == expected
    (folder / "3.npz").write_bytes(b"torn")
    result = run_here("archive", folder, "--output", store, *how)
    # What is damaged keeps nothing else out.
    assert "3.npz" in result.stderr
    assert names(read_rollouts([store])) == named(range(5))
    (folder / "3.npz").unlink()
    result = run_here("archive", folder, "--output", store, *how)
    assert "wrote 0 rollouts" in result.stdout, result.stderr
    assert "5 were there" in result.stdout
    shutil.copy(folder / "4.npz", folder / "5_again.npz")
    result = run_here("archive", folder, "--output", tmp_path / "new", *how)
    assert "are the same rollout" in result.stderr
    assert names(read_rollouts([tmp_path / "new"])) == named(range(5))


def test_an_interrupted_command_says_what_is_stored_and_adds_the_rest(tmp_path: Path) -> None:
    sets = [rollouts(seed) for seed in range(400)]
    folder, store = write_archives(tmp_path / "set", *sets), tmp_path / "store"
    process = subprocess.Popen(
        [*COMMAND, "archive", str(folder), "--output", str(store), "--executor", "serial"],
        stderr=subprocess.PIPE,
        text=True,
    )
    begin = time.monotonic()
    while not (store / "manifests").exists() or not any((store / "manifests").glob("*.jsonl")):
        assert process.poll() is None
        assert time.monotonic() - begin < 120
        time.sleep(0.01)
    time.sleep(0.05)  # it counts what it wrote, and reads on
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    left = len(read_rollouts([store]).rollouts)
    assert process.returncode == 130
    assert f"interrupted; {left} rollouts are in {store}, to which running" in errors
    again = run_here("archive", folder, "--output", store, "--executor", "serial")
    assert f"wrote {400 - left} rollouts" in again.stdout, again.stderr
    assert len(read_rollouts([store]).rollouts) == 400


def test_a_manifest_grows_to_a_number_of_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_store, "MAX_MANIFEST_PARTS", 3)
    monkeypatch.setattr(rollout_store, "MAX_PART_SECONDS", 0.0)
    store = tmp_path / "store"
    added = add_to_store(store, rollouts(*range(8)))
    assert added.parts == 8
    lines = [
        len(file.read_text().splitlines()) for file in sorted((store / "manifests").iterdir())
    ]
    assert lines == [3, 3, 2]
    assert names(read_rollouts([store])) == named(range(8))


def test_a_store_without_a_rollout_says_so(tmp_path: Path) -> None:
    add_to_store(tmp_path / "store", RolloutSet(POLICY, ()))
    with pytest.raises(SourceError, match="holds no rollouts yet"):
        read_rollouts([tmp_path / "store"])


def test_a_store_takes_no_place_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    for place in (tmp_path / "file", tmp_path / "folder"):
        with pytest.raises(UsageError, match="is there and no store of rollouts"):
            add_to_store(place, rollouts(0))
    (tmp_path / "empty").mkdir()
    assert add_to_store(tmp_path / "empty", rollouts(0)).rollouts == 1


def test_rollouts_that_could_not_be_read_with_those_of_a_store_are_refused() -> None:
    def of(**changes: Any) -> RolloutSet:
        return replace(rollouts(0), policy=replace(POLICY, **changes))

    open_ = replace(of(action_kind="position"), action_kind_is_known=False)
    for kept in (of(), of(control_period=0.05), open_, of(position_names=())):
        reject_contradiction(of(executed_actions=2), kept)
        reject_contradiction(kept, of(executed_actions=2))
    for known, new, difference in (
        (of(), of(samples=4), "samples 16 against 4"),
        (of(), of(action_kind="position"), "action kind delta against position"),
        (of(control_period=0.05), of(control_period=0.1), "control period 0.05 against 0.1"),
        (of(), of(position_names=("dx",)), "position names"),
        (
            replace(of(), stated_policy=STATED),
            replace(of(), stated_policy=replace(STATED, checkpoint="b" * 64)),
            "checkpoint",
        ),
    ):
        with pytest.raises(SourceError, match=f"not of the same policy .*{difference}"):
            reject_contradiction(known, new)
