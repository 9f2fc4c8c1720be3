"""The eigen methods against numpy's SVD, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from hemojax.cam import METHODS, Inputs
from hemojax.cam.eigen import principal_projection

project = jax.jit(principal_projection)


def matrix(h, w, k, ratio, seed=0):
    """Centred values (h, w, k) with singular values 1, ratio, ratio^2, ..., and the projection on the first."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=(h * w, min(h * w - 1, k)))
    left, _, right = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)
    right = np.linalg.qr(rng.normal(size=(k, len(right))))[0].T
    singular = ratio ** np.arange(len(right))
    values = (left * singular) @ right
    return values.reshape(h, w, k), left[:, 0].reshape(h, w), right[0]


def up_to_sign(values, expected):
    return values * np.sign(np.sum(values * expected))


@pytest.mark.parametrize("shape", [(6, 7, 5), (3, 4, 30), (4, 4, 16), (1, 2, 3)])
@pytest.mark.parametrize("ratio", [0.3, 0.9, 0.98])
def test_first_singular_vector(shape, ratio):
    values, projection, right = matrix(*shape, ratio)
    # Centring removes the offset.
    found = np.asarray(project(jnp.asarray(values + right + 0.5, jnp.float32)))
    np.testing.assert_allclose(up_to_sign(found, projection), projection, atol=2e-4)


@pytest.mark.parametrize("shape", [(6, 7, 5), (3, 4, 30)])
def test_against_numpy_svd_of_random_activations(shape):
    values = np.maximum(np.random.default_rng(7).normal(0.3, 1, shape), 0)
    pixels = values.reshape(-1, shape[-1]) - values.reshape(-1, shape[-1]).mean(axis=0)
    _, singular, right = np.linalg.svd(pixels)
    assert singular[1] < 0.95 * singular[0]
    expected = (pixels @ right[0]).reshape(shape[:2])
    found = np.asarray(project(jnp.asarray(values, jnp.float32)))
    np.testing.assert_allclose(up_to_sign(found, expected), expected, atol=1e-4)
    assert np.sum(found * values.sum(axis=-1)) > 0


@pytest.mark.parametrize("shape", [(6, 7, 5), (3, 4, 30)])
@pytest.mark.parametrize("seed", range(3))
def test_sign(shape, seed):
    values = np.random.default_rng(seed).normal(size=shape)
    total = values.sum(axis=-1)
    for one in (values, -values):
        found = np.asarray(project(jnp.asarray(one, jnp.float32)))
        assert np.corrcoef(found.ravel(), np.sign(one[0, 0, 0] / values[0, 0, 0]) * total.ravel())[0, 1] > 0


def test_worked_example():
    # Pixels (0, 0), (2, 1), (4, 2): all on the line along (2, 1), whose sum over channels grows with the last pixel.
    values = jnp.asarray([[[0.0, 0.0], [2.0, 1.0], [4.0, 2.0]]])
    np.testing.assert_allclose(project(values)[0], np.sqrt(5) * np.array([-1, 0, 1]), atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 7, 5), (3, 4, 30)])
@pytest.mark.parametrize("value", [0.0, 3.7])
def test_constant_gives_zeros(shape, value):
    # The mean of equal numbers is off by a rounding error: what remains is noise of that size, and nothing else.
    found = np.asarray(project(jnp.full(shape, value)))
    np.testing.assert_allclose(found, 0, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12, 1e25])
def test_scale(scale):
    values = np.random.default_rng(1).normal(size=(3, 4, 30)).astype(np.float32)
    found, scaled = (project(jnp.asarray(v)) for v in (values, values * np.float32(scale)))
    np.testing.assert_allclose(np.asarray(scaled) / scale, found, rtol=1e-3, atol=1e-5)


def test_equal_singular_values_are_finite():
    values = np.eye(12, 5).reshape(3, 4, 5)
    assert np.isfinite(project(jnp.asarray(values, jnp.float32))).all()


def test_what_the_methods_decompose():
    a, g = np.random.default_rng(2).normal(size=(2, 3, 4, 5)).astype(np.float32)
    inputs = Inputs(jnp.asarray(a), jnp.asarray(g))
    np.testing.assert_allclose(METHODS["eigencam"].fn(inputs), project(jnp.asarray(a)), atol=1e-5)
    np.testing.assert_allclose(METHODS["eigengradcam"].fn(inputs), project(jnp.asarray(a * g)), atol=1e-5)
    theirs = np.asarray(project(jnp.asarray(a * np.abs(g))))
    expected = theirs * (-1 if theirs.max() < -theirs.min() else 1)
    np.testing.assert_allclose(METHODS["segeigencam"].fn(inputs), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 7, 5), (3, 4, 30)])
def test_kernel_component_against_scipy(shape):
    values = np.maximum(np.random.default_rng(7).normal(0.3, 1, shape), 0)
    pixels = values.reshape(-1, shape[-1]) - values.reshape(-1, shape[-1]).mean(axis=0)
    kernel = np.tanh(pixels @ pixels.T / shape[-1] + 1)
    centring = np.eye(len(kernel)) - 1 / len(kernel)
    eigenvalues, eigenvectors = linalg.eigh(centring @ kernel @ centring)
    expected = np.sqrt(eigenvalues[-1]) * eigenvectors[:, -1].reshape(shape[:2])
    found = np.asarray(METHODS["kpcacam"].fn(Inputs(jnp.asarray(values, jnp.float32))))
    np.testing.assert_allclose(up_to_sign(found, expected), expected, atol=1e-3)
    assert np.sum(found * (pixels.sum(axis=-1)).reshape(shape[:2])) > 0


@pytest.mark.parametrize("value", [0.0, 3.7])
def test_kernel_component_of_a_constant_is_zero(value):
    np.testing.assert_allclose(METHODS["kpcacam"].fn(Inputs(jnp.full((3, 4, 5), value))), 0, atol=1e-3)


def test_hundreds_of_runs_inside_one_program_end():
    """LAPACK's eigh was seen to hang inside a large program; these methods have no decomposition."""
    names = ("eigencam", "eigengradcam", "segeigencam", "kpcacam")

    @jax.jit
    def run(a, g):
        inputs = Inputs(a, g)
        return [jax.vmap(METHODS[name].fn)(inputs) for name in names]

    a, g = jax.random.normal(jax.random.key(0), (2, 4, 8, 8, 12))
    lowered = jax.jit(run).lower(a, g).as_text()
    assert "custom_call" not in lowered or "lapack" not in lowered.lower()
    first = [np.asarray(maps) for maps in run(a, g)]
    for _ in range(300):
        last = run(a, g)
    for before, after in zip(first, last, strict=True):
        np.testing.assert_array_equal(after, before)
