# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A node whose packages are not all installed names the one that is missing."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("executable", "missing"),
    [
        ("record_node", "rosbags"),
        ("incident_recorder_node", "rosbags"),
        ("policy_node", "onnxruntime"),
    ],
)
def test_a_missing_package_is_a_sentence_with_its_remedy(executable: str, missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[0] = 'a_node'\n"
        f"from failure_monitor.executables import {executable}; {executable}()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    sentence = f"the Python package '{missing}' is needed and not installed: pip install {missing}"
    assert done.stderr.splitlines()[-1] == f"a_node: {sentence}"
    assert "Traceback" not in done.stderr
