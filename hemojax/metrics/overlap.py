"""How well one heat map covers one mask: pixel counts at many thresholds, and the ratios made of them.

The counts are jax functions of one image, to be vmapped and jitted by the caller; the ratios are numpy functions of
counts of any shape.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Float32, Float64, Int32

AnyArray = Array | np.ndarray

THRESHOLDS: Float32[np.ndarray, "51"] = np.sort(np.append(np.linspace(0.1, 0.9, 50), 0.5)).astype(np.float32)
"""The thresholds of the benchmark: 50 evenly spaced over 0.1..0.9, and 0.5; ascending."""


Ratio = Float64[np.ndarray, "*n"]


class Counts(NamedTuple):
    """Pixels that are in both prediction and mask, in the prediction only and in the mask only."""

    tp: Int32[Array, " t"]
    fp: Int32[Array, " t"]
    fn: Int32[Array, " t"]


def threshold_counts(
    heat: Float[AnyArray, "h w"], mask: Bool[AnyArray, "h w"], thresholds: Float[AnyArray, " t"]
) -> Counts:
    """Counts the pixels of `heat > threshold` against `mask`, for all thresholds in one pass over the map.

    Every pixel falls into the bin "number of thresholds below its value"; a histogram of the bins, summed from the
    top, gives all predictions at once. Exact: the comparisons are those of `heat > threshold` in the map's own dtype,
    and the sums are integers. A NaN is never predicted.

    Args:
        heat: The map, of any range.
        mask: The true pixels.
        thresholds: Ascending.

    Returns:
        int32 counts of shape (t,); tp + fn is the mask's area.
    """
    bins = len(thresholds) + 1
    # Unrolled, so that XLA fuses the comparisons into one vectorised loop; jnp.searchsorted takes three times as long.
    below = sum((heat > t).astype(jnp.int32) for t in thresholds)
    cell = below + bins * mask.astype(jnp.int32)
    histogram = jnp.zeros(2 * bins, jnp.int32).at[cell.ravel()].add(1, mode="promise_in_bounds")
    # Column k of the reverse sum holds the pixels above at least k thresholds, so above thresholds[k - 1].
    above = jnp.cumsum(histogram.reshape(2, bins)[:, ::-1], axis=1)[:, ::-1]
    outside, inside = above[:, 1:]
    return Counts(tp=inside, fp=outside, fn=above[1, 0] - inside)


def pointing_hit(heat: Float[AnyArray, "h w"], mask: Bool[AnyArray, "h w"]) -> Bool[Array, ""]:
    """Tells whether the hottest pixel lies in the mask (the pointing game, Zhang et al. 2018, without its tolerance).

    Of several hottest pixels the first in row order counts. A constant map points nowhere: it is a miss.
    """
    return jnp.ravel(mask)[jnp.argmax(heat)] & (jnp.max(heat) > jnp.min(heat))


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
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), empty), where=denominator > 0)
