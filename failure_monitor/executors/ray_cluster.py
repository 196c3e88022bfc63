# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The Ray cluster that work runs on: found or started, and fit for the work."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from failure_monitor import __version__
from failure_monitor.errors import FailureMonitorError
from failure_monitor.missing_package import require_package

ADDRESS = "RAY_ADDRESS"
"""Ray's environment variable that names a cluster."""

CONNECT_SECONDS = 5.0
"""Seconds within which a cluster answers at all."""

PROBE_SECONDS = 120.0
"""Seconds within which every node of a cluster starts a worker."""

logger = logging.getLogger(__name__)


class ClusterError(FailureMonitorError):
    """A Ray cluster that is not there, or cannot do the work."""


def connected(jobs: int) -> Any:
    """Return the module `ray`, connected to the cluster that is named, else to a local one.

    Args:
        jobs: The CPUs of a local one.

    Raises:
        MissingPackageError: Ray is not installed.
        ClusterError: There is no such cluster, or it is of another version of Ray, Python or
            this package.
    """
    require_package("ray", purpose="'--executor ray'", instead="choose '--executor processes'")
    import ray

    if ray.is_initialized():
        return ray
    address = os.environ.get(ADDRESS, "")
    settings = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        with _interrupts_later():
            _start_here(ray, num_cpus=jobs, include_dashboard=False, **settings)
        return ray
    _reject_silent(address)
    try:
        ray.init(address, **settings)
    except RuntimeError as error:
        raise ClusterError(_refusal(address, str(error))) from None
    except (ray.exceptions.RayError, ConnectionError, ValueError, OSError) as error:
        raise ClusterError(_not_there(address, str(error))) from None
    try:
        _reject_strange_workers(ray)
    except BaseException:
        ray.shutdown()
        raise
    return ray


def reject_wants(ray: Any, gpus: float, memory: int | None) -> None:
    """Reject what no node of the cluster has: Ray would wait for it for ever.

    Raises:
        ClusterError: No node has so much.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for wanted, name, option, unit in (
        (gpus, "GPU", "--worker-gpus", "GPUs"),
        (memory or 0, "memory", "--worker-memory", "bytes of memory"),
    ):
        largest = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if wanted > largest:
            raise ClusterError(
                f"no node of the Ray cluster has {wanted:g} {unit} for a worker, the largest has "
                f"{largest:g}: ask for less ({option}), or add such a node before"
            )


def _start_here(ray: Any, **settings: Any) -> None:
    try:
        ray.init("local", **settings)
    except Exception as error:  # whatever keeps Ray's servers from starting
        raise ClusterError(
            f"Ray cannot start a cluster on this machine ({_first_line(str(error))}): look at its "
            "logs in /tmp/ray, or choose '--executor processes'"
        ) from None


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold interrupts back: of a cluster that has half begun, servers would stay."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reject_silent(address: str) -> None:
    """Reject an address at which nothing answers, for which Ray would wait for a minute."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(_not_there(address, error.strerror or str(error))) from None


def _not_there(address: str, why: str) -> str:
    return (
        f"there is no Ray cluster at {address}, which {ADDRESS} names ({_first_line(why)}): start "
        f"it with 'ray start', or unset {ADDRESS} to work on this machine alone"
    )


def _refusal(address: str, why: str) -> str:
    if "ersion mismatch" not in why:
        return _not_there(address, why)
    return (
        f"the Ray cluster at {address} is of another version of Ray or Python than this process "
        f"({' '.join(why.split())}): install the same here as there"
    )


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".: ")


def _reject_strange_workers(ray: Any) -> None:
    """Reject a cluster of which a node has not this very package.

    Raises:
        ClusterError: Names the first such node.
    """
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy

    # Within this function, so that Ray hands over the function itself: a worker that lacks the
    # package could not import it.
    def version_there() -> str:
        try:
            from failure_monitor.executors.ray_cluster import version
        except ImportError as error:
            return f"no failure_monitor that it can use ({error})"
        return version()

    probe = ray.remote(version_there)
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    asked = {
        probe.options(
            num_cpus=0, max_retries=1, scheduling_strategy=strategy(node, soft=False)
        ).remote(): address
        for node, address in nodes.items()
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=PROBE_SECONDS)
    for reference in answered:
        there = ray.get(reference)
        if there != version():
            raise ClusterError(
                f"node {asked[reference]} of the Ray cluster has {there}, and this process "
                f"{version()}: install the same failure_monitor on all nodes"
            )
    if silent:
        logger.warning(
            "node %s of the Ray cluster has started no worker within %g s",
            asked[silent[0]],
            PROBE_SECONDS,
        )


@lru_cache
def version() -> str:
    """Return the version of this package, and the hash of its code."""
    code = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        code.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return f"failure_monitor {__version__} ({code.hexdigest()[:12]})"
