"""Areas under curves against scikit-learn, and Otsu's threshold against scikit-image, of maps floored to levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import filters
from sklearn import metrics as sklearn_metrics

from hemojax.metrics import curves
from hemojax.metrics.overlap import LEVELS

SHAPE = (8, 9)
MASKS = hnp.arrays(bool, SHAPE).filter(lambda mask: mask.any() and not mask.all())
# Few values, so that many pixels tie, and many, so that few do.
HEATS = st.sampled_from([3, LEVELS]).flatmap(lambda n: hnp.arrays(np.int64, SHAPE, elements=st.integers(0, n - 1)))


def levels(floored, mask):
    return (np.bincount(floored[part], minlength=LEVELS) for part in (mask, ~mask))


@settings(max_examples=60, deadline=None)
@given(HEATS, MASKS)
def test_areas_are_scikit_learns(floored, mask):
    inside, outside = levels(floored, mask)
    truth, score = mask.ravel(), floored.ravel() / LEVELS
    assert curves.auroc(inside, outside) == pytest.approx(sklearn_metrics.roc_auc_score(truth, score), abs=1e-9)
    expected = sklearn_metrics.average_precision_score(truth, score)
    assert curves.average_precision(inside, outside) == pytest.approx(expected, abs=1e-9)


def test_a_worked_example():
    # From the top: inside, outside, then one of each that tie.
    inside, outside = np.zeros((2, 2, LEVELS), np.int32)
    inside[0, [900, 100]] = 1
    outside[0, [500, 100]] = 1
    # (0.9 beats two, 0.1 ties with one) of four pairs; precision 1 at the first half of recall, 2 / 4 at the second.
    assert curves.auroc(inside, outside)[0] == (2 + 0.5) / 4
    assert curves.average_precision(inside, outside)[0] == (1 + 0.5) / 2
    # Nothing is known of an empty mask.
    assert np.isnan(curves.auroc(inside, outside)[1])
    assert np.isnan(curves.average_precision(inside, outside)[1])


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)))
def test_otsu_is_scikit_images(heat):
    heat[0, 0], heat[0, 1] = 0, 1
    # numpy bins in double precision and may move a value that lies on an edge: none shall.
    heat = (np.minimum(np.floor(heat * 256), 255) + np.float32(0.3)) / 256
    heat[0, 0], heat[0, 1] = 0, 1
    counts = np.bincount(np.minimum(heat * LEVELS, LEVELS - 1).astype(int).ravel(), minlength=LEVELS)
    found, expected = curves.otsu_threshold(counts), filters.threshold_otsu(heat, nbins=256)
    if found != np.float32(expected):
        # Two thresholds may part a map equally well, up to rounding.
        assert spread(heat, found) == pytest.approx(spread(heat, expected), rel=1e-9)


def spread(heat, threshold):
    """The variance between the two parts of a map, binned as for Otsu."""
    binned = np.minimum(np.floor(heat.astype(np.float64) * 256), 255)
    low, high = binned[heat <= threshold], binned[heat > threshold]
    return len(low) * len(high) * (low.mean() - high.mean()) ** 2


def test_otsu_of_many_maps_and_of_maps_without_two_parts():
    counts = np.zeros((2, 2, LEVELS), np.int32)
    counts[0, 0, [0, 1023]] = 5  # the lowest of all thresholds between the two values
    counts[0, 1, 40] = 9
    counts[1, 0, [3, 0]] = 4  # one bin of 256
    assert curves.otsu_threshold(counts).tolist() == [[np.float32(0.5 / 256), 1], [1, 1]]
