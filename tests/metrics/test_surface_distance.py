"""Surface distances against all pairs of voxels (scipy.spatial) and scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist
from skimage import metrics as skimage_metrics

from hemojax.metrics import surface_distance

SHAPE = (6, 7, 4)
MASKS = hnp.arrays(bool, SHAPE, elements=st.sampled_from([True, False])).filter(np.any)
SPACING = (0.5, 0.75, 5.0)


def border(mask):
    """Voxels with one of their six neighbours outside."""
    padded = np.pad(mask, 1)
    shifted = [np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (1, -1)]
    return mask & ~np.logical_and.reduce(shifted)


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS, st.sampled_from([50.0, 95.0, 100.0]))
def test_surface_distances_are_those_of_all_pairs(predicted, truth, percentile):
    one, other = (np.argwhere(border(mask)) * SPACING for mask in (predicted, truth))
    distances = cdist(one, other)
    expected = max(np.percentile(distances.min(axis=axis), percentile) for axis in (0, 1))
    assert surface_distance.hausdorff(predicted, truth, SPACING, percentile) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS)
def test_the_hundredth_percentile_is_scikit_images(predicted, truth):
    expected = skimage_metrics.hausdorff_distance(border(predicted), border(truth))
    assert surface_distance.hausdorff(predicted, truth, (1.0, 1.0, 1.0), 100.0) == pytest.approx(expected, abs=1e-9)


def test_worked_examples():
    truth, predicted = np.zeros((2, 20, 20, 6), bool)
    truth[2:12, 3:13, 1:3] = True
    predicted[2:12, 4:14, 1:3] = True  # one pixel to the side
    assert surface_distance.hausdorff(predicted, truth, SPACING) == pytest.approx(0.75)
    predicted[19, 19, 5] = True  # a single voxel far away is no 5 % of the surface, but it is the farthest
    assert surface_distance.hausdorff(predicted, truth, SPACING) == pytest.approx(0.75)
    farthest = np.linalg.norm(np.array([19 - 11, 19 - 12, 5 - 2]) * SPACING)
    assert surface_distance.hausdorff(predicted, truth, SPACING, 100.0) == pytest.approx(farthest)
    assert surface_distance.millilitres(truth, SPACING) == pytest.approx(200 * 1.875 / 1000)


def test_there_is_no_distance_to_nothing():
    nothing, everything = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    for predicted, truth in ((nothing, everything), (everything, nothing), (nothing, nothing)):
        assert np.isnan(surface_distance.hausdorff(predicted, truth, SPACING))
    assert surface_distance.hausdorff(everything, everything, SPACING) == 0
    assert surface_distance.millilitres(nothing, SPACING) == 0


@settings(max_examples=40, deadline=None)
@given(MASKS, MASKS, st.floats(-0.6, 0.6))
def test_a_sheared_grid(predicted, truth, shear):
    # As a tilted gantry leaves it: each slice lies farther back than the one before.
    steps = np.array([[0.5, 0, 0], [0, 0.75, 0], [0, 5 * shear, 5]])
    spacing = tuple(np.linalg.norm(steps, axis=1))
    cosines = (0.0, 0.0, steps[1] @ steps[2] / (spacing[1] * spacing[2]))
    one, other = (np.argwhere(border(mask)) @ steps for mask in (predicted, truth))
    distances = cdist(one, other)
    expected = max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1))
    assert surface_distance.hausdorff(predicted, truth, spacing, cosines=cosines) == pytest.approx(expected, abs=1e-6)
    volume = truth.sum() * abs(np.linalg.det(steps)) / 1000
    assert surface_distance.millilitres(truth, spacing, cosines) == pytest.approx(volume)
