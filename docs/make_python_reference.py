#!/usr/bin/env python3
# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The page docs/python_reference.md, from the signatures and docstrings of the code.

`make reference` writes it. The code is read and not imported: neither ROS nor torch is needed.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentences import package_folder

import failure_monitor

PAGE = Path(__file__).with_name("python_reference.md")

HEAD = """# Python reference

Signatures and docstrings of what a program of yours may use.
[python_api.md](python_api.md) says what to use when, with an example.
This page is written by `make reference` from the code; change the docstrings, not this page.

In shapes, B is the number of sampled chunks, H the length of a chunk, D the number of action dimensions, E the size of an embedding.
"""  # noqa: E501

Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Place:
    """Where a name of the page is defined.

    Attributes:
        module: within failure_monitor, with dots.
        name: in the module.
        members: the methods and properties to show; `*` for all that are public.
    """

    module: str
    name: str
    members: tuple[str, ...] = ()


ALL = ("*",)

CHAPTERS = {
    "What these take and return": (
        Place("calibration.from_sources", "Calibration"),
        Place("evaluation.evaluate", "Evaluation"),
        Place("evaluation.evaluate", "Breakdown"),
        Place("evaluation.metrics", "Metrics"),
        Place("evaluation.metrics", "RolloutResult"),
        Place("evaluation.dial", "Dial", ("at", "wish")),
        Place("evaluation.dial", "DialPoint"),
        Place("evaluation.dial", "Wish"),
        Place("evaluation.dial", "Share"),
        Place("evaluation.outcome_figures", "OutcomeFigures"),
        Place("evaluation.outcome_figures", "CheckedRollout"),
        Place("evaluation.judge_figures", "JudgeFigures"),
        Place("bundle.bundle", "Bundle", ("promise", "monitor", "levels")),
        Place("decision", "Decision"),
        Place("decision", "Rollout"),
        Place("decision", "Verdict"),
        Place("decision", "ScoreVerdict"),
        Place("joint_motion", "JointMotion"),
        Place("decision", "PolicyFormat"),
        Place("sources.source", "Topics"),
        Place("sources.source", "BlackBox"),
        Place("sources.source", "DatasetOptions"),
        Place("sources.reading", "ReadSoFar"),
        Place("executors.executor", "Executor"),
        Place("sources.rollouts", "read_rollouts"),
        Place("sources.rollout_set", "RolloutSet"),
        Place("sources.source", "Reception"),
        Place("messages.measured_positions", "PositionsTopic"),
        Place("errors", "FailureMonitorError"),
        Place("errors", "UsageError"),
    ),
    "Where a policy runs": (
        Place("ros.tap", "DecisionTap", ALL),
        Place("policy_description", "PolicyDescription"),
        Place("ros.lerobot_tap", "LeRobotTap", ALL),
        Place("policies.watch_policy", "watch_policy"),
        Place("policies.watch_policy", "PolicyWatch", ALL),
        Place("policies.watched_decision", "WatchedDecision"),
        Place("policies.guard", "guard_policy"),
        Place("policies.guard", "PolicyGuard", ALL),
        Place("monitoring.alarm", "AlarmStatus"),
        Place("monitoring.alarm", "AlarmState"),
        Place("monitoring.response.table", "Reaction"),
    ),
}


def python_reference() -> str:
    """Return the text of the page."""
    parts = [HEAD, "## What `failure_monitor` exports\n"]
    for name in sorted(set(failure_monitor.__all__) - {"__version__"}):
        members = ALL if name == "FailureMonitor" else ()
        parts += _entry(Place(*failure_monitor._PLACES[name], members), name)
    for chapter, places in CHAPTERS.items():
        parts.append(f"## {chapter}\n")
        for place in places:
            parts += _entry(place, place.name)
    return "\n".join(parts)


def _entry(place: Place, called: str) -> Iterator[str]:
    path = package_folder() / f"{place.module.replace('.', '/')}.py"
    source = path.read_text(encoding="utf-8")
    [definition] = [
        node
        for node in ast.parse(source).body
        if isinstance(node, Definition) and node.name == place.name
    ]
    yield f"### {called}\n"
    exported = "" if called in failure_monitor.__all__ else f".{place.module}"
    kind = "class" if isinstance(definition, ast.ClassDef) else "function"
    link = f"../failure_monitor/{place.module.replace('.', '/')}.py"
    yield f"*{kind}* `failure_monitor{exported}.{called}`, in [{path.name}]({link})\n"
    if isinstance(definition, ast.FunctionDef):
        yield _signature(source, definition, called)
        yield _documentation(definition)
        return
    signature = _class_signature(source, definition, called)
    if signature:
        yield signature
    yield _documentation(definition)
    for member in definition.body:
        if isinstance(member, ast.FunctionDef) and _is_shown(member, place.members):
            if member.name == "__init__":
                yield _documentation(member)
                continue
            yield f"#### {called}.{member.name}\n"
            yield _signature(source, member, member.name)
            yield _documentation(member)


def _is_shown(member: ast.FunctionDef, members: tuple[str, ...]) -> bool:
    if member.name == "__init__":
        return ast.get_docstring(member) is not None
    return member.name in members or (members == ALL and not member.name.startswith("_"))


def _class_signature(source: str, definition: ast.ClassDef, called: str) -> str:
    """Return how to make an instance, or what an enumeration has; empty for other classes."""
    for member in definition.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return _signature(source, member, called).replace(" -> None", "")
    fields = [
        ast.get_source_segment(source, each)
        for each in definition.body
        if isinstance(each, (ast.AnnAssign, ast.Assign)) and "ClassVar" not in ast.dump(each)
    ]
    if any(ast.unparse(base) == "Enum" for base in definition.bases):
        lines = [f"{called}.{each}" for each in fields]
    elif definition.decorator_list:
        lines = [f"{called}(", *(f"    {each}," for each in fields), ")"]
    else:
        return ""
    return "\n".join(["```python", *lines, "```\n"])


def _signature(source: str, function: ast.FunctionDef, called: str) -> str:
    """Return a function's signature as it is written in the code."""
    lines = source.splitlines()
    body = function.body[0].lineno
    text = "\n".join(lines[function.lineno - 1 : body - 1])
    text = inspect.cleandoc(text).removeprefix(f"def {function.name}").removesuffix(":")
    text = re.sub(r"^(\(\n?\s*)(?:self|cls),?\s*", r"\1", text)
    is_property = any("property" in ast.unparse(each) for each in function.decorator_list)
    text = text.replace("() ->", ":") if is_property else text
    return f"```python\n{called}{text}\n```\n"


def _documentation(definition: Definition) -> str:
    """Return a docstring as Markdown, its arguments as lists."""
    lines, in_list = [], False
    for line in (ast.get_docstring(definition) or "").splitlines():
        section = re.fullmatch(r"(Args|Attributes|Returns|Yields|Raises):", line)
        if section:
            in_list = True
            lines += [f"*{section[1].replace('Args', 'Arguments')}*", ""]
        elif in_list and (item := re.fullmatch(r"    (\*{0,2}[\w.]+): (.*)", line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif in_list and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            in_list = in_list and not line
            lines.append(line)
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the page."""
    PAGE.write_text(python_reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
