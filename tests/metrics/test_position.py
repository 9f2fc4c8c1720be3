import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from hemojax.metrics import position


def test_two_slices_by_hand():
    # At the positive slice, one bandwidth from the negative one: 1 / (1 + exp(-1/2)).
    found = position.kernel_regression(np.array([0.4, 0.5]), np.array([1, 0]), np.array([0.4, 0.45]), bandwidth=0.1)
    assert found == pytest.approx([1 / (1 + np.exp(-0.5)), 0.5])


def test_the_regression_is_that_of_scikit_learns_densities():
    rng = np.random.default_rng(0)
    places, truth, asked = rng.random(60), rng.integers(0, 2, 60).astype(bool), rng.random(20)
    positive, everyone = (
        np.exp(KernelDensity(bandwidth=0.05).fit(x[:, None]).score_samples(asked[:, None])) * len(x)
        for x in (places[truth], places)
    )
    np.testing.assert_allclose(position.kernel_regression(places, truth, asked), positive / everyone, rtol=1e-10)


def test_far_from_every_slice_the_nearest_decides():
    found = position.kernel_regression(np.array([0.0, 0.1]), np.array([0, 1]), np.array([50.0]), bandwidth=0.01)
    np.testing.assert_array_equal(found, [1])
