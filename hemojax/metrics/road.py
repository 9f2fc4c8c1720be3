"""ROAD: what pixels do for a score when they are removed without a trace (Rong et al. 2022, arXiv:2202.00449).

Removed pixels are filled in by noisy linear imputation: each is the weighted mean of its eight neighbours, known or
removed, with weights 1/6 (beside, above, below) and 1/12 (diagonal), renormalised where the image ends. That is one
linear system a mask. Its matrix is a graph Laplacian, symmetric and positive definite, and is never made: conjugate
gradients solve it, preconditioned by one multigrid cycle, so that the widest hole takes no more steps than a small one.

Definitions and percentiles are those of pytorch-grad-cam 1.5.7, to whose figures they are compared in the tests.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Key

from hemojax.groups import map_in_groups
from hemojax.metrics.faithfulness import Score
from hemojax.precision import at_least_float32

PERCENTILES = (20.0, 40.0, 60.0, 80.0)
NOISE = 0.01  # standard deviation of the noise on imputed pixels, in units of the network's input

TOLERANCE = 2e-5  # of the estimated error, as a share of the known pixels' largest distance to their mean
MOST_STEPS = 100  # about ten are taken
# Chebyshev's two step lengths for the frequencies that the next grid holds badly, whose eigenvalues are 0.8 to 4/3.
STEPS = tuple(1 / (1.0667 + 0.2667 * np.cos(angle)) for angle in (3 * np.pi / 4, np.pi / 4))
COARSEST, SWEEPS_THERE = 4, 8  # the grid with a side of at most so many pixels, and the sweeps that solve it

Planes = Float[Array, "c h w"]
State = tuple[Array, Array, Array, Array, Array, Array]


class Road(NamedTuple):
    """How far the score moves when pixels are removed, the mean over the percentiles.

    Attributes:
        most: after - before with the most relevant pixels removed (MoRF); the lower, the better.
        least: with the least relevant ones removed (LeRF); the higher, the better.
        combined: (least - most) / 2; the higher, the better.
    """

    most: Float[Array, ""]
    least: Float[Array, ""]
    combined: Float[Array, ""]


def road(
    score: Score,
    image: Float[Array, "h w c"],
    heat: Float[Array, "h w"],
    key: Key[Array, ""] | None = None,
    *,
    percentiles: Sequence[float] = PERCENTILES,
    at_once: int | None = None,
) -> Road:
    """ROAD of one map, as pytorch-grad-cam's `ROADMostRelevantFirstAverage` and its two relatives have it.

    Args:
        score: images to what is measured; one batch of all imputed images.
        image: the network's input.
        heat: the map, in [0, 1], as large as the image.
        key: of the noise; None for none.
        percentiles: where the map is cut, see `kept`.
        at_once: see `impute_each`.
    """
    known = kept(heat, percentiles)
    filled = impute_each(image, known, at_once)
    if key is not None:
        filled = with_noise(filled, known, key)
    scores = score(jnp.concatenate([image[None], filled]))
    changes = (scores[1:] - scores[0]).reshape(2, -1).mean(axis=1)
    return Road(changes[0], changes[1], (changes[1] - changes[0]) / 2)


def kept(heat: Float[Array, "h w"], percentiles: Sequence[float] = PERCENTILES) -> Bool[Array, "n h w"]:
    """Which pixels stay: those strictly below each percentile of the map, then of 1 - map.

    So at the percentile 80 the most relevant fifth is removed, then the least relevant fifth. Of a map with many equal
    pixels, such as the zeros of a ReLU, all of them go at once; where that leaves none, every pixel is removed.
    """
    ascending = jnp.sort(heat.ravel())

    def below(values: Float[Array, "h w"], ascending: Float[Array, " n"]) -> list[Bool[Array, "h w"]]:
        return [values < _percentile(ascending, percentile) for percentile in percentiles]

    return jnp.stack(below(heat, ascending) + below(1 - heat, 1 - ascending[::-1]))


def with_noise(
    filled: Float[Array, "n h w c"], known: Bool[Array, "n h w"], key: Key[Array, ""]
) -> Float[Array, "n h w c"]:
    """Normal noise on the imputed pixels, which would otherwise be smoother than any image."""
    noise = NOISE * jax.random.normal(key, filled.shape, filled.dtype)
    return jnp.where(known[..., None], filled, filled + noise)


def impute_each(
    image: Float[Array, "h w c"], known: Bool[Array, "n h w"], at_once: int | None = None
) -> Float[Array, "n h w c"]:
    """`impute` with each mask, so many at once at most (default: all); on a CPU one by one is best for its cache."""
    return map_in_groups(jax.vmap(partial(impute, image)), at_once or len(known), known)


def impute(image: Float[Array, "h w c"], known: Bool[Array, "h w"]) -> Float[Array, "h w c"]:
    """Linear imputation, without noise, of the pixels that are not known.

    Where no pixel is known, and the system has no solution of its own, all take the mean of the image's channel.

    Args:
        image: any values, in any units; those of unknown pixels are not looked at.
        known: what stays as it is.

    Returns:
        The image with its holes filled, to about 1e-5 of its range, in float32 or better.
    """
    planes = jnp.moveaxis(at_least_float32(image), -1, 0)
    grids = [Grid(jnp.where(known, 0, 1).astype(planes.dtype), _total_weights(*known.shape))]
    while min(grids[-1].free.shape) > COARSEST:
        grids.append(_coarser(grids[-1]))
    seen = jnp.where(jnp.any(known), known, True)
    # The weights of what a pixel is made of sum to 1: distances to the mean are imputed as the values are, and round
    # less.
    mean = jnp.mean(planes, axis=(1, 2), where=seen, keepdims=True)
    distances = jnp.where(known, planes - mean, 0)
    solved = _solve(grids, grids[0].free * _neighbours(distances), TOLERANCE * jnp.max(jnp.abs(distances)))
    return jnp.moveaxis(jnp.where(known, planes, mean + solved), 0, -1)


class Grid(NamedTuple):
    """A grid of the hierarchy.

    Attributes:
        free: 1 where a pixel is to be found, else 0.
        weights: the sum of the weights of `_neighbours` that lie inside the image.
    """

    free: Float[Array, "h w"]
    weights: Float32[np.ndarray, "h w"]


def _percentile(ascending: Float[Array, " n"], percentile: float) -> Float[Array, ""]:
    """Numpy's, operation by operation, so that the same pixels lie below it."""
    index = (len(ascending) - 1) * (percentile / 100)
    low = int(index)
    high, share = min(low + 1, len(ascending) - 1), ascending.dtype.type(index - low)
    a, b = ascending[low], ascending[high]
    return b - (b - a) * (1 - share) if share >= 0.5 else a + (b - a) * share


