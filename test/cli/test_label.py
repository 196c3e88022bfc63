# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""An operator's word that is written into a bag afterwards stands beside the claim."""

import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from testbed.bags import (
    ACTIVE,
    BEGIN,
    LABEL,
    SECOND,
    SUCCESS,
    BagBuilder,
    write_bag,
)
from testbed.command_line import run_command, run_here

from failure_monitor.incidents.outcome import LabelTopics, write_outcomes
from failure_monitor.sources.rollouts import read_rollouts
from failure_monitor.sources.source import SourceError


def label(path, success: bool):
    [labelled] = write_outcomes([path], success, LabelTopics(LABEL, SUCCESS, ACTIVE))
    return labelled


def outcome(path) -> bool | None:
    [rollout] = read_rollouts([path]).rollouts
    return rollout.success


def repacked(path, mode: CompressionMode):
    """The bag, with files or messages compressed one by one."""
    new = path.parent / f"{path.name}_{mode.name.lower()}"
    types = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(new, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with Reader(path) as reader, writer:
        connections = {
            one.id: writer.add_connection(one.topic, one.msgtype, typestore=types)
            for one in reader.connections
        }
        for connection, time, data in reader.messages():
            writer.write(connections[connection.id], time, data)
    return new


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_outcome_is_read_and_can_be_corrected(tmp_path, storage):
    bag = write_bag(tmp_path / "bag", storage=storage, success=None)
    [before] = read_rollouts([bag]).rollouts
    assert before.success is None
    assert not label(bag, False).is_corrected
    assert outcome(bag) is False
    assert label(bag, True).is_corrected
    [after] = read_rollouts([bag]).rollouts
    assert after.success is True
    assert (after.chunks == before.chunks).all()
    assert (after.stamps == before.stamps).all()


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_outcome_is_stored_as_the_bag_is(tmp_path, mode):
    bag = repacked(write_bag(tmp_path / "bag", success=None), mode)
    label(bag, True)
    assert outcome(bag) is True


def test_outcome_overrides_what_the_robot_said_and_leaves_the_claim(tmp_path):
    bag = write_bag(tmp_path / "bag", success=True)
    assert label(bag, False).claim is True
    [rollout] = read_rollouts([bag]).rollouts
    assert (rollout.success, rollout.claim, rollout.outcome_by) == (False, True, "operator")


def test_a_word_of_an_older_version_stood_in_the_place_of_the_claim_and_is_replaced(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    [_] = write_outcomes([bag], True, LabelTopics(SUCCESS, SUCCESS, ACTIVE))
    corrected = label(bag, False)
    assert corrected.is_corrected
    assert corrected.claim is None
    [rollout] = read_rollouts([bag]).rollouts
    assert (rollout.success, rollout.claim, rollout.outcome_by) == (False, None, "operator")
    with Reader(bag) as reader:
        assert reader.message_count == len(list(reader.messages()))


def test_labelled_bag_is_one_for_other_readers_too(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    with Reader(bag) as reader:
        count, end = reader.message_count, reader.end_time
    for expected in (True, False, True):
        label(bag, expected)
    with Reader(bag) as reader:
        assert reader.message_count == count + 1 == len(list(reader.messages()))
        assert reader.end_time == end + 1
    assert sorted(path.name for path in bag.iterdir()) == [
        "bag.mcap",
        "metadata.yaml",
        "outcome.mcap",
    ]


def test_labelling_that_was_interrupted_is_mended_by_another(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    metadata = (bag / "metadata.yaml").read_bytes()
    label(bag, True)
    # As if it had been ended between the file and what names it.
    (bag / "metadata.yaml").write_bytes(metadata)
    with pytest.raises(SourceError, match=r"names the files bag\.mcap"):
        outcome(bag)
    label(bag, False)
    assert outcome(bag) is False


def test_metadata_of_older_recorders_keep_their_form(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    information = content["rosbag2_bagfile_information"]
    information["version"] = 4
    del information["files"], information["custom_data"], information["ros_distro"]
    for topic in information["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = ""
        del topic["topic_metadata"]["type_description_hash"]
    path.write_text(yaml.safe_dump(content))
    label(bag, True)
    assert outcome(bag) is True
    assert "files" not in yaml.safe_load(path.read_text())["rosbag2_bagfile_information"]


def test_bag_of_several_rollouts_is_refused_and_stays_as_it_was(tmp_path):
    with BagBuilder(tmp_path / "bag") as bag:
        for second in range(4):
            bag.flag(ACTIVE, second % 2 == 0, BEGIN + second * SECOND)
    before = (tmp_path / "bag" / "metadata.yaml").read_bytes()
    with pytest.raises(SourceError, match=r"holds 2 rollouts by /rollout/active.* --labels"):
        label(tmp_path / "bag", True)
    assert (tmp_path / "bag" / "metadata.yaml").read_bytes() == before
    assert not (tmp_path / "bag" / "outcome.mcap").exists()


def test_success_topic_of_another_type_is_named(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    with pytest.raises(SourceError, match="/policy/embedding is a sensor_msgs/msg/PointCloud2"):
        [*write_outcomes([bag], True, LabelTopics("/policy/embedding", SUCCESS, ACTIVE))]


def test_what_is_no_rosbag2_folder_is_refused(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    with pytest.raises(SourceError, match=r"bag.mcap is not a rosbag2 folder.* --labels"):
        label(bag / "bag.mcap", True)


def test_damaged_bag_is_refused(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: 3")
    with pytest.raises(SourceError, match="is damaged"):
        label(bag, True)


def test_place_that_cannot_be_written_to_is_named(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    (bag / ".outcome").write_text("where the new file would be made")
    with pytest.raises(SourceError, match=r"\.outcome.* cannot be written to"):
        label(bag, True)


def test_command_says_what_it_did(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    done = run_command("label", bag, "--outcome", "success")
    assert (done.returncode, done.stdout) == (0, f"{bag} is a success\n"), done.stderr
    assert run_command("label", bag, "--outcome", "failure").stdout == f"{bag} is now a failure\n"
    assert outcome(bag) is False
    claimed = write_bag(tmp_path / "claimed", success=True)
    said = run_command("label", claimed, "--outcome", "failure").stdout
    assert said == f"{claimed} is a failure, which was claimed to be a success\n"


def test_many_bags_are_labelled_at_once_or_none(tmp_path):
    bags = [write_bag(tmp_path / f"bag_{seed}", seed=seed, success=None) for seed in range(3)]
    (tmp_path / "none").mkdir()
    refused = run_here("label", *bags, tmp_path / "none", "--outcome", "failure")
    assert refused.exit_code == 1
    assert f"{tmp_path / 'none'} is not a rosbag2 folder" in refused.stderr
    assert {outcome(bag) for bag in bags} == {None}
    done = run_here("label", *bags, bags[0], "--outcome", "failure")
    assert done.stdout.splitlines() == [f"{bag} is a failure" for bag in bags]
    assert {outcome(bag) for bag in bags} == {False}


def test_command_says_for_what_an_incident_was_recorded_and_whether_all_of_it_is_there(tmp_path):
    bag = write_bag(tmp_path / "bag", success=None)
    path = bag / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    content["rosbag2_bagfile_information"]["custom_data"] = {
        "incident.cause": "ALARM",
        "incident.reason": "rnd_oe 1.25 of its threshold",
        "incident.begins_with_rollout": "false",
    }
    path.write_text(yaml.safe_dump(content))
    first, second = run_command("label", bag, "--outcome", "success").stdout.splitlines()
    assert first == (
        f"{bag} is a success; it was recorded for ALARM: rnd_oe 1.25 of its threshold"
    )
    assert second.startswith("it begins later than its rollout did: evaluate it, but calibrate on")


def test_command_refuses_another_outcome(tmp_path):
    done = run_command("label", tmp_path, "--outcome", "perhaps")
    assert done.returncode == 2
    assert "there is no outcome 'perhaps': choose success, failure" in done.stderr
