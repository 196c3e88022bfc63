# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What policies stated when they were recorded, from bags through the commands to the bundle."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from testbed.command_line import run_here, write_rollout_bag
from testbed.synthetic import POLICY, STATED, synthetic_rollout

from failure_monitor import calibrate, evaluate
from failure_monitor.bundle.folder import load
from failure_monitor.policy_description import PolicyDescription
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError

ACT = replace(STATED, execution="real_time_chunking", guided_actions=1)
OTHER = replace(ACT, checkpoint="b" * 64, checkpoint_name="outputs/other")
SETTINGS = ("--scores", "ace", "--alpha", "0.3", "--folds", "2", "--jobs", "1")


def write(folder: Path, stated: PolicyDescription | None, seeds: range, **options: bool) -> Path:
    for seed in seeds:
        write_rollout_bag(
            folder / f"run_{seed}", synthetic_rollout(seed), stated=stated, **options
        )
    return folder


def text_of(*arguments: object) -> str:
    """What a command prints, without the tables' lines, with single spaces."""
    result = run_here(*arguments)
    assert result.exit_code == 0, result.output
    return re.sub(r"\s+", " ", re.sub(r"[─-╿]", " ", result.stdout))


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bags") / "act", ACT, range(6))


@pytest.fixture(scope="module")
def made(bags: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "act"
    result = run_here("calibrate", bags, "--output", folder, *SETTINGS)
    assert result.exit_code == 0, result.output
    return folder


def test_a_bundle_names_its_checkpoint_and_needs_no_option(made: Path) -> None:
    bundle = load(made)
    assert bundle.description.stated_policy == ACT
    expected = replace(
        POLICY, executed_actions=2, control_period=0.05, guided_actions=1, action_kind="delta"
    )
    assert bundle.policy == expected


def test_bundle_and_sources_show_which_policy_they_are_of(made: Path, bags: Path) -> None:
    for text in (text_of("inspect", made), text_of("inspect", bags)):
        assert "policy act " in text
        assert "a" * 64 in text
        assert "outputs/act" in text
        assert "execution real time chunking" in text
        assert "samples differ by noise" in text
        assert "an action every 0.05 s" in text
        assert "guided the first 1 actions of a chunk" in text
        assert "usually 2 actions" in text
        assert "a delta; dx, dy span positions" in text
    assert "/policy/format std_msgs/msg/String 6" in text_of("inspect", bags)


def test_the_json_of_sources_holds_what_was_stated(bags: Path, tmp_path: Path) -> None:
    text_of("inspect", bags, "--json", tmp_path / "bags.json")
    content = json.loads((tmp_path / "bags.json").read_text())
    assert PolicyDescription.from_json(json.dumps(content["stated_policy"])) == ACT


def test_bundles_of_two_checkpoints_show_both(made: Path, tmp_path: Path) -> None:
    others = write(tmp_path / "bags", OTHER, range(6))
    text_of("calibrate", others, "--output", tmp_path / "other", *SETTINGS)
    text_of("inspect", made, tmp_path / "other", "--json", tmp_path / "differences.json")
    found = json.loads((tmp_path / "differences.json").read_text())["differences"]
    assert {"what": "stated_policy.checkpoint", "first": "a" * 64, "second": "b" * 64} in found
    silent = write(tmp_path / "silent", None, range(6))
    text_of("calibrate", silent, "--output", tmp_path / "none", *SETTINGS)
    assert "stated_policy.policy act –" in text_of("inspect", made, tmp_path / "none")


def test_rollouts_of_another_checkpoint_are_not_evaluated(made: Path, tmp_path: Path) -> None:
    others = write(tmp_path / "others", OTHER, range(10, 12))
    result = run_here("evaluate", made, others, "--jobs", "1")
    assert result.exit_code == 1
    sentence = " ".join(result.stderr.split())
    assert "is of another policy, by what it stated, than the bundle" in sentence
    assert "(checkpoint bbbbbbbbbbbb (outputs/other) against aaaaaaaaaaaa (outputs/act))" in (
        sentence
    )
    with pytest.raises(SourceError, match="another policy"):
        evaluate(made, others)


def test_an_older_bundle_rejects_only_what_it_knows(tmp_path: Path) -> None:
    older = write(tmp_path / "older", None, range(6))
    options = ("--action-kind", "delta", "--position-names", "dx,dy", "--executed-actions", "2")
    text_of("calibrate", older, "--output", tmp_path / "bundle", *SETTINGS, *options)
    tested = write(tmp_path / "tested", ACT, range(10, 12))
    write(tested, ACT, range(12, 14), success=False)
    text_of("evaluate", tmp_path / "bundle", tested, "--jobs", "1")
    slower = write(tmp_path / "slower", replace(ACT, executed_actions=3), range(10, 12))
    result = run_here("evaluate", tmp_path / "bundle", slower, "--jobs", "1")
    assert "executed actions 3 against 2" in " ".join(result.stderr.split())


def test_a_contradicting_option_is_rejected_with_both(bags: Path, tmp_path: Path) -> None:
    result = run_here(
        *("calibrate", bags, "--output", tmp_path / "bundle", "--action-kind", "position"),
        *SETTINGS,
    )
    assert result.exit_code == 2
    sentence = " ".join(result.stderr.split())
    assert "'--action-kind position' contradicts the policy of run_0" in sentence
    assert "stated delta: leave the option out" in sentence
    assert "--format-topic ''" in sentence
    agreeing = calibrate(
        bags,
        action_kind="delta",
        position_names=("dx", "dy"),
        executed_actions=2,
        scores="ace",
        alpha=0.3,
    )
    assert agreeing.bundle.description.stated_policy == ACT
    text_of(
        *("calibrate", bags, "--output", tmp_path / "bundle", "--action-kind", "position"),
        *("--format-topic", "", *SETTINGS),
    )
    bundle = load(tmp_path / "bundle")
    assert bundle.description.stated_policy is None
    assert bundle.policy.action_kind == "position"


def test_what_was_fitted_on_must_be_of_the_same_checkpoint(bags: Path, tmp_path: Path) -> None:
    others = write(tmp_path / "others", OTHER, range(20, 26))
    result = run_here(
        "calibrate", bags, "--fit", others, "--output", tmp_path / "bundle", *SETTINGS
    )
    assert result.exit_code == 1
    assert "is of another policy, by what it stated" in " ".join(result.stderr.split())


def test_the_audit_drops_a_rollout_of_another_checkpoint(tmp_path: Path) -> None:
    folder = write(tmp_path / "bags", ACT, range(3))
    write(folder, OTHER, range(3, 4))
    # One that states nothing is no other policy.
    write(folder, None, range(4, 5))
    result = run_here("audit", folder, "--jobs", "1")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert (
        "drop run_3: another policy: checkpoint bbbbbbbbbbbb (outputs/other) against aaaaaaaaaaaa "
        "(outputs/act) of most" in text
    )
    assert text.count("another policy") == 1


def test_a_label_and_an_archive_keep_what_was_stated(tmp_path: Path) -> None:
    bag = write_rollout_bag(tmp_path / "bag", synthetic_rollout(0), success=None, stated=ACT)
    text_of("label", bag, "--outcome", "success")
    text_of("archive", bag, "--output", tmp_path / "bag.npz")
    for source in (bag, tmp_path / "bag.npz"):
        read = read_rollouts([source])
        assert read.stated_policy == ACT
        assert read.rollouts[0].success is True
