# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The demo as its user starts it, to its end.

It simulates a robot in real time. Where commands come later than they did in its calibration, the
arm does not do what it was commanded as it usually does, which the monitor is right to report: so
no other test may need the machine meanwhile.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from testbed.repository import ROOT
from testbed.tutorials import logged, prints

TUTORIAL = ROOT / "docs" / "tutorials" / "demo_understood.md"

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.alone]


def test_the_demo_shows_what_it_promises(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "failure_monitor.demo", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert demo.returncode == 0, demo.stderr
    assert "Mechanism stuck" in demo.stdout
    [command] = [
        line for line in demo.stderr.splitlines() if line.startswith("failure-monitor calibrate")
    ]
    assert shlex.split(command)[3:5] == ["--output", str(tmp_path / "bundle")]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["passed"]
    assert [rollout["passed_after_alarm"] for rollout in summary["rollouts"]] == [0] * 5
    claimed = summary["rollouts"][-1]
    assert claimed["claims"]
    assert claimed["alarm_time"] is not None or claimed["check"], claimed
    assert len(list(tmp_path.glob("rollout_*.png"))) == 5
    assert (tmp_path / "bundle" / "bundle.yaml").is_file()
    shown = logged(TUTORIAL.read_text(encoding="utf-8"))
    assert len(shown) > 3
    for line in shown:
        assert prints(("…", line, "…"), demo.stderr), (line, demo.stderr)
