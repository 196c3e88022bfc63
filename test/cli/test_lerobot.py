# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""`failure-monitor lerobot` says what is missing, and is the program that it runs otherwise."""

import os
import subprocess
import sys

import pytest
from testbed.repository import ROOT

STAND_IN = """
class PreTrainedPolicy:
    pass
"""
FACTORY = """
def make_policy(): pass
def make_pre_post_processors(): pass
"""


@pytest.fixture
def lerobot(tmp_path):
    """Run the command beside a stand-in for LeRobot, with or without ROS."""
    policies = tmp_path / "site" / "lerobot" / "policies"
    policies.mkdir(parents=True)
    for folder in (policies, policies.parent):
        (folder / "__init__.py").touch()
    (policies / "pretrained.py").write_text(STAND_IN)
    (policies / "factory.py").write_text(FACTORY)

    def run(*arguments, ros=True, site=True, shell=""):
        without = tmp_path / "without"
        without.mkdir(exist_ok=True)
        (without / "sitecustomize.py").write_text("import sys; sys.modules['rclpy'] = None\n")
        paths = [ROOT, *([tmp_path / "site"] if site else []), *([] if ros else [without])]
        command = [sys.executable, "-m", "failure_monitor.cli", "lerobot", *map(str, arguments)]
        if shell:
            command = ["bash", "-c", f'"$@" {shell}', "bash", *command]
        return subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        "import sys, os\nprint(sys.argv[1:], os.path.basename(sys.path[0]))\nsys.exit(7)\n"
    )
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--", "lerobot-fly"], 2, "'lerobot-fly' is no program of the Python"),
        (["--", "gone.py"], 2, "the script gone.py is not there"),
        (["--", "python", "-c", "pass"], 2, "name a script, or -m and a module"),
        (["--", "/usr/bin/python3", "gone.py"], 2, "install failure-monitor in the environment"),
        (["--action-names", "x", "--dataset", "y", "--", "z"], 2, "both name the actions"),
        (["--every", "0", "--", "z"], 2, "--every"),
        (["--on-alarm", "dance", "--", "z"], 2, "choose hold, raise"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_run_is_a_sentence(lerobot, arguments, code, why):
    python = [sys.executable if part == "python" else part for part in arguments]
    done = lerobot(*python)
    assert done.returncode == code
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ros_a_bundle_is_asked_for(lerobot, program):
    done = lerobot("--", program, ros=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ROS 2 is not found" in done.stderr
    assert "name the --bundle" in done.stderr


def test_without_lerobot_it_is_named(lerobot, program):
    done = lerobot("--", program, site=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "LeRobot is not found in this Python" in done.stderr


def test_a_lerobot_that_loads_policies_otherwise_is_refused(lerobot, program, tmp_path):
    (tmp_path / "site" / "lerobot" / "policies" / "factory.py").write_text("")
    done = lerobot("--", program)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no lerobot.policies.factory.make_policy" in done.stderr


def test_what_is_no_bundle_is_told_before_anything_runs(lerobot, program, tmp_path):
    done = lerobot("--bundle", tmp_path, "--", program, ros=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "bundle" in done.stderr


@pytest.mark.parametrize("shell", ["", "2>&-", "2>/dev/full"])
def test_the_program_has_its_arguments_path_and_exit_code(lerobot, program, shell, bundle_folder):
    done = lerobot(
        "--bundle", bundle_folder, "--", program, "--fps=3", "--", "-x", ros=False, shell=shell
    )
    assert done.returncode == 7
    assert done.stdout == f"['--fps=3', '--', '-x'] {program.parent.name}\n"
    assert ("nothing was watched" in done.stderr) == (not shell)
