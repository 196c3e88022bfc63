# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The tutorials of docs/, run block by block as one who reads them does.

A block `console` has commands behind `$ ` and, below each, what it prints: nothing where that does
not matter, `…` for what varies, within a line or for lines. A block `log` is what a program prints
that the page does not run: another test does. A block in another language is a file, whose name
stands in the line before.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.pages import FENCE, blocks
from testbed.repository import ROOT, console_scripts

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
COLUMNS = 100
LIMIT = 280.0
"""Seconds that a page may take, even on a busy machine."""

END = "\x1e"
"""What separates the outputs of two steps."""


@dataclass(frozen=True)
class Step:
    """A command and the lines that it prints; of a file that is written, none."""

    command: str
    shown: tuple[str, ...] = ()


def steps(page: str) -> list[Step]:
    """Return what a page tells its reader to do, in order.

    Raises:
        ValueError: a block is neither commands, nor a log, nor a file.
    """
    found = []
    for block in FENCE.finditer(page):
        _, language, content = block.groups()
        if language == "console":
            found += _commands(content)
            continue
        if language == "log":
            continue
        before = page[: block.start()].rstrip().rpartition("\n")[2]
        name = re.search(r"`([\w/]+\.\w+)`[^`]*:$", before)
        if not language or name is None:
            raise ValueError(
                f"a block in '{language}' after '{before}': expected commands (console), or a "
                "file, with its name in the line before"
            )
        quoted = shlex.quote(content.removesuffix("\n"))
        found.append(Step(f"printf '%s\\n' {quoted} > {name[1]}"))
    return found


def logged(page: str) -> list[str]:
    """Return the lines that a page shows of programs that it does not run."""
    return [line for block in blocks(page, "log") for line in block.splitlines()]


def _commands(block: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, output = re.fullmatch(r"((?:.*\\\n)*.*)\n((?:.*\n)*)", part).groups()
        yield Step(command, tuple(line.rstrip() for line in output.splitlines()))


def prints(shown: tuple[str, ...], output: str) -> bool:
    """Return whether an output is what a page shows."""
    lines = [
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in shown
    ]
    actual = "".join(f"{line.rstrip()}\n" for line in output.splitlines())
    return not shown or re.fullmatch("".join(lines), actual) is not None


def run(page: str, folder: Path, variables: Mapping[str, str] | None = None) -> list[str]:
    """Run the steps of a page in an empty folder beside a clone; return what each printed.

    Args:
        page: the text of the page.
        folder: gets the folder, the clone and the programs.
        variables: of the environment, in place of those of this process.

    Raises:
        AssertionError: a step failed.
    """
    programs, here = folder / "bin", folder / "here"
    here.mkdir()
    (folder / "failure_monitor").symlink_to(ROOT)
    _write_programs(programs)
    todo = steps(page)
    script = "".join(f"{step.command}\nprintf '\\036'\n" for step in todo)
    variables = {**os.environ, **(variables or {})}
    environment = {
        **variables,
        "PATH": f"{programs}{os.pathsep}{variables['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), variables.get("PYTHONPATH", "")]),
        # What is printed comes in its order, as on a terminal.
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": str(COLUMNS),
        # The arrays are small: threads only wait for each other.
        "OMP_NUM_THREADS": "1",
    }
    written = folder / "output"
    with written.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with suppress(subprocess.TimeoutExpired):
            shell.wait(LIMIT)
    finally:
        # What was started in the background ends with it.
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    *printed, rest = written.read_text(encoding="utf-8").split(END)
    assert shell.returncode == 0, f"exit code {shell.returncode}: {todo[len(printed)]}\n{rest}"
    return printed


def _write_programs(folder: Path) -> None:
    """Write the programs of this checkout, as an installation would."""
    folder.mkdir()
    texts = {
        name: f"#!{sys.executable}\nfrom {module} import {function}\n"
        f"if __name__ == '__main__':\n    {function}()\n"
        for name, (module, _, function) in (
            (name, point.partition(":")) for name, point in console_scripts().items()
        )
    }
    texts["python3"] = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'
    texts["ros2"] = '#!/bin/sh\n[ "$1 $2" = "run failure_monitor" ] && shift 2 && exec "$@"\n'
    for name, text in texts.items():
        program = folder / name
        program.write_text(text)
        program.chmod(0o755)
