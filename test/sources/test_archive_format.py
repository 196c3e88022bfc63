# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""That docs/archive_format.md is true: its example runs, and its tables name what is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testbed.repository import ROOT

from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError

PAGE = (ROOT / "docs" / "archive_format.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The table under the heading: what stands in code in the first cell, and the other cells."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first.strip("`"): others for first, *others in cells}


ARRAYS = rows("Arrays")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive that the page's example writes."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/archive_format.md", "exec"), {})
    return tmp_path / "rollouts.npz"


def changed(example: Path, **changes: Any) -> Path:
    arrays = dict(np.load(example)) | changes
    np.savez(example, **{name: array for name, array in arrays.items() if array is not None})
    return example


def test_the_example_writes_an_archive_that_is_read(example: Path) -> None:
    rollout_set = read_rollouts([example])
    policy, rollouts = rollout_set.policy, rollout_set.rollouts
    assert [len(rollout) for rollout in rollouts] == [20, 24, 18]
    assert [rollout.success for rollout in rollouts] == [True, True, False]
    assert [rollout.calibration for rollout in rollouts] == [True, False, False]
    assert [rollout.group for rollout in rollouts] == ["id", "id", "occlusion"]
    assert (policy.embedding_size, policy.chunk_shape) == (64, (16, 8, 3))
    assert (policy.action_kind, policy.position_names) == ("delta", ("dx", "dy"))
    assert policy.executed_actions == 4
    for rollout in rollouts:
        rollout.check(policy)


@pytest.mark.parametrize("name", [name for name, cells in ARRAYS.items() if cells[2] == "yes"])
def test_what_is_required_is_refused_if_it_is_missing(example: Path, name: str) -> None:
    with pytest.raises(SourceError, match=f"no array '{name}'"):
        read_rollouts([changed(example, **{name: None})])


def test_one_of_the_two_times_is_required(example: Path) -> None:
    assert (ARRAYS["stamp"][2], ARRAYS["env_step"][2]) == ("this or `env_step`", "this or `stamp`")
    with pytest.raises(SourceError, match="no array 'env_step'"):
        read_rollouts([changed(example, stamp=None)])


def wrong(cells: list[str]) -> np.ndarray:
    """Of the shape that the page states, and of another dtype."""
    sides = {"N": 62, "M": 3, "B": 16, "H": 8, "D": 3, "E": 64, "P": 2}
    shape = tuple(sides[side] for side in re.findall("[A-Z]", cells[0]))
    return np.zeros(shape, bool if cells[1] != "bool" else float)


@pytest.mark.parametrize("name", ARRAYS)
def test_every_array_of_the_table_is_read_and_checked(example: Path, name: str) -> None:
    changes: dict[str, Any] = {name: wrong(ARRAYS[name])}
    if name == "env_step":
        changes["stamp"] = None
    with pytest.raises(SourceError, match=f"'{name}' is .*, expected"):
        read_rollouts([changed(example, **changes)])


def test_the_table_names_every_array_that_is_written(example: Path, tmp_path: Path) -> None:
    whole = changed(
        example, ee_pos=np.zeros((62, 2)), intervention=np.zeros(62, bool), judged=np.zeros(3)
    )
    rollout_set = read_rollouts([whole])
    write_archive(tmp_path / "written.npz", RolloutSet(rollout_set.policy, rollout_set.rollouts))
    written = {name.removeprefix("has_") for name in np.load(tmp_path / "written.npz").files}
    assert written == set(ARRAYS) - {"env_step"}


def test_the_table_names_every_key_that_is_read(example: Path) -> None:
    sources = (ROOT / "failure_monitor/sources").glob("archive*.py")
    source = "\n".join(file.read_text() for file in sources)
    read = set(re.findall(r"_content\.get\(\"(\w+)\"", source))
    read |= set(re.findall(r"_positive\(\"(\w+)\"", source))
    read |= set(re.findall(r"\.text\(\"(\w+)\"", source))
    assert read - set(rows("Joints")) == set(rows("Keys of `meta_json`"))
