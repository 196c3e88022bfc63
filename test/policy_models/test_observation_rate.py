# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""A camera that is faster than the policy."""

import numpy as np
import pytest

from failure_monitor.policy_models.observation_rate import ObservationRate

SECOND = 1_000_000_000


def taken(rate, frames, *, jitter=0.0, seconds=10.0):
    random = np.random.default_rng(0)
    stamps = np.arange(0, seconds, 1 / frames) + jitter / frames * random.normal(
        size=round(seconds * frames)
    )
    thinned = ObservationRate(rate)
    return [stamp for stamp in stamps if thinned.accepts(round(stamp * SECOND))]


def test_every_observation_without_a_rate():
    assert len(taken(None, 30)) == 300


@pytest.mark.parametrize("jitter", [0.0, 0.02])
@pytest.mark.parametrize(("rate", "frames"), [(10, 30), (5, 30), (30, 30), (7.5, 15)])
def test_frames_that_come_a_little_early_do_not_lower_the_rate(rate, frames, jitter):
    assert len(taken(rate, frames, jitter=jitter)) == pytest.approx(10 * rate, rel=0.05)


def test_a_clock_that_goes_back_begins_anew():
    thinned = ObservationRate(1.0)
    assert thinned.accepts(100 * SECOND)
    assert not thinned.accepts(100 * SECOND + 1)
    assert thinned.accepts(3 * SECOND)
