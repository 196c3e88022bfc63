# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""How fast bags are read, against rosbags alone, and how much memory that takes.

python benchmarks/bag_reading.py: in the same run over the same bag, (1) rosbags hands out the
bytes of the messages that are needed and nothing is done with them, (2) it also decodes them, and
(3) `read_rollouts` makes rollouts of them: decoded, checked, paired, copied, hashed. All three are
one thread's work on files in memory, so that CPU time is told, which other work on the machine
does not lengthen.
Then the peak memory of reading, over folders that grow in the size of their bags (by images,
which nobody needs) and in their number, and the time that more processes save.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from benchmark_parts.decision_bags import (
    BEGIN,
    CHUNKS,
    CLOUD,
    EMBEDDINGS,
    LATENCY,
    SECOND,
    TYPES,
    cloud_message,
    header,
)
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from failure_monitor.cli.app import run_alone
from failure_monitor.cli.declaration import Option
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import Topics

EMBEDDING, SAMPLES, HORIZON = 512, 64, 16
ACTIONS = tuple("abcdefg")
DECISION_RATE, JOINT_RATE, IMAGE_RATE = 10, 500, 30
HEIGHT, WIDTH = 480, 640
JOINTS, CAMERA = "/j", "/camera"
STORAGES = ("mcap", "mcap, zstd", "sqlite3")
REPEATS = 9

console = Console(width=110)
progress = Console(stderr=True)


@dataclass(frozen=True)
class Rates:
    """Messages a second of CPU time.

    Attributes:
        storage: how the bag is stored.
        content: which messages are needed.
        messages: how many these are.
        bare: rosbags hands them out.
        decoded: rosbags decodes them.
        rollouts: they become rollouts.
        of_bare: the median ratio of the last to the first.
        of_decoded: to the second.
    """

    storage: str
    content: str
    messages: int
    bare: float
    decoded: float
    rollouts: float
    of_bare: float
    of_decoded: float


@dataclass(frozen=True)
class Peak:
    """What reading a folder took.

    Attributes:
        bags: how many there were.
        gigabytes: on disk.
        kept_megabytes: of the rollouts themselves, which are kept.
        peak_megabytes: of the whole process at most, imports and all.
        seconds: from the first to the last byte.
        jobs: processes that read.
    """

    bags: int
    gigabytes: float
    kept_megabytes: float
    peak_megabytes: float
    seconds: float
    jobs: int


