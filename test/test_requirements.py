# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Every requirement of docs/safety.md is held by tests, and the page names them."""

import pytest
from testbed.safety_table import PAGE, marked_tests, requirements, with_table


def test_the_page_names_the_tests_as_they_are():
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, marked_tests()) == page, "docs/safety.md is old: run `make safety`"


@pytest.mark.parametrize("number", requirements())
def test_every_requirement_has_tests(number):
    assert any(test.law == number for test in marked_tests())
