# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What every test runs in: a ROS domain of its own, and small rollouts made by a formula."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex

# Nodes and programs that tests start find what tests share.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# Before anything imports rich: what a command prints does not depend on who started the tests.
os.environ["COLUMNS"] = "200"

from testbed.parallel import (
    WORKER,
    claim_ros_domain,
    machine_shared_or_alone,
    put_what_takes_longest_first,
)

# Before anything imports rclpy: the domain is read when a context is made.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(claim_ros_domain())

import pytest
from hypothesis import settings
from testbed.faults.table import pytest_terminal_summary  # noqa: F401
from testbed.left_over import leave_ros_domain, nodes_ended, processes_ended, watch_nodes
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import Bundle
from failure_monitor.bundle.folder import save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.decision import PolicyFormat, Rollout

# The machine may be busy: the time that an example takes means nothing.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


HAS_LEROBOT = find_spec("lerobot") is not None
if HAS_LEROBOT:
    import testbed.torchvision_operators  # noqa: F401


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not HAS_LEROBOT and item.get_closest_marker("lerobot") is not None:
        pytest.skip("needs LeRobot: make test-lerobot")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once what failed: a run that is cut off has no summary."""
    if report.outcome in ("failed", "rerun") and WORKER not in os.environ:
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = crash.message if crash else str(report.longrepr)
        what = f"{report.outcome}: {report.nodeid} ({report.when}, {report.duration:.0f} s)"
        lines = ["", what, *reason.splitlines()[:6], ""]
        sys.stdout.write("\n".join(lines))
        sys.stdout.flush()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if WORKER in os.environ:
        put_what_takes_longest_first(items)


@pytest.fixture(scope="module", autouse=True)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Share the machine with other processes of the run, unless the file runs alone."""
    alone = request.node.get_closest_marker("alone") is not None
    with machine_shared_or_alone(tmp_path_factory.getbasetemp().parent, alone=alone):
        yield


@pytest.fixture(scope="module", autouse=True)
def processes_end_with_their_file(machine: None) -> Iterator[None]:
    """Keep the processes of a file, and what the middleware remembers of it, from the next."""
    leave_ros_domain()
    with processes_ended():
        yield


@pytest.fixture(autouse=True)
def nodes_end_with_their_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the nodes of a test, and what the middleware remembers of it, from the next."""
    if request.node.get_closest_marker("ros") is None:
        yield
        return
    watch_nodes()
    leave_ros_domain()
    with nodes_ended():
        yield


@pytest.fixture(scope="module", autouse=True)
def ros_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what nodes write for themselves out of the home of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_HOME", str(tmp_path_factory.mktemp("ros_home")))
        yield


@pytest.fixture(autouse=True)
def own_ros_home(ros_home: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    """Keep the mark of a monitor that ended in a halt from the next test."""
    monkeypatch.setenv("ROS_HOME", str(tmp_path_factory.getbasetemp() / "ros_home" / token_hex(8)))


@pytest.fixture(scope="session")
def policy() -> PolicyFormat:
    return POLICY


# What is ignored here is ignored by children, whose interrupts and hang-ups are tested: a shell
# without job control ignores SIGINT for what runs in the background, and nohup ignores SIGHUP.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture(autouse=True)
def levels_of_logging() -> Iterator[None]:
    """Restore the levels that a command sets for its own process."""
    loggers = [logging.getLogger(name) for name in ("", "failure_monitor")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def rollouts() -> list[Rollout]:
    return [synthetic_rollout(seed) for seed in range(12)]


@pytest.fixture(scope="session")
def bundle(rollouts: list[Rollout]) -> Bundle:
    return calibrate(
        rollouts,
        POLICY,
        CalibrationSettings(scores=("rnd_oe", "ace"), rule="any", window=2, folds=3, jobs=1),
    )


@pytest.fixture(scope="session")
def time_varying_bundle(rollouts: list[Rollout]) -> Bundle:
    settings = CalibrationSettings(
        scores=("rnd_oe", "ace"), rule="any", window=2, folds=3, jobs=1, threshold="time-varying"
    )
    return calibrate(rollouts, POLICY, settings)


@pytest.fixture(scope="session")
def bundle_folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("bundles") / "synthetic"
    save(bundle, folder)
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory):
    """Return the paths of a small policy's encoder and sampler."""
    from testbed.exported_policy import (
        export_policy,  # torch takes seconds: only where it is needed
    )

    return export_policy(tmp_path_factory.mktemp("policy"))
