import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.models.pooling import max_pool


@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (1, 1)])
def test_max_pool_is_torchs(shape):
    x = np.random.default_rng(0).integers(-3, 3, (2, *shape, 3)).astype(np.float32)  # many ties
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    y, pullback = jax.vjp(max_pool, jnp.asarray(x))
    dy = np.arange(y.size, dtype=np.float32).reshape(y.shape) + 1
    expected, gradient = np.empty(y.shape, np.float32), np.zeros_like(padded)
    for b, i, j, c in np.ndindex(y.shape):
        window = padded[b, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, c]
        expected[b, i, j, c] = window.max()
        first = np.unravel_index(window.argmax(), window.shape)  # torch: the first of equal values takes the gradient
        gradient[b, 2 * i + first[0], 2 * j + first[1], c] += dy[b, i, j, c]
    assert np.array_equal(y, expected)
    assert np.array_equal(pullback(jnp.asarray(dy))[0], gradient[:, 1:-1, 1:-1])