def main(
    gigabytes: Annotated[float, Option(help="of the largest folder")] = 5.0,
    seconds: Annotated[int, Option(help="that a bag for the rates lasts")] = 120,
    folder: Annotated[Path | None, Option(help="where the bags are written")] = None,
    results: Annotated[Path | None, Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure rates, memory and processes."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        rates = list(measure_rates(root, seconds))
        peaks = list(measure_peaks(root, gigabytes))
    console.print(rates_table(rates))
    console.print(peaks_table(peaks))
    if results is not None:
        figures = {"rates": [*map(asdict, rates)], "peaks": [*map(asdict, peaks)]}
        results.write_text(json.dumps(figures, indent=2) + "\n")


def measure_rates(root: Path, seconds: int) -> Iterator[Rates]:
    for storage in STORAGES:
        progress.print(f"rates of {storage}")
        bag = root / storage.replace(", ", "_")
        write_bag(bag, storage, seconds, joints=True)
        for content, topics, options in (
            ("chunks", [EMBEDDINGS, CHUNKS], {}),
            (
                "chunks, joints",
                [EMBEDDINGS, CHUNKS, JOINTS],
                {"topics": Topics(positions=JOINTS), "position_names": ACTIONS[:3]},
            ),
        ):
            yield rate(bag, storage, content, topics, options)


def rate(
    bag: Path, storage: str, content: str, topics: Sequence[str], options: dict[str, Any]
) -> Rates:
    with Reader(bag) as reader:
        messages = sum(c.msgcount for c in reader.connections if c.topic in topics)
    ways: list[Callable[[], object]] = [
        lambda: hand_out(bag, topics, decode=False),
        lambda: hand_out(bag, topics, decode=True),
        lambda: read_rollouts([bag], **options),
    ]
    times: list[list[float]] = [[], [], []]
    # In turn, so that whatever else the machine does falls on all alike.
    for _ in range(REPEATS):
        for way, its_times in zip(ways, times, strict=True):
            begin = time.process_time()
            way()
            its_times.append(time.process_time() - begin)
    bare, decoded, rollouts = (messages / statistics.median(its_times) for its_times in times)
    return Rates(
        storage,
        content,
        messages,
        bare,
        decoded,
        rollouts,
        statistics.median(b / r for b, r in zip(times[0], times[2], strict=True)),
        statistics.median(d / r for d, r in zip(times[1], times[2], strict=True)),
    )


def hand_out(bag: Path, topics: Sequence[str], *, decode: bool) -> None:
    with Reader(bag) as reader:
        connections = [c for c in reader.connections if c.topic in topics]
        for connection, _, data in reader.messages(connections):
            if decode:
                TYPES.deserialize_cdr(data, connection.msgtype)


PEAK = """
import json, resource, sys, time
from pathlib import Path
from failure_monitor.sources import reading
from failure_monitor.sources.rollouts import read_rollouts
if __name__ == "__main__":
    begin = time.perf_counter()
    rollouts = read_rollouts([Path(sys.argv[1])], jobs=int(sys.argv[2])).rollouts
    seconds = time.perf_counter() - begin
    kept = sum(rollout.chunks.nbytes + rollout.embeddings.nbytes for rollout in rollouts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps([len(rollouts), kept, max(peak, children) * 1024, seconds]))
"""


def measure_peaks(root: Path, gigabytes: float) -> Iterator[Peak]:
    script = root / "peak.py"
    script.write_text(PEAK)
    image = HEIGHT * WIDTH * 3
    for bags, share in ((10, 0.04), (10, 0.2), (10, 1.0), (40, 1.0), (160, 1.0)):
        progress.print(f"{bags} bags, {share * gigabytes:g} GB")
        folder = root / f"{bags} bags {share:g}"
        seconds = share * gigabytes * 1e9 / image / IMAGE_RATE / bags
        for number in range(bags):
            write_bag(folder / f"run_{number:04d}", "mcap", seconds, images=True, seed=number)
        for jobs in (1, os.cpu_count() or 1):
            yield peak(script, folder, jobs)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def peak(script: Path, folder: Path, jobs: int) -> Peak:
    done = subprocess.run(
        [sys.executable, script, folder, str(jobs)], capture_output=True, text=True, check=True
    )
    bags, kept, most, seconds = json.loads(done.stdout)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Peak(bags, 1e-9 * size, 1e-6 * kept, 1e-6 * most, seconds, jobs)


def write_bag(
    path: Path,
    storage: str,
    seconds: float,
    *,
    joints: bool = False,
    images: bool = False,
    seed: int = 0,
) -> None:
    """Write decisions, and joints and images if wanted, in the order in which they are sent."""
    plugin = StoragePlugin.SQLITE3 if storage == "sqlite3" else StoragePlugin.MCAP
    writer = Writer(path, version=9, storage_plugin=plugin)
    if storage == "mcap, zstd":
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, HEIGHT * WIDTH * 3, np.uint8)
    # Forty decisions a bag are usual, however many images lie between them.
    decision_rate = 40 / seconds if images else DECISION_RATE
    with writer:

        def publisher(topic: str, message_type: str) -> Callable[[Any, int], None]:
            connection = writer.add_connection(topic, message_type, typestore=TYPES)
            return lambda message, time: writer.write(
                connection, time, TYPES.serialize_cdr(message, message_type)
            )

        embedding, chunks = publisher(EMBEDDINGS, CLOUD), publisher(CHUNKS, CLOUD)

        def decide(stamp: int) -> None:
            embedding(embedding_message(stamp, random), stamp + LATENCY)
            chunks(chunks_message(stamp, random), stamp + LATENCY)

        streams: list[tuple[float, int, Callable[[int], None]]] = [
            (decision_rate, LATENCY, decide)
        ]
        if joints:
            state = publisher(JOINTS, "sensor_msgs/msg/JointState")
            streams.append((JOINT_RATE, 0, lambda s: state(joint_message(s, random), s)))
        if images:
            frame = publisher(CAMERA, "sensor_msgs/msg/Image")
            streams.append((IMAGE_RATE, 0, lambda s: frame(image_message(s, picture), s)))
        sends = [
            (stamp + latency, stamp, send)
            for rate, latency, send in streams
            for stamp in range(BEGIN, BEGIN + round(seconds * SECOND), round(SECOND / rate))
        ]
        for _, stamp, send in sorted(sends, key=lambda one: one[0]):
            send(stamp)


def embedding_message(stamp: int, random: np.random.Generator) -> Any:
    values = random.normal(size=EMBEDDING).astype(np.float32)
    return cloud_message(stamp, values, 1, 1, [("embedding", EMBEDDING)])


def chunks_message(stamp: int, random: np.random.Generator) -> Any:
    values = random.normal(size=(SAMPLES, HORIZON, len(ACTIONS))).astype(np.float32)
    return cloud_message(stamp, values, SAMPLES, HORIZON, [(name, 1) for name in ACTIONS])


def joint_message(stamp: int, random: np.random.Generator) -> Any:
    numbers = random.normal(size=(3, len(ACTIONS)))
    return TYPES.types["sensor_msgs/msg/JointState"](header(stamp), list(ACTIONS), *numbers)


def image_message(stamp: int, picture: np.ndarray) -> Any:
    return TYPES.types["sensor_msgs/msg/Image"](
        header(stamp), HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, picture
    )


def rates_table(rates: Sequence[Rates]) -> Table:
    table = Table(title="Messages a second of CPU time", box=SIMPLE_HEAD, title_justify="left")
    for column in ("storage", "needed"):
        table.add_column(column)
    for column in ("messages", "rosbags", "decoding", "to rollouts", "of rosbags", "of decoding"):
        table.add_column(column, justify="right")
    for r in rates:
        numbers = (r.messages, r.bare, r.decoded, r.rollouts)
        ratios = (r.of_bare, r.of_decoded)
        cells = [*(f"{number:,.0f}" for number in numbers), *(f"{ratio:.2f}" for ratio in ratios)]
        table.add_row(r.storage, r.content, *cells)
    return table


def peaks_table(peaks: Sequence[Peak]) -> Table:
    table = Table(title="Memory and processes", box=SIMPLE_HEAD, title_justify="left")
    for column in ("bags", "GB", "processes", "rollouts, MB", "peak, MB", "seconds"):
        table.add_column(column, justify="right")
    for p in peaks:
        table.add_row(
            str(p.bags),
            f"{p.gigabytes:.2f}",
            str(p.jobs),
            f"{p.kept_megabytes:.0f}",
            f"{p.peak_megabytes:.0f}",
            f"{p.seconds:.2f}",
        )
    return table


if __name__ == "__main__":
    run_alone(main)
