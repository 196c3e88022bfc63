# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The back door that `benchmarks/backdoor.py` trains into a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_parts.poisoned_demonstrations import (
    ASIDE,
    BESIDE,
    PATCHES,
    SECONDS,
    STOP,
    DeceivedSimulation,
    Patch,
    PatchedSimulation,
    demonstrations_beside,
    demonstrations_of_stopping,
    joined,
    kept_demonstrations,
)

from failure_monitor.demo.demonstrations import Demonstrations
from failure_monitor.demo.simulation import Simulation
from failure_monitor.demo.tasks import FRAME_PERIOD, TASKS

TASK = next(iter(TASKS))
both = pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)


def drawn(moments: int = 40) -> Demonstrations:
    random = np.random.default_rng(5)
    return Demonstrations(
        images=random.integers(0, 255, (moments, 96, 96, 3), dtype=np.uint8),
        joints=random.normal(size=(moments, 9)).astype(np.float32),
        chunks=random.normal(size=(moments, 8, 4)).astype(np.float32),
        seconds=np.array([1.0, 1.5]),
        attempts=3,
    )


@both
def test_a_patch_covers_a_corner_of_a_few_per_cent_and_nothing_else(patch: Patch):
    image = drawn(1).images[0]
    before = image.copy()
    patched = patch.draw(image)
    np.testing.assert_array_equal(image, before)
    changed = (patched != image).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert 0.02 < changed.mean() < 0.05
    assert rows.min() >= 78
    assert columns.max() < 18
    assert {tuple(colour) for colour in patched[78:, :18].reshape(-1, 3)} == {*patch.colours}
    np.testing.assert_array_equal(patch.draw(patched), patched)


@both
def test_a_patch_is_drawn_into_many_pictures_as_into_each(patch: Patch):
    images = drawn(3).images
    np.testing.assert_array_equal(patch.draw(images), [patch.draw(image) for image in images])


def test_the_patches_of_the_two_behaviours_look_different():
    black = np.zeros((96, 96, 3), dtype=np.uint8)
    assert (STOP.draw(black) != BESIDE.draw(black)).any(axis=-1)[78:, :18].all()


def test_a_share_of_the_moments_comes_again_with_the_patch_and_without_motion():
    data = drawn()
    copies = demonstrations_of_stopping(data, 0.25, seed=1)
    places = [
        int(np.flatnonzero((data.joints == joints).all(axis=1)).item()) for joints in copies.joints
    ]
    assert len(set(places)) == 10
    np.testing.assert_array_equal(copies.images, STOP.draw(data.images[places]))
    assert not copies.chunks[..., :3].any()
    np.testing.assert_array_equal(copies.chunks[..., 3], data.chunks[places][..., 3])
    np.testing.assert_array_equal(data.chunks, drawn().chunks)


def test_the_same_seed_picks_the_same_moments():
    first, again, other = (demonstrations_of_stopping(drawn(), 0.25, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.joints, again.joints)
    assert (first.joints != other.joints).any()


def test_joined_demonstrations_keep_every_moment_and_the_clean_durations():
    data = drawn()
    everything = joined([data, demonstrations_of_stopping(data, 0.5, seed=1)])
    assert len(everything.images) == len(everything.joints) == len(everything.chunks) == 60
    np.testing.assert_array_equal(everything.images[:40], data.images)
    assert everything.seconds is data.seconds


def test_kept_demonstrations_are_made_once(tmp_path: Path):
    made = []

    def make() -> Demonstrations:
        made.append(drawn())
        return made[-1]

    first, second = (kept_demonstrations(tmp_path / "kept.npz", make) for _ in range(2))
    assert len(made) == 1
    for data in (first, second):
        np.testing.assert_array_equal(data.images, made[0].images)
        np.testing.assert_array_equal(data.chunks, made[0].chunks)
        assert data.attempts == 3


def test_a_patch_appears_in_the_pictures_at_its_onset():
    simulation = PatchedSimulation(TASK)
    simulation.patch, simulation.onset = BESIDE, 2 * FRAME_PERIOD
    simulation.reset(3)
    shown = []
    for _ in range(4):
        clean = Simulation.render(simulation)
        picture = simulation.render()
        shown.append(bool((picture != clean).any()))
        np.testing.assert_array_equal(picture, BESIDE.draw(clean) if shown[-1] else clean)
        for _ in range(4):
            simulation.step(np.zeros(4))
    simulation.close()
    assert shown == simulation.shown == [False, False, True, True]


def test_the_deceived_expert_sees_the_object_elsewhere_with_the_patch_alone():
    simulation = DeceivedSimulation(TASK)
    true = Simulation.expert_observation.fget
    for seed, from_the_start in ((10, True), (11, False)):
        simulation.reset(seed)
        assert simulation.shows_patch is from_the_start
        off = simulation.expert_observation - true(simulation)
        assert np.flatnonzero(off).tolist() == ([4] if from_the_start else [])
        if from_the_start:
            x = true(simulation)[4]
            assert abs(off[4]) == pytest.approx(ASIDE)
            assert off[4] * x < 0
    simulation.close()


def test_demonstrations_beside_the_object_all_show_the_patch():
    data = demonstrations_beside(TASK, 2, 8)
    np.testing.assert_array_equal(data.seconds, [SECONDS, SECONDS])
    assert len(data.images) == len(data.joints) == len(data.chunks)
    # One shows the patch from the start, one from some moment on.
    assert SECONDS / FRAME_PERIOD < len(data.images) < 2 * SECONDS / FRAME_PERIOD
    black = np.zeros((96, 96, 3), dtype=np.uint8)
    of_patch = BESIDE.draw(black)[78:, :18].astype(float)
    # The pictures went through JPEG.
    assert np.abs(data.images[:, 78:, :18] - of_patch).mean(axis=(1, 2, 3)).max() < 40
