# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""The few directions in which many features vary most."""

import numpy as np
import pytest

from failure_monitor.scores.base.principal_components import principal_components


def features(count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    mixed = random.normal(size=(count, 3)) * [3, 2, 1] @ random.normal(size=(3, 20))
    values = mixed + 0.01 * random.normal(size=mixed.shape)
    return values - values.mean(axis=0)


def test_few_features_are_taken_as_they_are():
    assert principal_components(features(50), 20) is None


@pytest.mark.parametrize("count", [12, 50], ids=["fewer rows than features", "more"])
def test_they_span_what_varies_most(count):
    values = features(count)
    components = principal_components(values, 3)
    assert components.shape == (20, 3)
    basis = components / np.linalg.norm(components, axis=0)
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(values @ basis @ basis.T, values, atol=0.1)
    along = values @ components
    assert np.mean(along**2) == pytest.approx(np.mean(values**2), rel=1e-5)
    assert (np.diff(np.mean(along**2, axis=0)) < 0).all()


def test_the_order_of_the_rows_changes_nothing():
    np.testing.assert_allclose(
        principal_components(features(50)[::-1], 3),
        principal_components(features(50), 3),
        atol=1e-5,
    )


def test_there_are_no_more_than_the_features_vary_in():
    flat = np.outer(np.linspace(-1, 1, 40), np.ones(20))
    assert principal_components(flat, 5).shape == (20, 1)
