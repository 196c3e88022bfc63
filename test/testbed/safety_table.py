# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Writes into docs/safety.md which tests hold which requirement, from the tests' `law` marks.

    make safety

The tests are read, not run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.repository import ROOT

PAGE = ROOT / "docs" / "safety.md"
TESTS = ROOT / "test"
MARK = "law"
TITLE = re.compile(r"^(\d+)\. \*\*(.+?)\*\*", re.MULTILINE)
BEGIN, END = "<!-- written by `make safety` -->", "<!-- up to here -->"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class MarkedTest:
    """A test function that holds a requirement.

    Attributes:
        law: the number of the requirement.
        file: the path of the test's file within the repository.
        line: where it stands there.
        name: the function's name.
    """

    law: int
    file: str
    line: int
    name: str

    @property
    def sentence(self) -> str:
        """The name as a sentence."""
        return self.name.removeprefix("test_").replace("_", " ")


def marked_tests(folder: Path = TESTS) -> list[MarkedTest]:
    """Return every marked test in the files under a folder, by requirement and file."""
    return sorted(
        MarkedTest(law, path.relative_to(folder.parent).as_posix(), function.lineno, function.name)
        for path in folder.rglob("test_*.py")
        for function, laws in _functions_with_laws(ast.parse(path.read_text(encoding="utf-8")))
        for law in laws
    )


def _functions_with_laws(module: ast.Module) -> Iterator[tuple[Function, set[int]]]:
    """Yield the tests of a module with the numbers in their own marks and in the module's."""
    assigned = {
        target.id: statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    of_all = _numbers(assigned.get("pytestmark"), assigned)
    for statement in module.body:
        members = statement.body if isinstance(statement, ast.ClassDef) else [statement]
        of_class = _of_decorators(statement, assigned)
        for member in members:
            if isinstance(member, Function) and member.name.startswith("test_"):
                yield member, of_all | of_class | _of_decorators(member, assigned)


def _of_decorators(node: ast.stmt, assigned: dict[str, ast.expr]) -> set[int]:
    decorators = getattr(node, "decorator_list", [])
    return set().union(*(_numbers(decorator, assigned) for decorator in decorators))


def _numbers(node: ast.expr | None, assigned: dict[str, ast.expr]) -> set[int]:
    """Return the numbers of all `law` marks in an expression, also by names of the module."""
    if node is None:
        return set()
    numbers = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in assigned and part.id != "pytestmark":
            numbers |= _numbers(assigned[part.id], {})
        if (
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Attribute)
            and part.func.attr == MARK
        ):
            numbers |= {argument.value for argument in part.args if _is_number(argument)}
    return numbers


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def requirements(page: Path = PAGE) -> dict[int, str]:
    """Return the title of every requirement of the page by its number."""
    text = page.read_text(encoding="utf-8")
    return {int(number): title.rstrip(".,:") for number, title in TITLE.findall(text)}


def table(tests: Sequence[MarkedTest]) -> str:
    """Return the table in Markdown: a row for each requirement and file."""
    rows: dict[tuple[int, str], list[MarkedTest]] = {}
    for test in tests:
        rows.setdefault((test.law, test.file), []).append(test)
    lines = ["| requirement | file | tests |", "|---|---|---|"]
    for (law, file), own in rows.items():
        sentences = "<br>".join(test.sentence for test in own)
        lines.append(f"| {law} | [{file.removeprefix('test/')}](../{file}) | {sentences} |")
    return "\n".join(lines)


def with_table(page: str, tests: Sequence[MarkedTest]) -> str:
    """Return the page with the table between its two markers."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table(tests)}\n\n{END}{after}"


def main() -> None:
    """Write the table."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(page, marked_tests()), encoding="utf-8")


if __name__ == "__main__":
    main()
