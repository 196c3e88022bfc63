# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Many sources: read by several processes, in little memory, with progress, until interrupted."""

from __future__ import annotations

import json
import logging
import os
import pty
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from testbed.bags import (
    BEGIN,
    PERIOD,
    SECOND,
    STORE,
    BagBuilder,
    decision_arrays,
    header,
    write_bag,
)
from testbed.command_line import COMMAND, interrupt_while_it_reads

from failure_monitor.errors import UsageError
from failure_monitor.executors import process_executor
from failure_monitor.executors.executor import SerialExecutor
from failure_monitor.executors.outcome import Outcome
from failure_monitor.sources import reading
from failure_monitor.sources.reading import ReadSoFar
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError, Topics


@pytest.fixture
def by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_executor, "MIN_SECONDS_FOR_PROCESSES", -1.0)


@pytest.mark.usefixtures("by_processes")
def test_processes_give_what_one_gives_in_the_same_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed, decisions in enumerate((3, 30, 5, 9)):
        write_bag(tmp_path / f"run_{seed}", decisions, seed=seed)
    with BagBuilder(tmp_path / "run_4") as bag:
        embeddings, chunks = decision_arrays(2, seed=4)
        bag.embedding(embeddings[0], BEGIN)
        bag.chunks(chunks[0], BEGIN)
        bag.chunks(chunks[1], BEGIN + PERIOD)
    alone = read_rollouts([tmp_path], jobs=1)
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    together = read_rollouts([tmp_path], jobs=2)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == said
    assert said[0][0] == logging.WARNING
    assert alone.policy == together.policy
    for one, other in zip(alone.rollouts, together.rollouts, strict=True):
        assert (one.name, one.sha256, one.success) == (other.name, other.sha256, other.success)
        np.testing.assert_array_equal(one.chunks, other.chunks)


@pytest.mark.usefixtures("by_processes")
def test_what_a_process_refuses_is_refused(tmp_path: Path) -> None:
    for seed in range(3):
        write_bag(tmp_path / f"run_{seed}", seed=seed)
    (tmp_path / "run_1" / "run_1.mcap").write_bytes(b"")
    with pytest.raises(SourceError, match=r"run_1: the bag is damaged"):
        read_rollouts([tmp_path], jobs=2)
    with pytest.raises(UsageError, match="two meanings"):
        read_rollouts([tmp_path], Topics(success="/rollout/active"), jobs=2)


class Deadly(SerialExecutor):
    """Has workers of which none survives a bag called deadly."""

    def map(self, work, shared, items, *, lost, **settings):
        return [
            lost(item, "ended every process that worked on it")
            if item.path.name == "deadly"
            else work(shared, item)
            for item in items
        ]


def test_a_source_that_no_worker_survives_is_refused_or_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bag, deadly = (write_bag(tmp_path / name, seed=n) for n, name in enumerate(("run", "deadly")))
    with pytest.raises(SourceError) as refused:
        read_rollouts([bag, deadly], executor=Deadly())
    assert str(refused.value).startswith(f"{deadly} ended every process")
    assert "--skip-unreadable" in str(refused.value)
    read = read_rollouts([bag, deadly], executor=Deadly(), skips_unreadable=True)
    assert [rollout.name for rollout in read.rollouts] == ["run"]
    assert f"left out: {deadly} ended every process" in caplog.text
    with pytest.raises(SourceError, match="deadly ended"):
        read_rollouts([deadly], executor=Deadly(), skips_unreadable=True)


def test_processes_are_started_once_they_pay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(4):
        write_bag(tmp_path / f"run_{seed}", seed=seed)
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(
        "failure_monitor.executors.process_executor.time.monotonic", lambda: next(clock)
    )
    started = []

    def do(pieces, options, begin):
        started.append((begin, pieces.executor.jobs))
        for place in range(begin, len(pieces.items)):
            pieces.outcomes.add(place, Outcome(pieces.work(options, pieces.items[place])))

    monkeypatch.setattr(process_executor._Pieces, "do", do)
    monkeypatch.setattr(reading, "_at_intervals", lambda: lambda share: None)
    assert len(read_rollouts([tmp_path], jobs=3).rollouts) == 4
    # By the clock the first bag took seconds, so that the others will take three times as long.
    assert started == [(1, 3)]
    monkeypatch.setattr(process_executor, "MIN_SECONDS_FOR_PROCESSES", 30.0)
    assert len(read_rollouts([tmp_path], jobs=3).rollouts) == 4
    assert len(read_rollouts([tmp_path], jobs=1).rollouts) == 4
    assert started == [(1, 3)]


