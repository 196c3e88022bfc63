# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Outcomes, groups and tasks from a file."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from testbed.bags import (
    ACTIVE,
    BEGIN,
    LABEL,
    PERIOD,
    SUCCESS,
    BagBuilder,
    decision_arrays,
    write_bag,
)
from testbed.synthetic import POLICY, synthetic_rollout

from failure_monitor.incidents.outcome import LabelTopics, write_outcomes
from failure_monitor.sources.archive import write_archive
from failure_monitor.sources.labels import read_labels
from failure_monitor.sources.rollout_set import RolloutSet
from failure_monitor.sources.rollouts import label, read_rollouts
from failure_monitor.sources.source import SourceError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three bags, of which the last alone says how it ended."""
    for seed, success in enumerate((None, None, True)):
        write_bag(tmp_path / "bags" / f"run_{seed}", seed=seed, success=success)
    return tmp_path


def labelled(folder: Path, text: str, name: str = "labels.csv", bags: str = "bags"):
    (folder / name).write_text(text)
    (rollouts,) = label([read_rollouts([folder / bags])], read_labels(folder / name))
    return rollouts.rollouts


def refusal(folder: Path, text: str, name: str = "labels.csv", bags: str = "bags") -> str:
    with pytest.raises(SourceError) as refused:
        labelled(folder, text, name, bags)
    assert "\n" not in str(refused.value)
    assert str(folder / name) in str(refused.value)
    return str(refused.value)


CSV = """rollout,outcome,group,task
run_0,success,,pick
run_1, failure, camera ,
"""
YAML = """
run_0: {outcome: success, task: pick}
run_1:
  outcome: failure
  group: camera
