# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The Python API does what the commands do, and says the same when it cannot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed.command_line import run_command, write_rollout_bag
from testbed.repository import ROOT
from testbed.synthetic import synthetic_rollout

import failure_monitor
from failure_monitor import ReadingOptions, calibrate, evaluate, load_bundle
from failure_monitor.errors import FailureMonitorError

SETTINGS = {"scores": ("ace", "knn"), "window": 2, "seed": 3, "position_names": ("dx", "dy")}
OPTIONS = ("--scores", "ace,knn", "--window", 2, "--seed", 3, "--position-names", "dx,dy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def bags(folder: Path) -> Path:
    for seed in range(10):
        write_rollout_bag(folder / "bags" / f"rollout_{seed}", synthetic_rollout(seed))
    return folder / "bags"


@pytest.fixture(scope="module")
def labelled(folder: Path) -> Path:
    for seed in range(20, 24):
        path = folder / "labelled" / f"rollout_{seed}"
        write_rollout_bag(path, synthetic_rollout(seed), success=seed < 22)
    return folder / "labelled"


@pytest.fixture(scope="module")
def by_command(bags: Path, folder: Path) -> Path:
    done = run_command("calibrate", bags, *OPTIONS, "--output", folder / "by_command")
    assert done.returncode == 0, done.stderr
    return folder / "by_command"


def content(bundle: Path) -> dict[str, Any]:
    """All of a bundle but its date and what depends on it."""
    description = yaml.safe_load((bundle / "bundle.yaml").read_text())
    description.pop("created")
    return {
        "bundle.yaml": description,
        **{
            path.name: path.read_bytes()
            for path in bundle.iterdir()
            if path.name not in ("bundle.yaml", "bundle.sha256")
        },
    }


def test_calibrate_makes_the_bundle_of_the_command(bags: Path, by_command: Path, folder: Path):
    reported: list[str] = []
    calibration = calibrate(bags, folder / "by_api", **SETTINGS, report=reported.append)
    assert content(folder / "by_api") == content(by_command)
    assert [rollout.name for rollout in calibration.rollouts] == [
        rollout.name for rollout in calibration.rollout_set.rollouts
    ]
    assert any("fitted, fold 1 of" in step for step in reported)


def test_nothing_is_written_without_an_output(bags: Path, by_command: Path, folder: Path):
    before = sorted(folder.iterdir())
    calibration = calibrate([str(bags)], **SETTINGS)
    assert sorted(folder.iterdir()) == before
    loaded = load_bundle(str(by_command))
    assert calibration.bundle.promise() == loaded.promise()


def test_evaluate_finds_what_the_command_finds(labelled: Path, by_command: Path, tmp_path: Path):
    done = run_command("evaluate", by_command, labelled, "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    for bundle in (by_command, load_bundle(by_command)):
        assert json.loads(json.dumps(evaluate(bundle, labelled).to_json())) == found


def test_a_bundle_makes_a_monitor_whose_levels_are_those_of_the_rollout(by_command: Path):
    bundle = load_bundle(by_command)
    rollout = synthetic_rollout(50)
    monitor = bundle.monitor()
    assert isinstance(monitor, failure_monitor.FailureMonitor)
    levels = [monitor.update(decision).level for decision in rollout.decisions()]
    assert levels == pytest.approx(bundle.levels(rollout), nan_ok=True)


BAD_CALIBRATIONS: dict[str, tuple[dict[str, Any], tuple[object, ...]]] = {
    "an alpha that ten rollouts cannot support": ({"alpha": 0.01}, ("--alpha", 0.01)),
    "no such score": ({"scores": ["acee"]}, ("--scores", "acee")),
    "no such rule": ({"rule": "most"}, ("--rule", "most")),
    "no such threshold": ({"threshold": "wavy"}, ("--threshold", "wavy")),
    "other scores with FIPER's rule": (
        {"rule": "fiper", "scores": ["knn"]},
        ("--rule", "fiper", "--scores", "knn"),
    ),
    "too many folds": ({"folds": 20}, ("--folds", 20)),
    "no such kind of action": ({"action_kind": "force"}, ("--action-kind", "force")),
    "a policy of other actions": (
        {"position_names": ["x"]},
        ("--position-names", "x"),
    ),
    "a pause without its boundaries": (
        {"reading": ReadingOptions(pause=1.0)},
        ("--pause", 1.0),
    ),
    "a label file that is missing": (
        {"reading": ReadingOptions(labels=Path("missing.csv"))},
        ("--labels", "missing.csv"),
    ),
}


def sentence_of(call: Callable[[], object]) -> str:
    with pytest.raises(FailureMonitorError) as raised:
        call()
    return str(raised.value)


def printed(*arguments: object) -> str:
    done = run_command(*arguments)
    assert done.returncode in (1, 2)
    # An option that is rejected before anything is read is named first.
    return re.split(r"failure-monitor: |Invalid value for '\S+': ", done.stderr)[-1].strip()


@pytest.mark.slow
@pytest.mark.parametrize("bad", BAD_CALIBRATIONS)
def test_calibrate_rejects_what_the_command_rejects(bags: Path, tmp_path: Path, bad: str):
    settings, options = BAD_CALIBRATIONS[bad]
    output = tmp_path / "bundle"
    sentence = sentence_of(lambda: calibrate(bags, output, **settings))
    assert sentence == printed("calibrate", bags, "--output", output, *options)
    assert not output.exists()


@pytest.mark.slow
def test_sources_that_cannot_calibrate_are_rejected_in_the_same_words(
    bags: Path, labelled: Path, tmp_path: Path
):
    (tmp_path / "empty").mkdir()
    failed = labelled / "rollout_22"
    for sources in (tmp_path / "missing", tmp_path / "empty", failed):
        sentence = sentence_of(lambda paths=sources: calibrate(paths, alpha=0.4))
        output = ("--output", tmp_path / "bundle", "--alpha", 0.4)
        assert sentence == printed("calibrate", sources, *output)


@pytest.mark.slow
def test_evaluate_rejects_what_the_command_rejects(
    by_command: Path, labelled: Path, tmp_path: Path
):
    for bundle, sources, key in (
        (tmp_path / "missing", labelled, "group"),
        (by_command, tmp_path / "missing", "group"),
    ):
        sentence = sentence_of(lambda b=bundle, s=sources, k=key: evaluate(b, s, group_by=k))
        assert sentence == printed("evaluate", bundle, sources, "--group-by", key)
    choices = "by 'colour': choose group, task"
    assert choices in sentence_of(lambda: evaluate(by_command, labelled, group_by="colour"))
    assert choices in printed("evaluate", by_command, labelled, "--group-by", "colour")


def test_the_package_alone_loads_nothing_heavy():
    script = (
        "import failure_monitor, sys;"
        "assert 'calibrate' in dir(failure_monitor);"
        "print([name for name in ('numpy', 'torch', 'rclpy', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_all_that_it_names_is_there():
    for name in failure_monitor.__all__:
        assert getattr(failure_monitor, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'calibrated'"):
        failure_monitor.calibrated  # noqa: B018


@pytest.mark.slow
def test_the_page_shows_a_script_that_runs(bags: Path, labelled: Path, tmp_path: Path):
    page = (ROOT / "docs" / "python_api.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "bags").symlink_to(bags)
    (tmp_path / "labelled_bags").symlink_to(labelled)
    (tmp_path / "script.py").write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my_bundle" / "bundle.yaml").is_file()
    assert len(done.stdout.splitlines()) == 5 + 4


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"window": 0}, "a window of 0 decisions"),
        ({"executed_actions": 0}, "0 executed actions"),
        ({"control_period": -0.05}, "a control period of -0.05 s is invalid"),
        ({"reading": ReadingOptions(boundaries="naps")}, "no kind of boundary 'naps'"),
        ({"reading": ReadingOptions(jobs=-1)}, "-1 jobs"),
    ],
)
def test_what_the_types_of_options_reject_the_api_rejects(bags: Path, settings, sentence):
    assert sentence in sentence_of(lambda: calibrate(bags, **settings))


def test_one_name_and_one_path_may_be_texts(bags: Path, folder: Path):
    (folder / "labels.csv").write_text("rollout,outcome\nrollout_0,success\n")
    reading = ReadingOptions(labels=str(folder / "labels.csv"))
    calibration = calibrate(str(bags), scores="ace", window=2, reading=reading)
    assert [score.name for score in calibration.bundle.scores] == ["ace"]


@pytest.mark.slow
def test_of_two_faults_the_same_is_named_first(bags: Path, tmp_path: Path):
    settings = {"threshold": "wavy", "action_kind": "force", "reading": ReadingOptions(pause=1.0)}
    options = ("--threshold", "wavy", "--action-kind", "force", "--pause", 1.0)
    sentence = sentence_of(lambda: calibrate(bags, **settings))
    assert sentence == printed("calibrate", bags, "--output", tmp_path / "bundle", *options)
    assert "wavy" in sentence


def test_a_package_that_is_missing_is_named_with_its_extra(
    bags: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(
        sys.modules, "failure_monitor.calibration.fitting.random_network_distillation", False
    )
    sentence = sentence_of(
        lambda: calibrate(bags, scores="rnd_oe", reading=ReadingOptions(jobs=1))
    )
    assert "'torch' is needed and not installed" in sentence
    assert "failure_monitor[calibrate]" in sentence


@pytest.mark.slow
def test_a_script_without_a_guard_ends_with_a_sentence(bags: Path, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "from failure_monitor import ReadingOptions, calibrate\n"
        "from failure_monitor.executors import process_executor\n"
        "process_executor.MIN_SECONDS_FOR_PROCESSES = -1.0\n"
        f"calibrate({str(bags)!r}, scores=['ace', 'knn'], reading=ReadingOptions(jobs=2))\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "below `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