def _neighbours(planes: Planes) -> Planes:
    """The sum over each pixel (4/12) and its neighbours (2/12 and 1/12): 1/12 (1 2 1; 2 4 2; 1 2 1)."""
    padded = jnp.pad(planes, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 12


def _total_weights(height: int, width: int) -> Float32[np.ndarray, "height width"]:
    ones = np.pad(np.ones((height, width), np.float32), 1)
    rows = ones[:-2] + 2 * ones[1:-1] + ones[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / np.float32(12)


def _laplacian(grid: Grid, planes: Planes) -> Planes:
    """The matrix: the weights of the true neighbours times the pixel, less their weighted sum. The 4/12 cancel."""
    return grid.free * (grid.weights * planes - _neighbours(planes))


def _solve(grids: list[Grid], right: Planes, tolerance: Float[Array, ""]) -> Planes:
    """Conjugate gradients for each channel, until the preconditioned residual, which estimates the error, is small.

    That estimate is taken off at the end, so that the error is a fraction of the tolerance.
    """

    def inner(a: Planes, b: Planes) -> Float[Array, "c 1 1"]:
        return jnp.sum(a * b, axis=(1, 2), keepdims=True)

    def ratio(a: Float[Array, "c 1 1"], b: Float[Array, "c 1 1"]) -> Float[Array, "c 1 1"]:
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)  # a channel that is solved stays as it is

    def unsolved(state: State) -> Bool[Array, ""]:
        step, _, _, error, _, _ = state
        return (jnp.max(jnp.abs(error)) > tolerance) & (step < MOST_STEPS)

    def improved(state: State) -> State:
        step, solution, residual, _, direction, energy = state
        applied = _laplacian(grids[0], direction)
        length = ratio(energy, inner(direction, applied))
        residual = residual - length * applied
        error = _cycle(grids, residual)
        new_energy = inner(residual, error)
        new_direction = error + ratio(new_energy, energy) * direction
        return step + 1, solution + length * direction, residual, error, new_direction, new_energy

    error = _cycle(grids, right)
    start = (jnp.zeros((), int), jnp.zeros_like(right), right, error, error, inner(right, error))
    _, solution, _, error, _, _ = jax.lax.while_loop(unsolved, improved, start)
    return solution + error


def _cycle(grids: list[Grid], right: Planes) -> Planes:
    """A multigrid V-cycle from zero: a symmetric approximation of the inverse."""
    grid, *coarser = grids
    if not coarser:
        return _smoothed(grid, jnp.zeros_like(right), right, SWEEPS_THERE)
    rough = _smoothed(grid, jnp.zeros_like(right), right, len(STEPS))
    residual = coarser[0].free * _restricted(grid, right - _laplacian(grid, rough))
    correction = grid.free * _prolonged(grid, _cycle(coarser, residual))
    return _smoothed(grid, rough + correction, right, len(STEPS))


def _smoothed(grid: Grid, planes: Planes, right: Planes, sweeps: int) -> Planes:
    """Jacobi sweeps with Chebyshev's step lengths.

    A loop, though it is short: its values are stored. XLA would otherwise fuse them into whatever uses them, and
    compute each several times over.
    """
    lengths = jnp.asarray(np.resize(STEPS, sweeps), planes.dtype)
    scale = grid.free / (grid.weights - 4 / 12)

    def sweep(number: Int[Array, ""], planes: Planes) -> Planes:
        return planes + lengths[number] * scale * (right - _laplacian(grid, planes))

    return jax.lax.fori_loop(0, sweeps, sweep, planes)


def _coarser(grid: Grid) -> Grid:
    """The grid of half the size: a pixel is free where all four of its pixels are."""
    height, width = grid.free.shape
    free = jnp.pad(grid.free, ((0, height % 2), (0, width % 2)), mode="edge")
    free = free[::2, ::2] * free[1::2, ::2] * free[::2, 1::2] * free[1::2, 1::2]
    return Grid(free, _total_weights(*free.shape))


def _prolonged(grid: Grid, coarse: Float[Array, "c h2 w2"]) -> Planes:
    """Bilinear interpolation to the grid: each pixel four times, then the weighted mean of neighbours."""
    height, width = grid.free.shape
    means = _neighbours(jnp.repeat(jnp.repeat(coarse, 2, axis=1), 2, axis=2))
    return means[:, :height, :width] / _even_weights(grid)


def _restricted(grid: Grid, planes: Planes) -> Float[Array, "c h2 w2"]:
    """The transpose of `_prolonged`: 1/12 (1 3 3 1) along either axis, at every second pixel."""
    height, width = grid.free.shape
    padded = jnp.pad(planes / _even_weights(grid), ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2)))
    rows = padded[:, :-3:2] + 3 * (padded[:, 1:-2:2] + padded[:, 2:-1:2]) + padded[:, 3::2]
    return (rows[..., :-3:2] + 3 * (rows[..., 1:-2:2] + rows[..., 2:-1:2]) + rows[..., 3::2]) / 12


def _even_weights(grid: Grid) -> Float32[np.ndarray, "h w"]:
    """The weights of the even grid that the coarser one covers: one more row or column where the grid is odd."""
    height, width = grid.free.shape
    return _total_weights(height + height % 2, width + width % 2)[:height, :width]
