# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle is whole, unchanged and of a known schema, or it is refused by name."""

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from testbed.synthetic import synthetic_rollout

from failure_monitor.atomic_file import UnwritableError
from failure_monitor.bundle import folder as bundle_files
from failure_monitor.bundle.bundle import UnknownTaskError
from failure_monitor.bundle.description import MIN_DECISION_AGE
from failure_monitor.bundle.folder import BundleError, load, save
from failure_monitor.calibration.calibrate import calibrate
from failure_monitor.calibration.settings import CalibrationSettings
from failure_monitor.policy_models.onnx_file import OnnxFileError


@pytest.fixture
def folder(bundle_folder, tmp_path):
    return shutil.copytree(bundle_folder, tmp_path / "bundle")


def edit(folder, change) -> None:
    path = folder / "bundle.yaml"
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def test_a_saved_bundle_judges_as_before(bundle, bundle_folder, rollouts):
    np.testing.assert_array_equal(
        load(bundle_folder).levels(rollouts[0]), bundle.levels(rollouts[0])
    )


def test_thresholds_that_vary_over_time_are_kept_among_the_arrays(
    time_varying_bundle, rollouts, tmp_path
):
    save(time_varying_bundle, tmp_path / "bundle")
    loaded = load(tmp_path / "bundle")
    np.testing.assert_array_equal(
        loaded.levels(rollouts[0]), time_varying_bundle.levels(rollouts[0])
    )
    with np.load(tmp_path / "bundle" / "arrays.npz") as arrays:
        assert arrays["scale.centre"].shape == (12, 3, 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda arrays: arrays.pop("scale.spread"), "lacks 'scale.spread'"),
        (
            lambda arrays: arrays.update({"scale.spread": np.ones((12, 3, 1))}),
            r"\(12, 3, 2\) and \(12, 3, 1\), expected .* of 3 folds and 2 scores",
        ),
        (
            lambda arrays: arrays.update({"scale.spread": np.zeros((12, 3, 2))}),
            "expected finite numbers, and positive spreads",
        ),
    ],
)
def test_a_time_varying_scale_that_is_not_whole_is_refused(
    time_varying_bundle, tmp_path, change, sentence
):
    folder = tmp_path / "bundle"
    save(time_varying_bundle, folder)
    with np.load(folder / "arrays.npz") as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez(folder / "arrays.npz", **arrays)
    digest = bundle_files._sha256((folder / "arrays.npz").read_bytes())
    edit(folder, lambda content: content["files"].update({"arrays.npz": digest}))
    with pytest.raises(BundleError, match=sentence):
        load(folder)


def test_a_bundle_knows_how_often_its_rollouts_decided(bundle, bundle_folder):
    assert load(bundle_folder).description.decision_period == pytest.approx(0.1)


def test_a_bundle_from_before_the_period_was_recorded_is_read(folder):
    edit(folder, lambda content: content.pop("decision_period"))
    edit(folder, lambda content: content.pop("longest_decision_gap"))
    assert load(folder).description.decision_period is None
    assert load(folder).description.max_decision_age == MIN_DECISION_AGE


@pytest.mark.parametrize(
    ("period", "longest", "age"),
    [(0.1, 0.2, 1.0), (3.3, 4.0, 6.0), (3.3, None, 4.95), (None, None, 1.0)],
)
def test_a_decision_is_late_well_after_the_longest_time_between_two(bundle, period, longest, age):
    update = {"decision_period": period, "longest_decision_gap": longest}
    description = replace(bundle.description, **update)
    assert description.max_decision_age == pytest.approx(age)


def test_a_bundle_from_before_failures_could_teach_is_read(folder):
    edit(folder, lambda content: content.pop("failures"))
    assert load(folder).description.failures == ()
    assert load(folder).fit == ()


@pytest.fixture(scope="module")
def bundle_with_probe(rollouts, policy):
    settings = CalibrationSettings(scores=("knn", "probe"), folds=2, jobs=1)
    failures = [synthetic_rollout(seed, success=False) for seed in range(100, 106)]
    for failure in failures:
        failure.embeddings[6:] += np.float32(1)
    return calibrate(rollouts, policy, settings, failures=failures)


def test_what_a_probe_is_made_of_is_stored_under_its_name_and_missed_by_it(
    bundle_with_probe, tmp_path
):
    folder = tmp_path / "bundle"
    save(bundle_with_probe, folder)
    with np.load(folder / "arrays.npz") as stored:
        arrays = dict(stored)
    del arrays["probe.1.knn.memory"]
    np.savez(folder / "arrays.npz", **arrays)
    digest = bundle_files._sha256((folder / "arrays.npz").read_bytes())
    edit(folder, lambda content: content["files"].update({"arrays.npz": digest}))
    with pytest.raises(BundleError, match="lacks 'memory' of the score probe: calibrate again"):
        load(folder)