def test_progress_rises_to_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "REPORT_PERIOD", 0.0)
    for seed in range(3):
        write_bag(tmp_path / f"run_{seed}", 600, seed=seed, storage="mcap uncompressed")
    told: list[ReadSoFar] = []
    read_rollouts([tmp_path], report=told.append)
    sizes = [so_far.size for so_far in told]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 6
    assert told[-1] == ReadSoFar(3, 3, told[-1].of_size, told[-1].of_size)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert told[-1].of_size == sum(path.stat().st_size for path in files)


SLOW = """
import os, sys, time
from pathlib import Path
from failure_monitor.executors import process_executor
from failure_monitor.sources import reading
from failure_monitor.sources.source import BagOptions, SourceContents

class SlowKind:
    def read(self, path, options, advance):
        if path.name != "0":  # so that one process has nothing to do
            os.write(1, b"reading\\n")  # in one piece, as two processes write
            time.sleep(120)
        return SourceContents((), ())

if __name__ == "__main__":
    process_executor.MIN_SECONDS_FOR_PROCESSES = -1.0
    executor = process_executor.ProcessExecutor(3)
    sources = [reading.Found(Path(str(place)), SlowKind(), 1) for place in range(3)]
    try:
        reading.read_all(sources, BagOptions(), executor=executor, report=lambda so_far: None)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture
def slow_reading(tmp_path: Path):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert [process.stdout.readline() for _ in range(2)] == ["reading\n"] * 2
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3
    yield process, children
    for one in (*children, psutil.Process()):
        if one.pid != os.getpid() and one.is_running():
            one.kill()
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["alone", "as a terminal does"])
def test_an_interrupt_ends_all_processes_at_once(slow_reading, send) -> None:
    process, children = slow_reading
    send(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert (output, errors) == ("interrupted\n", "")
    assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.mark.slow
def test_an_interrupt_is_for_the_command_to_act_upon(slow_reading) -> None:
    process, children = slow_reading
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 3
    for worker in workers:
        worker.send_signal(signal.SIGINT)
    assert psutil.wait_procs(workers, timeout=2)[0] == []
    assert process.poll() is None


@pytest.mark.slow
def test_processes_end_with_a_command_that_is_killed(slow_reading) -> None:
    process, children = slow_reading
    process.kill()
    assert psutil.wait_procs(children, timeout=20)[1] == []


def write_camera_bag(path: Path, images: int) -> None:
    """Ten decisions among camera images of a megabyte each."""
    embeddings, chunks = decision_arrays(10)
    picture = np.zeros(1 << 20, np.uint8)
    with BagBuilder(path, "mcap uncompressed") as bag:
        for index in range(images):
            time = BEGIN + index * SECOND // 30
            message = STORE.types["sensor_msgs/msg/CompressedImage"](
                header=header(time), format="jpeg", data=picture
            )
            bag.write("/camera/image/compressed", message, time)
            if index % (images // 10) == 0:
                decision = 10 * index // images
                bag.embedding(embeddings[decision], time)
                bag.chunks(chunks[decision], time)


PEAK = """
import resource, sys
from pathlib import Path
from failure_monitor.sources.rollouts import read_rollouts
rollouts = read_rollouts([Path(path) for path in sys.argv[1:]]).rollouts
assert all(len(rollout) == 10 for rollout in rollouts)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_megabytes(*bags: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, bags)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def test_memory_does_not_grow_with_the_size_of_bags(tmp_path: Path) -> None:
    write_camera_bag(tmp_path / "small", 20)
    write_camera_bag(tmp_path / "large", 200)
    small, large = (peak_megabytes(tmp_path / name) for name in ("small", "large"))
    assert large < small + 20


@pytest.mark.parametrize("storage", ["sqlite3", "ros1", "mcap"])
def test_memory_holds_no_messages_that_nobody_asked_for(tmp_path: Path, storage: str) -> None:
    embeddings, chunks = decision_arrays(10)
    for name, images in (("small", 10), ("large", 150)):
        with BagBuilder(tmp_path / f"{name}.bag", storage) as bag:
            noise = np.random.default_rng(0).integers(0, 256, 1 << 20).astype(np.uint8)
            for index in range(images):
                message = STORE.types["sensor_msgs/msg/CompressedImage"](
                    header=header(BEGIN), format="jpeg", data=noise
                )
                bag.write("/camera", message, BEGIN + index)
            for index in range(10):
                bag.embedding(embeddings[index], BEGIN + index * PERIOD)
                bag.chunks(chunks[index], BEGIN + index * PERIOD)
    small, large = (peak_megabytes(tmp_path / f"{name}.bag") for name in ("small", "large"))
    assert large < small + 20


