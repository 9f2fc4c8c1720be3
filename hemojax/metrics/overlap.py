"""How well one heat map covers one mask: pixel counts at many thresholds, and the ratios made of them.

The counts are jax functions of one image, to be vmapped and jitted by the caller; the ratios are numpy functions of
counts of any shape.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Float32, Float64, Int32

from hemojax.metrics.ratio import ratio

AnyArray = Array | np.ndarray

THRESHOLDS: Float32[np.ndarray, "51"] = np.sort(np.append(np.linspace(0.1, 0.9, 50), 0.5)).astype(np.float32)
"""The thresholds of the benchmark: 50 evenly spaced over 0.1..0.9, and 0.5; ascending."""

LEVELS = 1024
"""Steps of the curve over all values of a map: level k holds the values from k / 1024 up to (k + 1) / 1024."""


Ratio = Float64[np.ndarray, "*n"]


class Counts(NamedTuple):
    """Pixels that are in both prediction and mask, in the prediction only and in the mask only."""

    tp: Int32[Array, " t"]
    fp: Int32[Array, " t"]
    fn: Int32[Array, " t"]


class Levels(NamedTuple):
    """Pixels of each level of a map, inside and outside of the mask; see `hemojax.metrics.curves`."""

    inside: Int32[Array, " levels"]
    outside: Int32[Array, " levels"]


def count(
    heat: Float[AnyArray, "h w"], mask: Bool[AnyArray, "h w"], thresholds: Float[np.ndarray, " t"]
) -> tuple[Counts, Levels]:
    """Counts the pixels of `heat > threshold` against `mask` for all thresholds, and those of each level, in one pass.

    Every pixel falls into a cell that says its level and how many of the thresholds in that level it exceeds. The
    order of the cells is that of the values, so one histogram, summed from the top, gives every count. Exact: the
    comparisons are those of `heat > threshold`, and the sums are integers. A NaN is never predicted.

    Args:
        heat: The map, of any range; what lies outside of [0, 1] belongs to the nearest level.
        mask: The true pixels.
        thresholds: Ascending; not traced, as they decide how many cells there are.

    Returns:
        int32 counts of shape (t,), of which tp + fn is the mask's area; and of shape (1024,).
    """
    at = _level(np.asarray(thresholds, np.float32), np).astype(np.int32)
    place = np.arange(len(at)) - np.searchsorted(at, at)  # of each threshold among those of its level
    cells = 1 + int(place.max(initial=-1)) + 1  # of a level
    # A table for each place, and one pixel compared with one entry of it: all thresholds of a level at once.
    tables = np.full((cells - 1, LEVELS), np.inf, np.float32)
    tables[place, at] = thresholds
    level = _level(jnp.asarray(heat, jnp.float32), jnp).astype(jnp.int32)
    above = [(heat > jnp.asarray(t).at[level].get(mode="promise_in_bounds")).astype(jnp.int32) for t in tables]
    cell = cells * (level + LEVELS * mask.astype(jnp.int32)) + sum(above)
    histogram = jnp.zeros(2 * LEVELS * cells, jnp.int32).at[cell.ravel()].add(1, mode="promise_in_bounds")
    histogram = histogram.reshape(2, LEVELS, cells)
    levels = histogram.sum(axis=2)
    at_least = jnp.cumsum(levels[:, ::-1], axis=1)[:, ::-1]
    at_most = jnp.cumsum(histogram, axis=2)  # of the same level
    outside, inside = at_least[:, at] - at_most[:, at, place]
    return Counts(tp=inside, fp=outside, fn=at_least[1, 0] - inside), Levels(inside=levels[1], outside=levels[0])


def _level(values: Float[AnyArray, "*n"], xp: Any) -> Float[AnyArray, "*n"]:
    return xp.floor(xp.clip(values * np.float32(LEVELS), 0, LEVELS - 1))


def dice(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Ratio:
    """Dice, 2 tp / (2 tp + fp + fn); 1 when prediction and mask are both empty."""
    return _ratio([tp, tp], [tp, tp, fp, fn], empty=1.0)


def iou(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Ratio:
    """Intersection over union, tp / (tp + fp + fn); 1 when prediction and mask are both empty."""
    return _ratio([tp], [tp, fp, fn], empty=1.0)


def precision(tp: ArrayLike, fp: ArrayLike) -> Ratio:
    """The share of the prediction that is right, tp / (tp + fp); NaN when nothing is predicted."""
    return _ratio([tp], [tp, fp], empty=np.nan)


def recall(tp: ArrayLike, fn: ArrayLike) -> Ratio:
    """The share of the mask that is found, tp / (tp + fn); NaN when the mask is empty."""
    return _ratio([tp], [tp, fn], empty=np.nan)


def _ratio(part: list[ArrayLike], whole: list[ArrayLike], empty: float) -> Ratio:
    # Summed as float64, which holds integers to 2**53: int32 counts of a whole data set may overflow.
    numerator, denominator = (np.sum(np.asarray(terms, np.float64), axis=0) for terms in (part, whole))
    return ratio(numerator, denominator, empty)
