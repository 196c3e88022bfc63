# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster gives what one process gives, and what is wrong with it is a sentence."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed.bags import write_bag
from testbed.command_line import run_here
from testbed.executed_work import end_on, gpus_here, tell_worker, undated
from testbed.repository import ROOT

from failure_monitor import ReadingOptions, calibrate, evaluate
from failure_monitor.bundle.folder import save
from failure_monitor.executors import ray_cluster
from failure_monitor.executors.outcome import WorkerEndedError
from failure_monitor.executors.ray_cluster import ClusterError, connected, reject_wants
from failure_monitor.executors.ray_executor import RayExecutor
from failure_monitor.missing_package import MissingPackageError
from failure_monitor.sources import rollout_store
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError

RAY = RayExecutor(2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two CPUs, in a folder of their own with a short path, as sockets need it."""
    ray = pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="ray_", dir="/tmp") as folder:
        ray.init(
            "local",
            num_cpus=2,
            num_gpus=1,  # on its word: Ray looks at none
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=200 * 2**20,
            _temp_dir=folder,
            runtime_env={"env_vars": {"PYTHONPATH": f"{ROOT}:{ROOT / 'test'}"}},
        )
        yield
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_gives_the_bundle_and_the_figures_of_one_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed in range(9):
        write_bag(tmp_path / "bags" / f"run_{seed}", 12 + seed, seed=seed, success=True)
    (tmp_path / "bags" / "torn").mkdir()
    shutil.copy(tmp_path / "bags" / "run_0" / "metadata.yaml", tmp_path / "bags" / "torn")
    found = []
    for executor in ("processes", "ray"):
        reading = ReadingOptions(executor=executor, jobs=2, skips_unreadable=True)
        made = calibrate(tmp_path / "bags", scores=["ace", "rnd_oe"], folds=3, reading=reading)
        save(made.bundle, tmp_path / executor)
        figures = evaluate(made.bundle, tmp_path / "bags", reading=reading).to_json()
        found.append((undated(tmp_path / executor), figures))
        assert sum("left out:" in text and "torn" in text for text in caplog.messages) == 2
        caplog.clear()
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_writes_and_reads_a_store_as_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setattr(rollout_store, "MAX_PART_ROLLOUTS", 4)
    for seed in range(9):
        # The first is the last to be read.
        write_bag(tmp_path / "bags" / f"run_{seed}", 40 - 3 * seed, seed=seed, success=True)
    parts, found = [], []
    for executor in ("serial", "ray"):
        store = tmp_path / f"store_{executor}"
        how = ("--executor", executor, "--jobs", 2)
        done = run_here("archive", tmp_path / "bags", *how, "--output", store)
        assert "wrote 9 rollouts" in done.stdout, done.stderr
        parts.append({part.name for part in (store / "parts").iterdir()})
        reading = ReadingOptions(executor=executor, jobs=2)
        source = tmp_path / "store_serial"
        for name, address in (("path", source), ("address", f"file://{source}")):
            made = calibrate(address, scores=["ace", "rnd_oe"], folds=3, reading=reading)
            save(made.bundle, tmp_path / executor / name)
            figures = evaluate(made.bundle, address, reading=reading).to_json()
            found.append((undated(tmp_path / executor / name), figures))
    assert len(parts[0]) == 3
    assert parts[0] == parts[1]
    assert all(other == found[0] for other in found[1:])


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_ends_is_named_and_others_are_where_the_command_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "run")
    items = ["a", "once", "b"]
    assert RAY.map(end_on, tmp_path, items) == items
    left_out = RAY.map(end_on, tmp_path, ["a", "deadly"], lost=lambda item, why: f"{item} {why}")
    assert left_out == [
        "a",
        "deadly ended every worker that worked on it (WorkerCrashedError)",
    ]
    with pytest.raises(WorkerEndedError, match="piece 1 of 1 of the work ended every worker"):
        RAY.map(end_on, tmp_path, ["deadly"])
    monkeypatch.chdir(tmp_path)
    assert RAY.map(tell_worker, None, [Path("run")])[0].startswith("True on the worker on node ")
    assert RayExecutor(2, gpus=1.0).map(gpus_here, None, [0, 1]) == ["0", "0"]
    with pytest.raises(ClusterError, match="no node of the Ray cluster has 99 GPUs"):
        RayExecutor(2, gpus=99.0).map(tell_worker, None, [bag])


def test_a_path_that_a_worker_does_not_see_is_named_with_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from failure_monitor.executors.executor import SerialExecutor
    from failure_monitor.executors.present_work import present_work

    bag = write_bag(tmp_path / "run")

    class Elsewhere(SerialExecutor):
        def map(self, work, shared, items, **settings):
            bag.rename(tmp_path / "unseen")
            with present_work(worker="the worker on node 10.0.0.7"):
                return super().map(work, shared, items, **settings)

    with pytest.raises(SourceError, match=r"run does not exist on the worker on node 10\.0\.0\.7"):
        read_rollouts([bag], executor=Elsewhere())


def test_a_cluster_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unheard.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(ClusterError, match=f"no Ray cluster at {address}, which RAY_ADDRESS"):
            connected(2)


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (
            RuntimeError("Version mismatch: The cluster was started with:\n Ray: 2.1\n"),
            r"of another version of Ray or Python .*The cluster was started with: Ray: 2\.1",
        ),
        (ConnectionError("Could not find any\nrunning"), r"no Ray cluster .*Could not find any\)"),
        (ValueError("no such address"), "no Ray cluster"),
    ],
)
def test_what_ray_says_of_a_cluster_becomes_a_sentence(
    raised: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")

    def refuse(*_, **__):
        raise raised

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ClusterError, match=sentence):
        connected(2)


def test_a_local_cluster_that_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def fail(*_, **__):
        raise Exception("The current node timed out during startup. And more.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ClusterError, match="cannot start a cluster on this machine"):
        connected(2)


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failure_monitor.missing_package.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'failure_monitor\[ray\]'"):
        connected(2)


class Nodes:
    """Ray, as far as it knows nodes and their versions of this package."""

    def __init__(self, **versions: str) -> None:
        self.versions = versions
        self.util = self
        self.scheduling_strategies = self

    def NodeAffinitySchedulingStrategy(self, node: str, soft: bool) -> str:  # noqa: N802
        return node

    def nodes(self) -> list[dict[str, object]]:
        resources = {"GPU": 1.0, "memory": 2.0**30}
        return [
            {"NodeID": n, "NodeManagerAddress": n, "Alive": True, "Resources": resources}
            for n in self.versions
        ]

    def remote(self, function):
        return self

    def options(self, *, scheduling_strategy: str, **_):
        return type("Asked", (), {"remote": staticmethod(lambda: scheduling_strategy)})

    def wait(self, asked, **_):
        return asked, []

    def get(self, node: str) -> str:
        return self.versions[node]


def test_a_node_with_another_version_of_this_package_is_named() -> None:
    own = ray_cluster.version()
    ray_cluster._reject_strange_workers(Nodes(a=own, b=own))
    with pytest.raises(ClusterError, match=r"node b of the Ray cluster has failure_monitor 0\.0"):
        ray_cluster._reject_strange_workers(Nodes(a=own, b="failure_monitor 0.0"))


def test_what_no_node_has_is_not_waited_for() -> None:
    reject_wants(Nodes(a="1"), 1.0, 2**30)
    with pytest.raises(ClusterError, match="2 GPUs for a worker, the largest has 1"):
        reject_wants(Nodes(a="1"), 2.0, None)
    with pytest.raises(ClusterError, match="--worker-memory"):
        reject_wants(Nodes(a="1"), 0.0, 2**31)


def test_ray_is_not_imported_unless_it_is_chosen() -> None:
    import subprocess

    code = (
        "import sys; import failure_monitor.cli.calibrate, failure_monitor.sources.reading_options"
        " as o; o.ReadingOptions().check(); assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
