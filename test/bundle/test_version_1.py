# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Bundles of schema version 1, in `version_1/`, are read and judge as they did.

They were calibrated on ten rollouts of two tasks by the last version that wrote them, which also
computed `levels.json`.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from testbed.synthetic import synthetic_rollout

from failure_monitor.bundle.folder import BundleError, load, save
from failure_monitor.decision import Rollout

FOLDER = Path(__file__).with_name("version_1")
LEVELS = json.loads((FOLDER / "levels.json").read_text())


def stray() -> Rollout:
    rollout = synthetic_rollout(51, decisions=14)
    rollout.embeddings[6:] += np.float32(0.4)
    rollout.chunks[6:] *= np.float32(1.5)
    return rollout


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("task", ["pick", "place"])
def test_its_levels_are_what_they_were(name, task):
    bundle = load(FOLDER / name)
    for rollout, expected in zip(
        (synthetic_rollout(50, decisions=14), stray()), LEVELS[name][task], strict=True
    ):
        rollout = dataclasses.replace(rollout, task=task)
        monitor = bundle.monitor(task)
        verdicts = [monitor.update(decision) for decision in rollout.decisions()]
        # Scores compute in single precision, and not always in the same order.
        np.testing.assert_allclose(bundle.levels(rollout), expected, rtol=1e-6)
        np.testing.assert_allclose([each.level for each in verdicts], expected, rtol=1e-6)
        assert {each.rollouts for each in verdicts} == {1}
        assert all(each.rollouts_below == each.calls_for_alarm for each in verdicts)


@pytest.mark.parametrize("name", LEVELS)
def test_it_judges_the_same_after_it_was_written_again(name, tmp_path):
    before = load(FOLDER / name)
    save(before, tmp_path / "again")
    rollout = dataclasses.replace(stray(), task="pick")
    np.testing.assert_array_equal(load(tmp_path / "again").levels(rollout), before.levels(rollout))


def test_a_constant_threshold_that_is_not_stated_is_refused(tmp_path):
    content = yaml.safe_load((FOLDER / "mean" / "bundle.yaml").read_text())
    content["scores"][1].pop("spread")
    (tmp_path / "bundle.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(BundleError, match="needs every score's centre and spread"):
        load(tmp_path)