@pytest.mark.parametrize("field", ["fold", "limit"])
def test_a_calibration_rollout_without_fold_or_limit_is_refused(folder, field):
    edit(folder, lambda content: content["calibration"][1].pop(field))
    with pytest.raises(BundleError, match="needs every calibration rollout's fold and limit"):
        load(folder)


def test_a_calibration_rollout_of_a_fold_without_a_model_is_refused(folder):
    edit(folder, lambda content: content["calibration"][1].update(fold=3))
    with pytest.raises(BundleError, match="3, 3 models of its scores, and rollouts of 4 folds"):
        load(folder)


@pytest.fixture(scope="module")
def bundle_of_two_tasks(policy):
    rollouts = [
        replace(synthetic_rollout(seed), task=task)
        for seed, task in enumerate(["pick"] * 10 + ["place"] * 10)
    ]
    return calibrate(rollouts, policy, CalibrationSettings(scores=("ace",), folds=2, jobs=1))


def test_a_bundle_of_several_tasks_judges_each_by_its_own_limit(bundle_of_two_tasks, tmp_path):
    save(bundle_of_two_tasks, tmp_path / "bundle")
    loaded = load(tmp_path / "bundle")
    rollout = synthetic_rollout(50)
    for task in ("pick", "place"):
        levels = loaded.levels(replace(rollout, task=task))
        limits = np.array([each.limit for each in loaded.calibration if each.task == task])
        np.testing.assert_array_equal(loaded.threshold(task).limits, limits)
        np.testing.assert_array_equal(
            levels, bundle_of_two_tasks.levels(replace(rollout, task=task))
        )
    assert loaded.promise("pick").limit != loaded.promise("place").limit
    assert loaded.description.promises == bundle_of_two_tasks.description.promises


def test_a_task_that_is_unknown_or_not_named_is_refused_with_those_there_are(bundle_of_two_tasks):
    with pytest.raises(UnknownTaskError, match="tasks pick, place, and no task is named"):
        bundle_of_two_tasks.monitor()
    with pytest.raises(UnknownTaskError, match="task 'fold', only for pick, place"):
        bundle_of_two_tasks.monitor("fold")
    with pytest.raises(UnknownTaskError, match=r"rollout 50: .* task 'fold'"):
        bundle_of_two_tasks.levels(replace(synthetic_rollout(50), task="fold"))


def test_the_calibration_rollouts_of_a_task_are_its_own(bundle_of_two_tasks):
    own = bundle_of_two_tasks.calibration_of(replace(synthetic_rollout(50), task="place"))
    assert [rollout.name for rollout in own] == [f"rollout {seed}" for seed in range(10, 20)]


def test_a_bundle_of_one_task_needs_no_name_and_takes_no_other(rollouts, policy):
    settings = CalibrationSettings(scores=("ace",), folds=2, jobs=1)
    picking = [replace(rollout, task="pick") for rollout in rollouts]
    bundle = calibrate(picking, policy, settings)
    assert bundle.promise() == bundle.promise("pick")
    with pytest.raises(UnknownTaskError, match="task 'place', only for pick"):
        bundle.monitor("place")


def test_a_bundle_without_tasks_takes_any(bundle):
    assert bundle.promise("pick") == bundle.promise()


