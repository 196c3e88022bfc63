# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands refuse: one sentence, the right exit code, and nothing half-written."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from testbed.command_line import (
    COMMAND,
    interrupt_while_it_reads,
    run_command,
    run_here,
    write_rollout_bag,
)
from testbed.synthetic import synthetic_rollout

# Half of these run commands to their end, or until they are interrupted: seconds each.
pytestmark = pytest.mark.slow


def refusal(*arguments: object) -> str:
    """Return the one sentence of a command that runs in this process."""
    done = run_here(*arguments)
    assert done.exit_code == 1, done.output
    return only_sentence(done.stderr)


def only_sentence(errors: str) -> str:
    assert "Traceback" not in errors
    assert errors.count("failure-monitor: ") == 1, errors
    return errors.split("failure-monitor: ")[1].strip()


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve successes."""
    folder = tmp_path_factory.mktemp("recorded")
    for seed in range(12):
        write_rollout_bag(folder / "bags" / f"run_{seed:02d}", synthetic_rollout(seed))
    return folder / "bags"


@pytest.fixture(scope="module")
def tests(bags: Path) -> Path:
    """Two successes and two failures."""
    for seed in range(20, 24):
        write_rollout_bag(
            bags.parent / "tests" / f"test_{seed}", synthetic_rollout(seed), success=seed < 22
        )
    return bags.parent / "tests"


@pytest.fixture(scope="module")
def bundle(bags: Path) -> Path:
    done = run_command(
        "calibrate", bags, "--scores", "ace,knn", "--output", bags.parent / "bundle"
    )
    assert done.returncode == 0, done.stderr
    return bags.parent / "bundle"


def with_quick_scores(*arguments: object) -> list[object]:
    return ["calibrate", *arguments, "--scores", "ace,knn", "--jobs", 1]


# Rollouts that cannot calibrate


def test_no_rollout_one_and_failures_alone_are_each_refused(bags, tmp_path):
    (tmp_path / "empty").mkdir()
    output = ("--output", tmp_path / "bundle")
    said = refusal(*with_quick_scores(tmp_path / "empty", *output))
    assert str(tmp_path / "empty") in said
    said = refusal(*with_quick_scores(bags / "run_00", *output))
    assert said.startswith("1 calibration rollout")
    assert "record 9 successful rollouts" in said
    for seed in range(10):
        write_rollout_bag(
            tmp_path / "failed" / f"run_{seed}", synthetic_rollout(seed), success=False
        )
    said = refusal(*with_quick_scores(tmp_path / "failed", *output))
    assert "no rollout is left to calibrate on" in said
    assert not (tmp_path / "bundle").exists()


def test_a_success_that_a_label_calls_a_failure_does_not_calibrate(bags, tmp_path):
    (tmp_path / "labels.csv").write_text("rollout,outcome\nrun_03,failure\n")
    done = run_here(
        *with_quick_scores(bags, "--labels", tmp_path / "labels.csv"),
        *("--output", tmp_path / "bundle"),
    )
    assert done.exit_code == 0
    assert "1 of 12 rollouts failed, by what is known of them" in " ".join(done.output.split())
    assert "run_03" not in (tmp_path / "bundle" / "bundle.yaml").read_text()


def test_labels_and_rollouts_that_do_not_belong_together_are_refused(bags, tmp_path):
    labels, output = tmp_path / "labels.csv", ("--output", tmp_path / "bundle")
    labels.write_text("rollout,outcome\nrun_99,success\n")
    said = refusal(*with_quick_scores(bags, "--labels", labels, *output))
    assert "labels 'run_99', and there is no such rollout, while run_00, run_01" in said
    unlabelled = tmp_path / "unlabelled"
    for seed in range(10):
        write_rollout_bag(unlabelled / f"run_{seed}", synthetic_rollout(seed), success=None)
    labels.write_text("rollout,outcome\nrun_0,success\n")
    said = refusal(*with_quick_scores(unlabelled, "--labels", labels, *output))
    assert "has no outcome for run_1" in said
    assert not (tmp_path / "bundle").exists()


def test_bags_of_two_policies_and_of_mixed_sizes_are_refused(bags, tmp_path):
    other = synthetic_rollout(50)
    smaller = {
        "embeddings": other.embeddings[:, :4],
        "chunks": other.chunks[:, :8],
    }
    for what, values in smaller.items():
        odd = write_rollout_bag(
            tmp_path / what, type(other)(**{**vars(other), what: np.ascontiguousarray(values)})
        )
        said = refusal(*with_quick_scores(bags, odd, "--output", tmp_path / "bundle"))
        assert f"{what} ({odd})" in said
        assert "not of the same policy" in said
    assert not (tmp_path / "bundle").exists()


def test_a_bag_that_is_cut_off_gives_no_half_rollout(bags, tmp_path):
    cut = write_rollout_bag(tmp_path / "bags" / "cut", synthetic_rollout(60))
    file = cut / "cut.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = refusal(*with_quick_scores(bags, tmp_path / "bags", "--output", tmp_path / "bundle"))
    assert str(cut) in said
    assert "readable" in said or "can be read" in said, said
    assert not (tmp_path / "bundle").exists()


def test_a_topic_that_is_missing_names_those_there_are(bags, tmp_path):
    said = refusal(
        *with_quick_scores(bags, "--embedding-topic", "/features", "--output", tmp_path / "bundle")
    )
    assert "/features" in said
    assert "/policy/embedding" in said


# No room, no right


def writers(bags: Path, bundle: Path, tests: Path, out: Path) -> dict[str, list[object]]:
    """Every command that writes, and what it writes to."""
    return {
        "calibrate": with_quick_scores(bags, "--output", out / "result"),
        "archive": ["archive", bags, "--output", out / "result.npz", "--jobs", 1],
        "inspect": ["inspect", bundle, "--json", out / "result.json"],
        "evaluate": ["evaluate", bundle, tests, "--json", out / "result.json"],
        "audit": ["audit", bags, "--json", out / "result.json", "--jobs", 1],
        "audit --drop": ["audit", bags, "--drop", out / "result.txt", "--jobs", 1],
    }


WRITERS = ["calibrate", "archive", "inspect", "evaluate", "audit", "audit --drop"]


@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_leaves_nothing_half_written(command, bags, bundle, tests, tmp_path):
    arguments = writers(bags, bundle, tests, tmp_path)[command]

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))

    done = run_command(*arguments, preexec_fn=limit_files)
    assert done.returncode == 1, done.stdout + done.stderr
    said = only_sentence(done.stderr)
    assert "cannot" in said
    assert str(tmp_path / "result") in said
    assert "File too large" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", WRITERS)
def test_a_place_that_cannot_be_written_to_is_named(command, bags, bundle, tests):
    # Nobody may write there, not even the superuser.
    arguments = writers(bags, bundle, tests, Path("/proc"))[command]
    done = run_here(*arguments)
    # Before anything is read, as for any option that cannot be.
    assert done.exit_code == 2, done.output
    assert "cannot write /proc/result" in only_sentence(done.stderr)


@pytest.fixture(scope="module")
def many_bags(bags: Path) -> Path:
    """As many as take a second to read."""
    folder = bags.parent / "many"
    for number in range(20):
        for bag in bags.iterdir():
            copytree(bag, folder / f"{bag.name}_{number}")
    return folder


@pytest.mark.parametrize("command", WRITERS)
def test_an_interrupt_leaves_nothing_half_written(command, many_bags, bundle, tmp_path):
    arguments = writers(many_bags, bundle, many_bags, tmp_path)[command]
    if command == "inspect":
        arguments = ["inspect", many_bags, "--json", tmp_path / "result.json"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, errors = interrupt_while_it_reads(process, many_bags)
    finally:
        process.kill()
    # A shell shows both as 130: Python ends by the signal where it came into code run by `exec`.
    assert process.returncode in (130, -signal.SIGINT)
    assert errors.endswith("interrupted; nothing was written\n")
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


# The same again


@pytest.fixture(
    scope="module", params=[("--scores", "ace,knn"), ("--rule", "fiper", "--folds", 2)]
)
def twice(request, bags, tmp_path_factory) -> Iterator[tuple[Path, Path]]:
    """The same rollouts and seed, once with one process and once with two."""
    folder = tmp_path_factory.mktemp("twice")
    for jobs in (1, 2):
        done = run_command(
            *("calibrate", bags, *request.param, "--seed", 3),
            *("--jobs", jobs, "--output", folder / str(jobs)),
        )
        assert done.returncode == 0, done.stderr
    return folder / "1", folder / "2"


def test_the_same_bags_and_seed_give_the_same_bundle_but_for_the_date(twice):
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in twice
    )
    assert first.keys() == second.keys()
    descriptions = [files.pop("bundle.yaml").decode().splitlines() for files in (first, second)]
    assert first == second
    differing = [one for one, other in zip(*descriptions, strict=True) if one != other]
    assert all(line.startswith("created: ") for line in differing)
