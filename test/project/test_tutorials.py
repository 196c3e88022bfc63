# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the tutorials tell to do works in this order, and prints what they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from testbed.lerobot_process import environment
from testbed.tutorials import TUTORIALS, Step, prints, run, steps

MARKS = {
    "node_of_your_own": [pytest.mark.ros],
    "lerobot_policy": [pytest.mark.ros, pytest.mark.lerobot],
}


def marked(page: Path):
    return pytest.param(page, id=page.stem, marks=MARKS.get(page.stem, [pytest.mark.slow]))


@pytest.mark.parametrize("page", [marked(page) for page in TUTORIALS])
def test_a_tutorial_works_and_prints_what_it_shows(page: Path, tmp_path: Path):
    text = page.read_text(encoding="utf-8")
    assert len(steps(text)) > 5
    variables = environment(tmp_path) if page.stem == "lerobot_policy" else {}
    for step, output in zip(steps(text), run(text, tmp_path, variables), strict=True):
        assert prints(step.shown, output), (
            f"{page.name} shows of `{step.command}`\n"
            + "\n".join(step.shown)
            + f"\n\nand it printed\n{output}"
        )


PAGE = """
Write `a.csv`:

```text
it's $1
```

```console
$ cat \\
    a.csv
it's …
$ true
```
"""


def test_a_page_is_commands_and_files_in_their_order(tmp_path: Path):
    wrote, read, did = steps(PAGE)
    assert wrote.shown == ()
    assert (read, did) == (Step("cat \\\n    a.csv", ("it's …",)), Step("true"))
    assert run(PAGE, tmp_path) == ["", "it's $1\n", ""]


@pytest.mark.parametrize("block", ["```\nls\n```\n", "Look:\n\n```python\n1\n```\n"])
def test_a_block_that_nobody_runs_is_found(block: str):
    with pytest.raises(ValueError, match="expected commands"):
        steps(block)


def test_a_step_that_fails_is_named(tmp_path: Path):
    with pytest.raises(AssertionError, match=r"(?s)exit code 1: .*ls nowhere.*cannot access"):
        run("```console\n$ true\n$ ls nowhere || exit 1\n$ true\n```\n", tmp_path)


def test_an_output_that_is_not_as_shown_is_found():
    output = "a table\n1 of 2  \n3 of 4\nthe end\n"
    for shown in (), ("a table", "1 of 2", "3 of 4", "the end"), ("…", "… of 4", "…"):
        assert prints(shown, output)
    for shown in ("a table",), ("a table", "3 of …", "the end"), ("…", "1 of 2", "the end"):
        assert not prints(shown, output)
