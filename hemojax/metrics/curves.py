"""What the levels of a map say without a threshold: areas under curves, and Otsu's threshold.

All are numpy functions of pixel counts a level (see `overlap.Levels`), of one map or of many, the levels on the last
axis. Counts of several maps may be added first; the curves are then pooled over all their pixels.
"""

import numpy as np
from jaxtyping import Float32, Float64, Real

from hemojax.metrics.overlap import LEVELS
from hemojax.metrics.ratio import ratio

AnyCounts = Real[np.ndarray, "*n levels"]

_OTSU_BINS = 256


def auroc(inside: AnyCounts, outside: AnyCounts) -> Float64[np.ndarray, "*n"]:
    """Pixel AUROC: the share of (inside, outside) pairs of pixels in the right order; a tie within a level counts half.

    That of scikit-learn for the map floored to its levels. NaN where the mask is empty or everything.
    """
    inside, outside = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    below = np.cumsum(outside, axis=-1) - outside / 2
    pairs = inside.sum(axis=-1) * outside.sum(axis=-1)
    return ratio((inside * below).sum(axis=-1), pairs)


def average_precision(inside: AnyCounts, outside: AnyCounts) -> Float64[np.ndarray, "*n"]:
    """Pixel average precision, PxAP (Choe et al. 2020, who use 1,000 levels): precision summed over steps of recall.

    The pixels of a level are taken together, as scikit-learn does. NaN where the mask is empty.
    """
    inside, outside = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    tp = np.cumsum(inside[..., ::-1], axis=-1)
    predicted = tp + np.cumsum(outside[..., ::-1], axis=-1)
    precision = ratio(tp, predicted, empty=0.0)
    return ratio((inside[..., ::-1] * precision).sum(axis=-1), tp[..., -1])


def otsu_threshold(levels: AnyCounts) -> Float32[np.ndarray, "*n"]:
    """Otsu's threshold of each map (Otsu 1979): the middle of the bin, of 256 over [0, 1], that parts it best.

    That of `skimage.filters.threshold_otsu` for maps that reach 0 and 1. Of equal ones the lowest. A map with all its
    pixels in one bin has no two parts; its threshold is 1, which nothing exceeds.

    Args:
        levels: Pixels of each level, inside and outside added.
    """
    bins = np.asarray(levels, np.float64).reshape(*levels.shape[:-1], _OTSU_BINS, LEVELS // _OTSU_BINS).sum(axis=-1)
    middle = (np.arange(_OTSU_BINS) + 0.5) / _OTSU_BINS
    low, moment = np.cumsum(bins, axis=-1), np.cumsum(bins * middle, axis=-1)
    high = low[..., -1:] - low
    # Between the parts: low * high * (difference of their means)**2, over one denominator.
    gap = np.square(moment * high - (moment[..., -1:] - moment) * low)
    parted = ratio(gap, low * high, empty=0.0)
    return np.asarray(np.where(parted.any(axis=-1), middle[parted.argmax(axis=-1)], 1.0), np.float32)
