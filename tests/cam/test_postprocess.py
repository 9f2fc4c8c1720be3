"""Post-processing against scikit-image and worked examples."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize as skimage_resize

from hemojax.cam import postprocess


@pytest.mark.parametrize("size", [(28, 42), (15, 10), (224, 224), (4, 6)])
def test_resize_is_half_pixel_bilinear(size):
    values = np.random.default_rng(0).uniform(size=(4, 6))
    expected = skimage_resize(values, size, order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(postprocess.resize(jnp.asarray(values, jnp.float32), size), expected, atol=1e-5)


def test_resize_does_not_smooth_when_it_shrinks():
    values = np.random.default_rng(0).uniform(size=(8, 8))
    expected = skimage_resize(values, (4, 4), order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(postprocess.resize(jnp.asarray(values, jnp.float32), (4, 4)), expected, atol=1e-5)


def test_heat_worked_example():
    raw = jnp.asarray([[-4.0, 1.0], [2.0, 3.0]])
    np.testing.assert_allclose(postprocess.heat(raw), [[0, 1 / 3], [2 / 3, 1]], atol=1e-6)


def test_minmax_keeps_the_library_s_constant():
    np.testing.assert_allclose(postprocess.minmax(jnp.asarray([[5e-7, 8e-7]])), [[0, 0.75]], rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, -1.0, 2.5])
def test_constant_maps_become_zeros(value):
    np.testing.assert_array_equal(postprocess.heat(jnp.full((3, 4), value)), 0)
    np.testing.assert_array_equal(postprocess.full_heat(jnp.full((3, 4), value), (6, 8)), 0)


def test_full_heat_reaches_one_after_a_faint_first_scaling():
    faint = postprocess.heat(jnp.asarray([[0.0, 1e-7], [0.0, 0.0]]))
    assert faint.max() < 0.6
    np.testing.assert_allclose(postprocess.full_heat(faint, (8, 8)).max(), 1, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=6, max_size=6))
def test_heat_stays_between_zero_and_one(values):
    heat = np.asarray(postprocess.heat(jnp.asarray(values, jnp.float32).reshape(2, 3)))
    assert heat.min() == 0
    assert heat.max() <= 1


def test_fusion_worked_example():
    maps = [jnp.asarray([[0.0, 1.0, 0.5]]), jnp.asarray([[1.0, 0.5, 0.5]])]
    np.testing.assert_allclose(postprocess.fuse_mean(maps, (1, 3)), [[0, 1, 0]], atol=1e-5)
    np.testing.assert_allclose(postprocess.fuse_max(maps, (1, 3)), [[1, 1, 0]], atol=1e-5)
    np.testing.assert_allclose(postprocess.fuse_product(maps, (1, 3)), [[0, 0, 0]], atol=1e-5)
    sharper = [jnp.asarray([[0.0, 1.0, 0.5]]), jnp.asarray([[0.0, 1.0, 0.5]])]
    np.testing.assert_allclose(postprocess.fuse_product(sharper, (1, 3)), [[0, 1, 0.25]], atol=1e-5)


def test_votes_are_shares_of_the_maps_above_a_low_threshold():
    maps = [jnp.array([[0.0, 1.0], [0.3, 0.1]]), jnp.array([[0.5, 1.0], [0.0, 0.0]])]
    np.testing.assert_allclose(postprocess.fuse_votes(maps, (2, 2)), [[0.5, 1], [0.5, 0]])
