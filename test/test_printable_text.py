# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever a stranger writes, a log line stays one, and can be written."""

from hypothesis import given
from hypothesis import strategies as st

from failure_monitor.printable_text import printable

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=300)


@given(ANY_TEXT)
def test_any_text_is_one_line_that_can_be_encoded(text):
    found = printable(text, 100)
    assert found.isprintable()
    found.encode()
    assert len(found) <= 100 * len(r"\U0001f600") + len("...")


def test_what_can_be_printed_stays_as_it_is():
    assert printable("drawer öffnen 引き出し", 100) == "drawer öffnen 引き出し"
    assert printable("a\nb\x1b[2J\u202e\ud800", 100) == r"a\nb\x1b[2J\u202e\ud800"
    assert printable("x" * 101, 100) == "x" * 100 + "..."
