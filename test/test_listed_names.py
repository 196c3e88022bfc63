# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from failure_monitor.listed_names import MAX_NAMES, list_names


def test_a_few_names_are_listed_in_their_order() -> None:
    assert list_names(["b", "a"]) == "b, a"
    assert list_names(str(number) for number in range(MAX_NAMES)) == "0, 1, 2, 3, 4, 5, 6, 7"


def test_of_many_names_the_rest_is_counted() -> None:
    assert list_names(range(MAX_NAMES + 3)) == "0, 1, 2, 3, 4, 5, 6, 7 and 3 more"


def test_no_names_are_said_to_be_none() -> None:
    assert list_names([]) == "none"
