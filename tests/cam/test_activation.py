import jax.numpy as jnp
import numpy as np

from hemojax.cam import METHODS, Inputs


def test_fem_worked_example():
    # Of channel 1 one pixel in nine stands out: mean 1, deviation sqrt(8), 9 > 1 + 2 sqrt(8). Of channel 2 none does.
    a = np.zeros((3, 3, 2), np.float32)
    a[1, 1, 0], a[..., 1] = 9, np.arange(9).reshape(3, 3)
    expected = np.zeros((3, 3))
    expected[1, 1] = 9 / 9
    np.testing.assert_allclose(METHODS["fem"].fn(Inputs(jnp.asarray(a))), expected, atol=1e-6)


def test_fem_of_a_constant_is_zero():
    np.testing.assert_array_equal(METHODS["fem"].fn(Inputs(jnp.full((3, 4, 5), 2.5))), 0)