def test_saving_again_replaces_the_bundle_and_leaves_nothing_else(bundle, tmp_path):
    save(bundle, tmp_path / "bundle")
    save(bundle, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    load(tmp_path / "bundle")


def test_a_bundle_is_for_whom_the_umask_says_and_keeps_its_mode_when_it_is_replaced(
    bundle, tmp_path
):
    folder = tmp_path / "bundle"
    before = os.umask(0o022)
    try:
        save(bundle, folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
        folder.chmod(0o750)
        save(bundle, folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    finally:
        os.umask(before)


def test_the_same_bundle_gives_the_same_bytes(bundle, tmp_path):
    save(bundle, tmp_path / "one")
    save(bundle, tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_folder_with_something_else_is_not_overwritten(bundle, tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        save(bundle, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "ten years of work"


def test_a_write_that_fails_leaves_the_old_bundle(bundle, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(UnwritableError, match="No space left on device"):
        save(bundle, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["bundle.yaml", "rnd_oe.0.network.onnx", "arrays.npz"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        load(folder)


@pytest.mark.parametrize("name", ["rnd_oe.0.network.onnx", "arrays.npz"])
def test_a_changed_file_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not the file that was calibrated"):
        load(folder)


def test_a_newer_schema_is_refused_with_both_versions(folder):
    edit(folder, lambda content: content.update(schema_version=99, tool_version="9.0"))
    with pytest.raises(BundleError, match=r"schema version 99, written by failure_monitor 9.0"):
        load(folder)


def test_a_wrong_value_is_named_by_its_place(folder):
    edit(folder, lambda content: content["scores"][1].update(spread="high"))
    with pytest.raises(BundleError, match=r"scores\.1\.spread"):
        load(folder)


def test_a_limit_that_is_nan_is_refused(folder):
    edit(folder, lambda content: content["promises"][0].update(limit=float("nan")))
    with pytest.raises(BundleError, match=r"promises\.0\.limit"):
        load(folder)


def test_a_file_name_that_climbs_out_of_the_bundle_is_refused(folder):
    (folder.parent / "outside.onnx").write_bytes(b"")
    edit(folder, lambda content: content["files"].update({"../outside.onnx": "0" * 64}))
    with pytest.raises(BundleError, match="files"):
        load(folder)


def test_yaml_tags_construct_nothing(folder, tmp_path):
    mark = tmp_path / "mark"
    (folder / "bundle.yaml").write_text(f"!!python/object/apply:pathlib.Path.touch ['{mark}']")
    with pytest.raises(BundleError, match="no YAML"):
        load(folder)
    assert not mark.exists()


def test_a_pickle_among_the_arrays_is_refused(folder, bundle):
    np.savez(folder / "arrays.npz", evil=np.array([object()], dtype=object))
    digest = bundle_files._sha256((folder / "arrays.npz").read_bytes())
    edit(folder, lambda content: content["files"].update({"arrays.npz": digest}))
    with pytest.raises(BundleError, match=r"arrays\.npz holds no arrays"):
        load(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"lacks bundle\.yaml"):
        load(tmp_path / "nowhere")
    (tmp_path / "bundle.yaml").write_text("- a list")
    with pytest.raises(BundleError, match="has no schema_version"):
        load(tmp_path)


def test_a_models_weights_are_never_read_from_other_files(bundle, folder, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    name = "rnd_oe.0.network.onnx"
    model = onnx.load_model_from_string((folder / name).read_bytes())
    weights = model.graph.initializer[0]
    # Where ONNX Runtime would look for them: relative to the folder that the process runs in.
    (tmp_path / "secret.bin").write_bytes(weights.raw_data)
    monkeypatch.chdir(tmp_path)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="secret.bin")
    (folder / name).write_bytes(model.SerializeToString())
    digest = bundle_files._sha256((folder / name).read_bytes())
    edit(folder, lambda content: content["files"].update({name: digest}))
    with pytest.raises(OnnxFileError, match=r"keeps weights in secret\.bin, which are missing"):
        load(folder)


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, f"seed: {'9' * 5000}", "created: 2026-13-45", "a: &a [*a, *a]\n? [b]\n: c"],
    ids=["deep", "long number", "no date", "no name"],
)
def test_a_hostile_description_is_refused(folder, content):
    (folder / "bundle.yaml").write_text(content)
    with pytest.raises(BundleError, match=r"bundle\.yaml"):
        load(folder)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("alpha",), "a lot", r"alpha: expected a number, got 'a lot': calibrate again"),
        (("alpha",), 1, "alpha: expected a number below 1"),
        (("window",), True, "window: expected an integer, got True"),
        (("seed",), 0.5, "seed: expected an integer, got 0.5"),
        (("policy", "samples"), 0, r"policy\.samples: expected a number above 0"),
        (("promises", 0, "rank"), None, r"promises\.0\.rank: expected an integer"),
        (("wisdom",), 1, "wisdom: unknown, expected one of schema_version"),
        (("rule",), "most", "rule: expected one of 'all', 'any', 'mean'"),
    ],
)
def test_a_value_that_is_not_possible_is_refused_by_its_place(folder, place, value, sentence):
    path = folder / "bundle.yaml"
    content = yaml.safe_load(path.read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(BundleError, match=sentence):
        load(folder)


def test_a_bundle_that_none_could_read_is_not_written(bundle, tmp_path):
    promise = replace(bundle.description.promises[0], limit=float("nan"))
    description = replace(bundle.description, promises=(promise,))
    with pytest.raises(BundleError, match=r"promises\.0\.limit: expected a number, got None"):
        save(replace(bundle, description=description), tmp_path / "new")
    assert not (tmp_path / "new").exists()
