# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What every test runs in: a ROS domain of its own, and small rollouts made by a formula."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

# Nodes and programs that tests start find what tests share.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# Before anything imports rclpy: the domain is read when a context is made.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(20, 100))

import pytest
from hypothesis import settings
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.bundle import Bundle, save
from failure_monitor.calibration.calibrate import CalibrationSettings, calibrate
from failure_monitor.decision import PolicyFormat, Rollout

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture(scope="session")
def policy() -> PolicyFormat:
    return POLICY


# A shell without job control starts what runs in the background with SIGINT ignored, which children
# inherit: those under test could not be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def levels_of_logging() -> Iterator[None]:
    """What a command sets for its own process does not reach the tests that come after."""
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
    """The paths of a small policy's encoder and sampler."""
    from testbed.exported_policy import (
        export_policy,  # torch takes seconds: only where it is needed
    )

    return export_policy(tmp_path_factory.mktemp("policy"))
