# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs are of the types that were recorded; without a record their names tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.bundle.description import BundleDescription, checked
from failure_monitor.bundle.input_types import (
    COMPRESSED_IMAGE,
    FLOAT32,
    FLOAT64,
    IMAGE,
    image_type,
    number_type,
)
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.schema import SchemaError


@pytest.fixture(scope="module")
def description() -> BundleDescription:
    rollouts = [synthetic_rollout(seed) for seed in range(9)]
    return calibrate(rollouts, POLICY, CalibrationSettings(scores=("ace",), jobs=1)).description


def test_what_was_recorded_counts(description: BundleDescription) -> None:
    types = {"/jpeg": COMPRESSED_IMAGE, "/raw/compressed": IMAGE, "/energy": FLOAT32}
    known = checked(replace(description, message_types=types))
    assert image_type("/jpeg", known) == COMPRESSED_IMAGE
    assert image_type("/raw/compressed", known) == IMAGE
    assert number_type("/energy", known) == FLOAT32
    assert image_type("/front", known) == IMAGE


def test_a_camera_by_another_name_is_as_unusual_as_all_that_were_recorded(
    description: BundleDescription,
) -> None:
    types = {"/jpeg": COMPRESSED_IMAGE, "/energy": FLOAT32}
    known = replace(description, message_types=types)
    assert image_type("/front/jpeg", known) == COMPRESSED_IMAGE


def test_older_bundles_and_other_topics_go_by_their_names(description: BundleDescription) -> None:
    recorded = {"/front/compressed": COMPRESSED_IMAGE}
    for known in (None, description, replace(description, message_types=recorded)):
        assert image_type("/cam/image_raw", known) == IMAGE
        assert image_type("/cam/image_raw/compressed", known) == COMPRESSED_IMAGE
        assert number_type("/energy", known) == FLOAT64


def test_a_type_that_no_input_has_is_rejected(description: BundleDescription) -> None:
    with pytest.raises(
        SchemaError, match="the type of an external score's, a camera's or a command's messages"
    ):
        checked(replace(description, message_types={"/energy": "std_msgs/msg/String"}))