def command(*arguments: object, **settings) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def test_a_command_that_is_interrupted_writes_nothing(tmp_path: Path) -> None:
    for seed in range(20):
        write_bag(tmp_path / "bags" / f"run_{seed}", 400, seed=seed)
    process = command(
        *("archive", tmp_path / "bags", "--output", tmp_path / "out.npz", "--jobs", "1")
    )
    try:
        output, errors = interrupt_while_it_reads(process, tmp_path / "bags")
    finally:
        process.kill()
    # A shell shows both as 130: Python ends by the signal where it came into code run by `exec`.
    assert process.returncode in (130, -signal.SIGINT)
    assert (output, errors) == ("", "interrupted; nothing was written\n")
    assert [path.name for path in tmp_path.iterdir()] == ["bags"]


@pytest.mark.slow
def test_a_calibration_that_is_interrupted_leaves_no_half_bundle(tmp_path: Path) -> None:
    for seed in range(12):
        write_bag(tmp_path / "bags" / f"run_{seed}", 20, seed=seed)
    process = command(
        *("calibrate", tmp_path / "bags", "--output", tmp_path / "bundle"),
        *("--scores", "logpzo,rnd_oe,pseudo_count", "--folds", "6", "--jobs", "2"),
        start_new_session=True,
    )
    try:
        said = iter(process.stderr.readline, "")
        assert any("fold 1 of 6" in line for line in said)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, output) == (130, "")
    assert errors.endswith("interrupted; nothing was written\n")
    assert "Traceback" not in errors
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert [path.name for path in tmp_path.iterdir()] == ["bags"]


@pytest.fixture
def open_folder():
    """A folder that every user may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def an_ordinary_user() -> Iterator[None]:
    """The superuser may read everything."""
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("hidden", ["bag", "bag/metadata.yaml", "bag/bag.mcap", "run.bag"])
def test_what_may_not_be_read_is_said(open_folder: Path, hidden: str) -> None:
    write_bag(open_folder / "bag")
    write_bag(open_folder / "run.bag", storage="ros1")
    (open_folder / hidden).chmod(0o000)
    path = open_folder / hidden.partition("/")[0]
    with an_ordinary_user(), pytest.raises(SourceError) as refused:
        read_rollouts([path])
    assert str(refused.value).startswith(str(path))
    assert "Permission denied" in str(refused.value)
    assert "damaged" not in str(refused.value)


def test_a_disk_that_is_full_is_said(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 200, storage="mcap file")

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = command("archive", bag, "--output", tmp_path / "out.npz", preexec_fn=limit_files)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{bag / 'bag.mcap.zstd'} cannot be unpacked to" in errors
    assert "set TMPDIR to a folder with more space" in errors
    assert not (tmp_path / "out.npz").exists()


def test_lines_instead_of_a_bar_go_where_no_terminal_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from failure_monitor.cli import reading_progress

    monkeypatch.setattr(reading_progress, "LINE_PERIOD", 0.0)
    clock = iter((0.0, 40.0))
    monkeypatch.setattr("failure_monitor.cli.reading_progress.time.monotonic", clock.__next__)
    with reading_progress.shown_progress() as show:
        show(ReadSoFar(1, 3, 2e9, 5_000_000_000))
    assert capsys.readouterr().err == (
        "read 1 of 3 sources, 2000.0 of 5000.0 MB, 50.0 MB/s, about 60 s left\n"
    )


def test_a_terminal_shows_a_bar_that_is_gone_afterwards(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "failure_monitor.cli", "archive"),
            *(str(tmp_path / "bag"), "--output", str(tmp_path / "out.npz")),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # ended, as a terminal says it
        pass
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert b"reading" in shown
    # The line is erased, and the cursor, which was hidden, is there again.
    assert b"\x1b[2K" in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")


def test_results_stay_clean_of_progress(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag")
    process = command("archive", tmp_path / "bag", "--output", tmp_path / "out.npz")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "decisions are ordered by header stamp" in errors
    assert "header stamp" not in output
    assert json.dumps(output).count("\\u001b") == 0
