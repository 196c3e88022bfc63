# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A figure that several pages claim is the same on all of them."""

from __future__ import annotations

import re

import pytest
from testbed.repository import ROOT

from failure_monitor.thresholds.conformal import false_alarm_interval


def page(name: str) -> str:
    """A page in lower case, since a figure may begin a sentence."""
    return (ROOT / name).read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    ("figure", "pages"),
    [
        ("0.19 to 0.31 ms", ("docs/detection.md", "docs/jetson.md")),
        ("125 mb", ("docs/monitor_node.md", "docs/jetson.md")),
        ("all 88 failures", ("README.md", "docs/demo.md")),
        (".087", ("README.md", "docs/detection.md")),
        (".091", ("README.md", "docs/detection.md")),
        ("0.03 and 0.20", ("docs/faq.md", "docs/demo.md")),
    ],
)
def test_pages_that_claim_a_figure_agree(figure, pages):
    assert [name for name in pages if figure not in page(name)] == []


def test_the_tables_of_the_detection_page_are_rows_of_the_appendix():
    def rows(text: str) -> list[list[str]]:
        """The figures of every row that has two or more."""
        cells = (re.findall(r"(?<![\w.])-?0?\.\d+", line) for line in text.splitlines())
        found = [[figure.lstrip("0") for figure in row] for row in cells]
        return [row for row in found if len(row) > 1]

    def tables(name: str) -> str:
        return "\n".join(line for line in page(name).splitlines() if line.startswith("|"))

    appendix = [set(row) for row in rows(tables("docs/detection_appendix.md"))]
    shown = rows(tables("docs/detection.md"))
    assert len(shown) > 10
    assert [row for row in shown if not any(set(row) <= each for each in appendix)] == []


def test_the_time_of_a_decision_is_that_of_the_table_of_the_appendix():
    heading, rows = re.search(
        r"^(\| b \| with joints, before .*)\n\|[-|]+\n((?:\|.*\n)+)",
        page("docs/detection_appendix.md"),
        re.M,
    ).groups()
    now = [place for place, cell in enumerate(heading.split(" | ")) if cell == "now"]
    cells = [row.strip("|").split(" | ") for row in rows.splitlines()]
    times = [int(row[place]) / 1000 for row in cells for place in now]
    assert len(times) == 10
    assert f"takes {min(times):.2f} to {max(times):.2f} ms" in page("docs/detection.md")


def test_where_the_true_rate_lies_is_computed():
    for rollouts, low, high, pages in [
        (9, "0.01", "0.28", ("docs/faq.md",)),
        (30, "0.03", "0.20", ("docs/faq.md", "docs/demo.md")),
        (100, "0.06", "0.15", ("docs/faq.md", "docs/demo.md")),
    ]:
        assert [f"{end:.2f}" for end in false_alarm_interval(rollouts, 0.1)] == [low, high]
        for name in pages:
            assert re.search(rf"{low} (?:and|to) {high}", page(name)), (name, rollouts)
    assert [f"{end:.2g}" for end in false_alarm_interval(4, 0.2)] == ["0.013", "0.53"]
    assert "0.013 and 0.53" in page("docs/few_rollouts.md")


def test_the_demo_s_failures_are_those_of_its_table():
    rows = re.findall(r"^\| ([\w ]+) \| (\d+) \| (\d+) \| (\d+) \|", page("docs/demo.md"), re.M)
    counts = {name: tuple(map(int, numbers)) for name, *numbers in rows}
    rollouts, successes, alarms = counts.pop("undisturbed")
    assert f"{alarms} of {rollouts} undisturbed rollouts" in page("README.md")
    assert successes == rollouts
    failures = sum(total - succeeded for total, succeeded, _ in counts.values())
    assert f"all {failures} failures" in page("docs/demo.md")