"""


@pytest.mark.parametrize(
    ("text", "name"), [(CSV, "labels.csv"), (YAML, "labels.yaml"), (YAML, "labels.yml")]
)
def test_labels_say_outcome_group_and_task(folder: Path, text: str, name: str) -> None:
    rollouts = labelled(folder, text, name)
    assert [r.success for r in rollouts] == [True, False, True]
    assert [r.group for r in rollouts] == ["", "camera", ""]
    assert [r.task for r in rollouts] == ["pick", "", ""]


@pytest.mark.parametrize(
    ("word", "success"),
    [
        *((word, True) for word in ("success", "Success", "true", "yes", "1", "s")),
        *((word, False) for word in ("failure", "FALSE", "no", "0", "f")),
    ],
)
def test_outcomes_may_be_said_in_several_words(folder: Path, word: str, success: bool) -> None:
    for text, name in (
        (f"rollout,outcome\nrun_0,{word}\nrun_1,{word}\n", "labels.csv"),
        (f"run_0: {word}\nrun_1: {word}\n", "labels.yaml"),
    ):
        assert labelled(folder, text, name)[0].success is success


def test_a_table_from_a_spreadsheet_is_read(folder: Path) -> None:
    text = '\ufeffrollout,outcome,group\r\n"run_0",success,"a, b"\r\nrun_1,failure,\r\n'
    assert labelled(folder, text)[0].group == "a, b"


def test_a_label_overrides_what_was_recorded_and_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "rollout,outcome\nrun_0,success\nrun_1,success\nrun_2,failure\n"
    assert labelled(folder, text)[2].success is False
    assert "run_2: " in caplog.text
    assert "overrides the outcome that was recorded" in caplog.text


def test_a_group_alone_leaves_the_recorded_outcome(folder: Path) -> None:
    text = "rollout,outcome,group\nrun_0,success,\nrun_1,success,\nrun_2,,light\n"
    assert (labelled(folder, text)[2].success, labelled(folder, text)[2].group) == (True, "light")


def test_names_that_look_like_numbers_stay_as_they_are(tmp_path: Path) -> None:
    write_bag(tmp_path / "bags" / "0010", success=None)
    assert labelled(tmp_path, "0010: failure\n", "labels.yaml")[0].success is False
    assert "'10', and there is no such rollout" in refusal(
        tmp_path, "10: failure\n", "labels.yaml"
    )


def test_a_rollout_may_be_named_by_the_end_of_its_path(tmp_path: Path) -> None:
    for seed, day in enumerate(("monday", "tuesday")):
        (tmp_path / "bags" / day).mkdir(parents=True)
        write_bag(tmp_path / "bags" / day / "run.bag", seed=seed, success=None, storage="ros1")
    text = "rollout,outcome\nmonday/run,success\ntuesday/run.bag,failure\n"
    assert [r.success for r in labelled(tmp_path, text, bags="bags/*")] == [True, False]
    message = refusal(tmp_path, "rollout,outcome\nrun.bag,success\n", bags="bags/*")
    assert "'run.bag', and there are 2 such rollouts" in message
    assert "name more of its path" in message


def test_the_rollouts_of_one_bag_are_named_by_their_numbers(tmp_path: Path) -> None:
    embeddings, chunks = decision_arrays(3)
    with BagBuilder(tmp_path / "bags" / "day") as bag:
        for index in range(3):
            time = BEGIN + index * PERIOD
            bag.flag(ACTIVE, True, time - 1)
            bag.embedding(embeddings[index], time)
            bag.chunks(chunks[index], time)
            bag.flag(ACTIVE, False, time + 1)
    text = "day/000: success\nbags/day/001: failure\nday/002: success\n"
    assert [r.success for r in labelled(tmp_path, text, "l.yaml")] == [True, False, True]
    assert "there are 3 such rollouts" in refusal(tmp_path, "bags/day: success\n", "l.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "rollout,outcome\nrun_7,success\n",
            "labels 'run_7', and there is no such rollout, while",
        ),
        ("rollout,outcome\nrun_0,success\n", "has no outcome for run_1, nor have"),
        ("rollout,outcome\nrun_0,unknown\nrun_1,success\n", "has no outcome for run_0"),
        ("rollout,outcome\nrun_0,success\nrun_0,failure\n", "labels 'run_0' twice"),
        ("rollout,outcome\nrun_0,success\nbags/run_0,success\n", "labels run_0 twice, as 'run_0'"),
        (
            "rollout,outcome\nrun_0,perhaps\n",
            "run_0: the outcome is 'perhaps', expected succ",
        ),
        ("rollout,outcome\nrun_0\n", "line 2: there are more or fewer fields than the 2 columns"),
        ("rollout,outcome\nrun_0,success,light\n", "line 2: there are more or fewer fields"),
        ("name,outcome\nrun_0,success\n", "has the columns name, outcome, expected rollout and"),
        ("run_0,success\n", "has the columns run_0, success, expected rollout"),
        ("", "has the columns none"),
        ("rollout,outcome,outcome\n", "each once: name them in the first row"),
        ('rollout,outcome\n"run_0,success\n', "is not CSV"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_sentence(
    folder: Path, text: str, sentence: str
) -> None:
    assert sentence in refusal(folder, text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- run_0\n", "holds no rollouts with their labels"),
        ("", "holds no rollouts with their labels"),
        ("run_0: [success]\n", "line 1: there is a tag:yaml.org,2002:seq, expected a word"),
        ("run_0: {outcome: {a: b}}\n", "line 1: there is a tag:yaml.org,2002:map"),
        ("run_0: {result: success}\n", "run_0: unknown field 'result'"),
        ("run_0: success\nrun_0: failure\n", "labels 'run_0' twice"),
        ("run_0: 'success\n", "is not YAML"),
        ("run_0: {{a: b}: c}\n", "expected a word"),
        ("run_0: !!python/object/apply:os.system ['touch hacked']\n", "expected a word"),
        ("run_0: !!python/name:os.system success\n", "expected a word"),
        ("!evil run_0: success\n", "there is a !evil, expected a word"),
    ],
)
def test_what_is_wrong_with_yaml_is_said_in_one_sentence(
    folder: Path, text: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert sentence in refusal(folder, text, "labels.yaml")
    assert not (folder / "hacked").exists()


def test_aliases_that_multiply_cost_nothing(folder: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = [f"{b}: &{b} [*{a}, *{a}]" for a, b in pairwise(letters)]
    lines.insert(0, "a: &a [x, x]")
    assert "expected a word" in refusal(folder, "\n".join(lines), "labels.yaml")


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.csv cannot be read: No such file"):
        read_labels(folder / "nowhere.csv")
    with pytest.raises(SourceError, match=r"neither \.csv nor \.yaml"):
        read_labels(folder / "bags" / "run_0" / "metadata.txt")
    (folder / "binary.csv").write_bytes(b"\xff\xfe\0")
    with pytest.raises(SourceError, match="not text in UTF-8"):
        read_labels(folder / "binary.csv")


def test_a_file_of_all_rollouts_labels_a_part_of_them(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "rollout,outcome\nrun_0,success\nrun_1,failure\nrun_2,failure\n"
    assert [r.success for r in labelled(folder, text, bags="bags/run_[12]")] == [False, False]
    assert "1 labels are for rollouts that are not in these sources (run_0)" in caplog.text
    # A name may be misspelt wherever a rollout has no label, even if it states an outcome.
    said = refusal(folder, "rollout,outcome\nrun_0,success\nrun_1,failure\nrun2,failure\n")
    assert "labels 'run2', and there is no such rollout, while run_2 has no label" in said


def test_one_file_may_label_several_sets(folder: Path) -> None:
    (folder / "labels.yaml").write_text("run_0: success\nrun_1: failure\n")
    sets = [read_rollouts([folder / "bags" / f"run_{number}"]) for number in range(3)]
    first, second, third = label(sets, read_labels(folder / "labels.yaml"))
    assert [s.rollouts[0].success for s in (first, second, third)] == [True, False, True]
    with pytest.raises(SourceError, match="no such rollout"):
        label(sets[1:], read_labels(folder / "labels.yaml"))


def test_an_operators_word_in_a_bag_stands_beside_the_claim_and_labels_above_both(
    tmp_path: Path,
) -> None:
    def known(rollout):
        return rollout.success, rollout.claim, rollout.outcome_by

    for seed in range(3):
        write_bag(tmp_path / "bags" / f"run_{seed}", seed=seed, success=(None, True, True)[seed])
    [_] = write_outcomes([tmp_path / "bags" / "run_2"], False, LabelTopics(LABEL, SUCCESS, ACTIVE))
    rollouts = read_rollouts([tmp_path / "bags"]).rollouts
    assert [known(each) for each in rollouts] == [
        (None, None, ""),
        (True, True, "claim"),
        (False, True, "operator"),
    ]
    text = "rollout,outcome,claim\nrun_0,,success\nrun_1,failure,\nrun_2,success,failure\n"
    assert [known(each) for each in labelled(tmp_path, text)] == [
        (True, True, "claim"),
        (False, True, "labels"),
        (True, False, "labels"),
    ]
    assert "the claim is 'maybe'" in refusal(tmp_path, "rollout,claim\nrun_0,maybe\n")


def test_a_claim_leaves_an_outcome_that_the_source_states_itself(tmp_path: Path) -> None:
    failed = replace(synthetic_rollout(1), name="run_0", success=False)
    write_archive(tmp_path / "simulated.npz", RolloutSet(POLICY, (failed,)))
    (tmp_path / "claims.csv").write_text("rollout,claim\nrun_0,success\n")
    labels = read_labels(tmp_path / "claims.csv")
    (found,) = label([read_rollouts([tmp_path / "simulated.npz"])], labels)[0].rollouts
    assert (found.success, found.claim, found.outcome_by) == (False, True, "")


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_word_in_a_bag_is_of_the_rollout_that_ended_last(
    tmp_path: Path, is_marked: bool
) -> None:
    with BagBuilder(tmp_path / "day") as bag:
        at = BEGIN
        for seed in range(3):
            if is_marked:
                bag.flag(ACTIVE, True, at)
            for embedding, chunks in zip(*decision_arrays(4, seed=seed), strict=True):
                at += PERIOD
                bag.embedding(embedding, at)
                bag.chunks(chunks, at)
            # Of the rollout before: this one still runs.
            bag.flag(LABEL, seed == 2, at - 1)
            at += PERIOD
            bag.flag(ACTIVE if is_marked else SUCCESS, not is_marked, at)
            at += PERIOD
    boundaries = "markers" if is_marked else "outcomes"
    rollouts = read_rollouts([tmp_path / "day"], boundaries=boundaries).rollouts
    assert [each.success for each in rollouts] == [False, True, None if is_marked else True]
    assert [each.outcome_by for each in rollouts[:2]] == ["operator", "operator"]
