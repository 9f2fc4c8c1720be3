"""Methods that project the activations on their first principal component.

The singular vector comes from repeated squaring of the smaller Gram matrix: matrix products only, so that it runs
inside the one large compiled program on every backend (LAPACK's `eigh` was seen to hang there).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hemojax.cam.method import Inputs

# Ten squarings raise the Gram matrix to its 1024th power: two singular values that differ by 1 part in 100 end up
# a factor 1e9 apart.
SQUARINGS = 10


def eigencam(inputs: Inputs) -> Float[Array, "h w"]:
    """EigenCAM: (A - mean_hw A) v, v the first right singular vector of that (hw, k) matrix (Muhammad and Yeasin 2020).

    The mean is taken off as PGC does. See `principal_projection` for the sign.
    """
    return principal_projection(inputs.activations)


def eigengradcam(inputs: Inputs) -> Float[Array, "h w"]:
    """EigenGradCAM: EigenCAM of G * A (PGC's EigenGradCAM)."""
    return principal_projection(inputs.gradients * inputs.activations)


def principal_projection(values: Float[Array, "h w k"]) -> Float[Array, "h w"]:
    """Projects each pixel, less the mean pixel, on the first principal component.

    The sign of a singular vector is arbitrary, and a ReLU follows: the sign taken is the one for which the projection
    correlates positively with the sum over channels. A constant image gives zeros.
    """
    h, w, k = values.shape
    matrix = values.reshape(h * w, k)
    matrix = matrix - jnp.mean(matrix, axis=0)
    largest = jnp.max(jnp.abs(matrix))
    matrix = matrix / jnp.where(largest > 0, largest, 1)  # neither overflows nor underflows when it is squared
    if h * w <= k:
        left = _principal_vector(_product(matrix, matrix.T))
        projection = left * jnp.linalg.norm(_product(matrix.T, left))
    else:
        projection = _product(matrix, _principal_vector(_product(matrix.T, matrix)))
    sign = jnp.where(_product(projection, jnp.sum(matrix, axis=-1)) < 0, -1, 1)
    return (sign * largest * projection).reshape(h, w)


def _principal_vector(gram: Float[Array, "n n"]) -> Float[Array, " n"]:
    """First eigenvector, of length 1, of a positive semidefinite matrix; zeros for a zero matrix."""

    def square(_: Int[Array, ""], power: Float[Array, "n n"]) -> Float[Array, "n n"]:
        power = _unit_trace(power)
        return _product(power, power)

    power = jax.lax.fori_loop(0, SQUARINGS, square, gram)
    # The power is now lambda v v^T: any column will do, and that of the largest diagonal element is the most exact.
    column = power[:, jnp.argmax(jnp.diag(power))]
    length = jnp.linalg.norm(column)
    return column / jnp.where(length > 0, length, 1)


def _unit_trace(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    trace = jnp.trace(matrix)
    return matrix / jnp.where(trace > 0, trace, 1)


def _product(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """Matrix product in full precision: GPUs and TPUs round the factors to fewer bits otherwise."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
