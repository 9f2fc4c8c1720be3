"""Filters along both axes are what einsum says in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.separable import filtered


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_filter_of_both_axes(leading):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(*leading, 12, 20, 3))
    rows, columns = rng.normal(size=(5, 12)), rng.normal(size=(7, 20))
    expected = np.einsum("ih,...hwc,jw->...ijc", rows, images, columns)
    found = filtered(*(jnp.asarray(a, jnp.float32) for a in (images, rows, columns)))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
