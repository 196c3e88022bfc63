# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What docs/detection.md states is what `calibrate` does when nobody says otherwise."""

from __future__ import annotations

import inspect
import re

import pytest
from testbed.repository import ROOT

from failure_monitor.calibration.settings import USUAL_FOLDS, CalibrationSettings
from failure_monitor.cli.calibrate import calibrate
from failure_monitor.scores.registry import DEFAULT_SCORES, JOINT_SCORES, SCORES
from failure_monitor.thresholds.conformal import CEILING

PAGE = (ROOT / "docs" / "detection.md").read_text()
APPENDIX = (ROOT / "docs" / "detection_appendix.md").read_text()
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 9: "nine", 10: "ten"}


def section(page: str, title: str) -> str:
    """From a heading to the next."""
    return re.split(r"\n#{2,3} ", page.split(f"# {title}\n", 1)[1])[0]


def test_the_default_rule_is_the_one_that_was_measured():
    text, settings = section(PAGE, "The default rule"), CalibrationSettings()
    with_joints = [*DEFAULT_SCORES, *JOINT_SCORES]
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == with_joints
    assert f"The {settings.rule} of {NUMBERS[len(DEFAULT_SCORES)]} scores" in text
    assert f"over a window of {NUMBERS[settings.window]} decisions" in text
    assert f"counts for more than {CEILING:g} (the *ceiling*)" in text
    data = section(APPENDIX, "The data")
    assert f"into {NUMBERS[USUAL_FOLDS]} folds, at alpha {settings.alpha:g}," in data


@pytest.mark.parametrize(
    "name", ["rule", "alpha", "window", "threshold", "folds", "seed", "scores"]
)
def test_the_command_s_defaults_are_those_of_calibration(name):
    default = inspect.signature(calibrate).parameters[name].default
    expected = getattr(CalibrationSettings(), name)
    # The command leaves out what the policy does not allow of the default scores.
    assert default == ("" if name == "scores" else expected)


def test_every_score_is_measured_alone_beside_the_control():
    rows = re.findall(r"^\| (\w+)", section(APPENDIX, "Every score alone"), re.MULTILINE)
    # The probe learns from failures, and is measured with them; no archive has tokens.
    unmeasured = {"elapsed_time", "probe", "token_distance"}
    assert set(rows) == (set(SCORES) - unmeasured) | {"elapsed"}


def test_the_commands_that_reproduce_the_tables_have_their_options():
    for path, options in re.findall(r"^python (benchmarks/\S+) (.*)$", APPENDIX, re.MULTILINE):
        source = (ROOT / path).read_text()
        for option in re.findall(r"--([a-z-]+)", options):
            declared = rf"\b{option.replace('-', '_')}: Annotated\[|\"--{option}\""
            assert re.search(declared, source), (path, option)
