# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Sources and outputs in an object store: a real S3-compatible server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from testbed.bags import write_bag
from testbed.object_store import BUCKET, Proxy, proxy_before, require_users, s3_server
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.executors.process_executor import ProcessExecutor
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollout_store import add_to_store
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError

s3fs = pytest.importorskip("s3fs", reason="pip install 'failure_monitor[remote]'")
pytest.importorskip("moto.server", reason="pip install 'moto[server]'")

pytestmark = pytest.mark.slow
ROLLOUTS = RolloutSet(POLICY, tuple(synthetic_rollout(seed) for seed in range(120)))
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "robot",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Else it is asked for credentials on the network, for seconds.
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Proxy]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with proxy_before(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        s3fs.S3FileSystem.clear_instance_cache()
        if not s3fs.S3FileSystem().exists(BUCKET):
            s3fs.S3FileSystem().mkdir(BUCKET)
        yield proxy
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Path:
    """A place for each test of its own."""
    return Path(f"s3://{BUCKET}/{request.node.name}")


def upload(folder: Path, address: Path) -> None:
    s3fs.S3FileSystem().put(str(folder), str(address).replace(":/", "://"), recursive=True)


def refusal(*paths: Path) -> str:
    with pytest.raises(SourceError) as refused:
        read_rollouts(paths)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_store_is_written_and_read_by_workers(proxy: Proxy, address: Path) -> None:
    rollouts = tuple(
        replace(rollout, tokens=np.ones((len(rollout), 32, 64), np.float32))
        for rollout in ROLLOUTS.rollouts
    )
    first = add_to_store(address, replace(ROLLOUTS, rollouts=rollouts[:60]))
    added = add_to_store(address, replace(ROLLOUTS, rollouts=rollouts))
    assert (added.rollouts, added.already) == (60, 60)
    proxy.given.clear()
    read = read_rollouts([address], executor=ProcessExecutor(2, isolates=True))
    assert read.policy == POLICY
    for one, other in zip(ROLLOUTS.rollouts, read.rollouts, strict=True):
        assert (one.name, one.sha256) == (other.name, other.sha256)
        np.testing.assert_array_equal(one.chunks, other.chunks)
    transferred = sum(given for path, given in proxy.given.items() if path.endswith(".npz"))
    assert 0 < transferred < (first.size + added.size) / 2, "tokens were read, too"


def test_archives_and_bags_are_read_by_address_folder_and_pattern(
    proxy: Proxy, address: Path, tmp_path: Path
) -> None:
    write_archive(address / "archives" / "set.npz", ROLLOUTS)
    assert len(read_rollouts([address / "archives" / "set.npz"]).rollouts) == 120
    for seed, name in enumerate(("one", "two")):
        upload(write_bag(tmp_path / name, seed=seed), address / "bags" / name)
    local = read_rollouts([tmp_path])
    for paths in (
        [address / "bags"],
        [address / "bags" / "*"],
        [address / "bags" / "one", address / "bags" / "two"],
    ):
        read = read_rollouts(paths)
        assert [r.sha256 for r in read.rollouts] == [r.sha256 for r in local.rollouts]
        assert [r.name for r in read.rollouts] == [r.name for r in local.rollouts]
        sources = [r.source for r in read.rollouts]
        assert sources == [f"s3://{BUCKET}/{address.name}/bags/{n}" for n in ("one", "two")]


def test_a_copy_of_a_bag_is_deleted_whatever_becomes_of_it(
    proxy: Proxy, address: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    bag = write_bag(tmp_path / "bag")
    upload(bag, address / "bag")
    assert len(read_rollouts([address / "bag"]).rollouts) == 1
    (file,) = bag.glob("*.db3*") if list(bag.glob("*.db3*")) else bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:200])
    upload(bag, address / "cut")
    message = refusal(address / "cut")
    assert message.startswith(f"s3://{BUCKET}/{address.name}/cut")
    assert str(copies) not in message
    assert list(copies.iterdir()) == []


def test_what_is_not_there_is_named_by_its_address(proxy: Proxy, address: Path) -> None:
    assert refusal(address).startswith(f"s3://{BUCKET}/{address.name} does not exist")
    assert refusal(Path("s3://nobody/bags")).startswith("s3://nobody/bags does not exist")
    assert "no source matches the pattern" in refusal(address / "*.mcap")
    with pytest.raises(SourceError, match=r"s3://nobody/store/store\.json does not exist"):
        add_to_store(Path("s3://nobody/store"), ROLLOUTS)


def test_a_store_that_forbids_says_what_to_do(
    proxy: Proxy, server: str, address: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_to_store(address, ROLLOUTS)
    require_users(server, 0)
    try:
        for _ in range(2):
            assert f"s3://{BUCKET}/{address.name} is forbidden" in (message := refusal(address))
            assert "AWS_ACCESS_KEY_ID" in message
            # And without any.
            s3fs.S3FileSystem.clear_instance_cache()
            monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    finally:
        require_users(server, 10**9)


def test_a_truncated_object_is_refused(proxy: Proxy, address: Path, tmp_path: Path) -> None:
    write_archive(address / "set.npz", ROLLOUTS)
    upload(write_bag(tmp_path / "bag"), address / "bag")
    proxy.truncates = True
    for source in ("set.npz", "bag"):
        message = refusal(address / source)
        assert f"s3://{BUCKET}/{address.name}/{source}" in message
        assert "ended early" in message


def test_a_store_that_does_not_answer_says_so(
    proxy: Proxy, address: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.config import conf

    write_archive(address / "set.npz", ROLLOUTS)
    impatient = {"read_timeout": 0.3, "retries": {"total_max_attempts": 1}}
    monkeypatch.setitem(conf, "s3", {"config_kwargs": impatient})
    s3fs.S3FileSystem.clear_instance_cache()
    proxy.stalls = True
    try:
        message = refusal(address / "set.npz")
    finally:
        proxy.stalls = False
    assert f"s3://{BUCKET}/{address.name}/set.npz: the store does not answer in time" in message
