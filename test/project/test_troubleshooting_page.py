# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""docs/troubleshooting.md has every reason that alarm and gate can give, as the code says it.

What commands say stands on docs/command_reasons.md; here, that no module is left out.
"""

from __future__ import annotations

import re

from make_command_reasons import CHAPTERS
from sentences import modules, package_folder, sentences, sentences_in
from testbed.repository import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")

PLACES = modules(
    "decision",
    "messages",
    "monitoring",
    "ros/commands",
    "ros/common",
    "ros/gate",
    "ros/monitor",
    "ros/response",
)

NO_REASONS = (
    "'INTEGER', expecting type 'DOUBLE'",
    "Corrupt JPEG data: ",
    r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9",
    r"Couldn't parse ([\w ]+): '(\S+) (.*)'\. Error: ",
    "Expected lexeme type .*",
    "[… lines of this log could not be written in time]\n",
    "error not set",
    "expecting type 'STRING'",
    "failed to initialize rcl: ",
    "halt mark of failure_monitor: who starts and finds it halts until ~/reset",
    "parameter override rule",
    "the trusted horizon",
    "{flag} {value}: {reason}",
)
"""Texts of these modules that nobody is shown as a reason: what others say and is looked for, and
what is written into files."""

FRAGMENT = re.compile(r"^- `(.+)`$", re.MULTILINE)


def said() -> set[str]:
    """All that these modules may say, and what the scores mean."""
    texts = {text for path in PLACES for text in sentences(path)}
    scores = "\n".join(path.read_text(encoding="utf-8") for path in modules("scores"))
    return texts | set(re.findall(r'^    meaning = "(.+)"$', scores, re.MULTILINE))


def test_every_reason_is_on_the_page():
    fragments = FRAGMENT.findall(PAGE)
    missing = [
        text
        for text in said() - set(NO_REASONS)
        if not any(fragment in text for fragment in fragments)
    ]
    assert sorted(missing) == [], "docs/troubleshooting.md: say what it means and what to do"


def test_nothing_on_the_page_is_said_no_longer():
    texts = said() - set(NO_REASONS)
    assert [f for f in FRAGMENT.findall(PAGE) if not any(f in text for text in texts)] == []
    assert set(NO_REASONS) <= said()


def test_every_part_says_what_it_means_after_what_is_seen():
    parts = re.split(r"^###? .+$", PAGE.partition("\n## ")[2], flags=re.MULTILINE)
    with_reasons = [part.strip() for part in parts if FRAGMENT.search(part)]
    assert len(with_reasons) > 40
    for part in with_reasons:
        seen, _, meaning = part.rpartition("`\n\n")
        assert FRAGMENT.sub("", f"{seen}`").strip() == ""
        assert len(meaning.split()) > 10


def test_the_rest_of_the_code_is_on_the_page_of_commands():
    named = [name for chapter in CHAPTERS for name in (*chapter.spoken, *chapter.raised)]
    assert len(set(named)) == len(named)
    covered = {*modules(*named), *PLACES}
    raising = {
        path
        for path in modules(".")
        if [*sentences_in(path.read_text(encoding="utf-8"), raised=True)]
    }
    # What Python itself asks for: a name that a module does not have.
    assert raising - covered == {package_folder() / "__init__.py"}


def test_sentences_are_found_in_code():
    source = '''
"""A docstring of many words."""

LIMIT = 3
"""Seconds, and what they are for."""


def why(age: float) -> str:
    """Return why it is so."""
    assert age, "the age must be known here"
    if age > LIMIT:
        raise ValueError(f"it is {age:.3g} s old, at most {LIMIT} s " "are allowed")
    return "short" if age else "no time has come"
'''
    raised = "it is … s old, at most … s are allowed"
    assert sorted(sentences_in(source)) == [raised, "no time has come"]
    assert [*sentences_in(source, raised=True)] == [raised]
