"""Methods that project the activations on their first principal component.

The singular vector comes from repeated squaring of the smaller Gram matrix: matrix products only, so that it runs
inside the one large compiled program on every backend (LAPACK's `eigh` was seen to hang there).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hemojax.cam.method import Inputs

# Ten squarings raise the Gram matrix to its 1024th power: two singular values that differ by 1 part in 100 end up
# a factor 1e9 apart.
SQUARINGS = 10
LONGEST = 1000  # steps of the power iteration


def eigencam(inputs: Inputs) -> Float[Array, "h w"]:
    """EigenCAM: (A - mean_hw A) v, v the first right singular vector of that (hw, k) matrix (Muhammad and Yeasin 2020).

    The mean is taken off as PGC does. See `principal_projection` for the sign.
    """
    return principal_projection(inputs.activations)


def eigengradcam(inputs: Inputs) -> Float[Array, "h w"]:
    """EigenGradCAM: EigenCAM of G * A (PGC's EigenGradCAM)."""
    return principal_projection(inputs.gradients * inputs.activations)


def segeigencam(inputs: Inputs) -> Float[Array, "h w"]:
    """SegEigenCAM: EigenCAM of |G| * A, turned so that |max| >= |min| (Chung and Ying 2025, equations 10 to 13)."""
    projection = principal_projection(jnp.abs(inputs.gradients) * inputs.activations)
    return jnp.where(jnp.max(projection) < -jnp.min(projection), -1, 1) * projection


def kpcacam(inputs: Inputs) -> Float[Array, "h w"]:
    """KPCA-CAM: each pixel's first kernel principal component (Karmani et al. 2024, arXiv:2410.00267).

    The kernel is PGC's default, tanh(x . y / k + 1) of pixels less the mean pixel, centred in feature space. See
    `principal_projection` for the sign. The kernel holds (h w)^2 values: at large stages, explain few images at once.
    """
    h, w, k = inputs.activations.shape
    pixels = _centred(inputs.activations.reshape(h * w, k))
    kernel = jnp.tanh(_product(pixels, pixels.T) / k + 1)
    kernel = _centred(_centred(kernel).T)
    vector, value = _leading_pair(kernel)
    projection = jnp.sqrt(jnp.maximum(value, 0)) * vector
    return _with_sum(projection, pixels).reshape(h, w)


def principal_projection(values: Float[Array, "h w k"]) -> Float[Array, "h w"]:
    """Projects each pixel, less the mean pixel, on the first principal component.

    The sign of a singular vector is arbitrary, and a ReLU follows: the sign taken is the one for which the projection
    correlates positively with the sum over channels. A constant image gives zeros.
    """
    h, w, k = values.shape
    matrix = _centred(values.reshape(h * w, k))
    largest = jnp.max(jnp.abs(matrix))
    matrix = matrix / jnp.where(largest > 0, largest, 1)  # neither overflows nor underflows when it is squared
    if h * w <= k:
        left = _principal_vector(_product(matrix, matrix.T))
        projection = left * jnp.linalg.norm(_product(matrix.T, left))
    else:
        projection = _product(matrix, _principal_vector(_product(matrix.T, matrix)))
    return (largest * _with_sum(projection, matrix)).reshape(h, w)


def _centred(matrix: Float[Array, "n m"]) -> Float[Array, "n m"]:
    return matrix - jnp.mean(matrix, axis=0)


def _with_sum(projection: Float[Array, " n"], matrix: Float[Array, "n k"]) -> Float[Array, " n"]:
    """The projection with the sign that correlates positively with the sum over channels."""
    return jnp.where(_product(projection, jnp.sum(matrix, axis=-1)) < 0, -1, 1) * projection


def _leading_pair(matrix: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Eigenvector, of length 1, of the eigenvalue that is largest by its absolute value, and that value.

    By power iteration: squaring, as in `_principal_vector`, would take n^3 operations for a matrix of n pixels.
    """

    def go_on(state: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        number, _, change = state
        return (number < LONGEST) & (change > 4 * jnp.finfo(matrix.dtype).eps)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, vector, _ = state
        new = _product(matrix, vector)
        length = jnp.linalg.norm(new)
        new = new / jnp.where(length > 0, length, 1)
        return number + 1, new, jnp.minimum(jnp.max(jnp.abs(new - vector)), jnp.max(jnp.abs(new + vector)))

    start = matrix[:, jnp.argmax(jnp.diag(matrix))]  # not orthogonal to what is sought, unless that is zero there
    _, vector, _ = jax.lax.while_loop(go_on, step, (jnp.array(0), start, jnp.array(jnp.inf, matrix.dtype)))
    return vector, _product(vector, _product(matrix, vector))


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
