# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What a library prints on standard error is told apart from what others print there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading

import pytest

from failure_monitor.messages.printed_warnings import with_warnings

WARNING = re.compile(rb"Corrupt[^\n]*\n")


def test_warnings_are_returned_and_all_else_is_passed_on(capfd):
    def work() -> int:
        os.write(2, b"progress 10 % Corrupt data: 7\nanother thread\n")
        return 3

    assert with_warnings(work, WARNING) == (3, ["Corrupt data: 7"])
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "progress 10 % another thread\nafterwards\n"


def test_standard_error_is_back_after_an_exception(capfd):
    def fail() -> None:
        os.write(2, b"before\n")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with_warnings(fail, WARNING)
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err.endswith("afterwards\n")


def test_two_threads_never_get_each_others_warnings():
    found: dict[int, set[tuple[str, ...]]] = {0: set(), 1: set()}

    def work(number: int) -> None:
        for _ in range(200):
            text = f"Corrupt {number}\n".encode()
            _, warnings = with_warnings(lambda text=text: os.write(2, text), WARNING)
            found[number].add(tuple(warnings))

    threads = [threading.Thread(target=work, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: {("Corrupt 0",)}, 1: {("Corrupt 1",)}}


def test_a_process_without_standard_error_hears_warnings_too():
    program = """
import os, re
os.close(2)
from failure_monitor.messages.printed_warnings import with_warnings
print(with_warnings(lambda: os.write(2, b"Corrupt\\n"), re.compile(rb"Corrupt[^\\n]*\\n"))[1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "['Corrupt']\n"
