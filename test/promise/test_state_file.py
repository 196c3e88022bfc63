# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a watched promise: whole, of this monitor and bundle, or neither used nor lost."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from failure_monitor.promise import state_file
from failure_monitor.promise.reference import Place, Reference
from failure_monitor.promise.state_file import (
    MAX_ROLLOUTS,
    PromiseFile,
    PromiseFileError,
    StoredPromise,
    watch_from,
)
from failure_monitor.promise.watch import PromiseWatch, PromiseWord
from failure_monitor.versioned_file import MAX_BYTES

EMPTY = StoredPromise(monitor="/left/failure_monitor", bundle="ab" * 32, series=("rule",))
LOTS = np.linspace(0, 1, 20)
NO_SCORES, FOLDS = np.zeros((18, 0)), np.zeros(18, dtype=np.int64)
TWENTY = Reference("", 19, np.arange(1, 21) / 19, LOTS, (), NO_SCORES, LOTS[:18], FOLDS, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "promise.json"


def file_at(path: Path, empty: StoredPromise = EMPTY) -> PromiseFile:
    return PromiseFile(path, empty)


def test_without_a_file_there_was_no_rollout_and_the_folder_is_made(path):
    file = file_at(path)
    assert file.read() == EMPTY
    file.write(EMPTY.with_rollout("", Place((3,))))
    assert path.exists()


def test_what_was_written_is_read_and_gives_the_same_state(path):
    watch, stored = PromiseWatch([TWENTY]), EMPTY.without_rollout("failed")
    for cell in (3, 17, 18, 18, 18, 18, 18, 18, 18, 18):
        watch.add("", Place((cell,)))
        stored = stored.with_rollout("", Place((cell,)))
    watch.add("", Place())
    stored = stored.with_rollout("", Place())
    file_at(path).write(stored)
    again = file_at(path).read()
    assert again.rollouts == stored.rollouts
    assert again.left_out == {"failed": 1}
    assert watch_from(again, (TWENTY,), 0.01).state == watch.state
    assert watch.state.word is not PromiseWord.HOLDS


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.write_text(""), "holds no rollouts"),
        (lambda path: path.write_text(path.read_text()[:60]), "holds no rollouts"),
        (lambda path: path.write_bytes(b"\xff\x00garbage"), "holds no rollouts"),
        (lambda path: path.write_text("[" * 100_000), "holds no rollouts"),
        (lambda path: path.write_text('{"version": 1}'), "holds no rollouts"),
        (lambda path: path.write_text('{"version": true}'), "holds no rollouts"),
        (lambda path: path.write_text("[]"), "holds no rollouts"),
        (lambda path: change(path, version=2), "was written by a newer failure_monitor"),
        (lambda path: change(path, bundle="cd" * 32), "is of another bundle"),
        (lambda path: change(path, monitor="/right"), "is of another monitor"),
        (lambda path: change(path, series=["rule", "ace"]), "is of another scores"),
        (
            lambda path: change(path, rollouts=[{"task": "", "cells": [-1]}]),
            "holds no rollouts of",
        ),
        (
            lambda path: change(path, rollouts=[{"task": "", "cells": [0.5]}]),
            "holds no rollouts of",
        ),
        # Of a file that is larger not even the beginning is parsed.
        (lambda path: path.write_text("[" + "0," * (MAX_BYTES // 2) + "0]"), "has more than"),
        (lambda path: (path.unlink(), path.mkdir()), "is no file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is no file"),
    ],
)
def test_what_is_not_such_a_file_is_named_and_left_as_it_is(path, damage, sentence):
    file_at(path).write(EMPTY.with_rollout("", Place((3,))))
    damage(path)
    before = path.read_bytes() if path.is_file() else None
    file = file_at(path)
    with pytest.raises(PromiseFileError, match=sentence):
        file.read()
    with pytest.raises(PromiseFileError):
        file.write(EMPTY)
    assert before is None or path.read_bytes() == before


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "rollout", [("", (19,)), ("", (1, 2)), ("another task", (1,))], ids=["cell", "series", "task"]
)
def test_a_rollout_that_cannot_have_lain_there_is_rejected(rollout):
    stored = EMPTY.with_rollout(rollout[0], Place(rollout[1]))
    with pytest.raises(PromiseFileError, match="rollout 1 does not fit the bundle"):
        watch_from(stored, (TWENTY,), 0.01)


def test_two_monitors_with_one_file_do_not_mix_their_rollouts(path):
    first, second = file_at(path), file_at(path)
    first.read()
    first.write(EMPTY.with_rollout("", Place((1,))))
    second.read()
    second.write(EMPTY.with_rollout("", Place((1,))).with_rollout("", Place((2,))))
    before = path.read_bytes()
    with pytest.raises(PromiseFileError, match="another process writes"):
        first.write(EMPTY)
    assert path.read_bytes() == before
    second.write(EMPTY)


def test_what_this_process_wrote_itself_is_not_read_again(path, monkeypatch):
    file = file_at(path)
    file.read()
    file.write(EMPTY)
    read = []
    content = state_file.stored_promise
    monkeypatch.setattr(state_file, "stored_promise", lambda path: read.append(1) or content(path))
    for cell in range(3):
        file.write(EMPTY.with_rollout("", Place((cell,))))
    assert not read
    # But whatever took its place is, though it is as large as before.
    path.write_text(path.read_text().replace('"cells": [2]', '"cells": 222'))
    with pytest.raises(PromiseFileError, match="holds no rollouts"):
        file.write(EMPTY)
    assert read


def test_what_could_not_be_read_again_is_not_written(path):
    one = EMPTY.with_rollout("pick " * 100, Place((1,))).rollouts
    stored = replace(EMPTY, rollouts=one * MAX_ROLLOUTS)
    file = file_at(path)
    file.write(EMPTY)
    with pytest.raises(PromiseFileError, match="would be too large"):
        file.write(stored)
    assert file_at(path).read().rollouts == ()


def test_thousands_of_rollouts_are_kept(path):
    stored = EMPTY
    for cell in np.random.default_rng(0).integers(0, 19, 2000):
        stored = stored.with_rollout("", Place((int(cell),)))
    file_at(path).write(stored)
    state = watch_from(file_at(path).read(), (TWENTY,), 0.01).state
    assert (state.rollouts, state.word) == (2000, PromiseWord.HOLDS)
    assert np.isfinite(state.evidence)
