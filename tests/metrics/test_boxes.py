import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import measure

from hemojax.metrics import boxes, overlap

SHAPE = (9, 11)
MASKS = hnp.arrays(bool, SHAPE, elements=st.sampled_from([True, False, False]))


def boxes_by_regionprops(mask):
    regions = measure.regionprops(measure.label(mask, connectivity=2))
    return [tuple(region.bbox) for region in regions]


def counts_by_raster(predicted, truth, shape):
    """The same counts pixel by pixel, and the hits from the rasters of each pair."""

    def raster(box):
        i, j = np.indices(shape)
        return (i >= box[0]) & (j >= box[1]) & (i < box[2]) & (j < box[3])

    nothing = np.zeros(shape, bool)
    one = np.logical_or.reduce([nothing, *map(raster, predicted)])
    other = np.logical_or.reduce([nothing, *map(raster, truth)])
    ious = [(raster(p) & raster(t)).sum() / (raster(p) | raster(t)).sum() for p in predicted for t in truth] or [0.0]
    return ((one & other).sum(), (one & ~other).sum(), (~one & other).sum(), max(ious) > 0, max(ious) >= 0.5, max(ious))


@settings(max_examples=80, deadline=None)
@given(MASKS)
def test_component_boxes_are_scikit_images(mask):
    found = boxes.component_boxes(mask)
    assert found.shape == (len(found), 4)
    assert list(map(tuple, found.tolist())) == boxes_by_regionprops(mask)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75])))
def test_boxes_at_many_thresholds_are_those_at_each(heat):
    thresholds = np.float32([0.5, 0.0, 0.9, 0.3])
    together = boxes.threshold_boxes(heat, thresholds)
    expected = [boxes_by_regionprops(heat > threshold) for threshold in thresholds]
    assert [list(map(tuple, found.tolist())) for found in together] == expected
    assert boxes.threshold_boxes(heat, thresholds[:0]) == []


def test_components_that_touch_at_a_corner_share_a_box():
    assert boxes.component_boxes(np.eye(3, 4, dtype=bool)).tolist() == [[0, 0, 3, 3]]


def test_an_empty_mask_has_no_box():
    assert boxes.component_boxes(np.zeros((4, 5), bool)).shape == (0, 4)


def box_counts(predicted, truth):
    return boxes.compare_boxes(boxes.component_boxes(predicted), boxes.component_boxes(truth), SHAPE)


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS)
def test_box_counts_are_those_of_the_rasters(predicted, truth):
    expected = counts_by_raster(boxes_by_regionprops(predicted), boxes_by_regionprops(truth), SHAPE)
    assert box_counts(predicted, truth) == expected


@settings(max_examples=30, deadline=None)
@given(MASKS, MASKS)
def test_flipping_both_masks_changes_no_count(predicted, truth):
    assert box_counts(predicted[::-1, ::-1], truth[::-1, ::-1]) == box_counts(predicted, truth)


def test_box_counts_of_a_worked_example():
    predicted = np.array([[0, 0, 2, 4], [0, 0, 4, 2]])  # an L of 12 pixels, its corner counted once
    truth = np.array([[0, 0, 3, 3]])
    counts = boxes.compare_boxes(predicted, truth, (8, 8))
    assert counts == boxes.BoxCounts(tp=8, fp=4, fn=1, loose=True, strict=True, best=6 / 11)
    assert [type(value) for value in counts] == [int, int, int, bool, bool, float]


@pytest.mark.parametrize(
    ("box", "loose", "strict", "best"),
    [
        ([0, 0, 2, 2], True, True, 4 / 8),
        ([0, 0, 1, 3], True, False, 3 / 8),
        ([0, 4, 2, 6], False, False, 0),  # shares an edge only
        ([5, 5, 6, 6], False, False, 0),
    ],
)
def test_hits(box, loose, strict, best):
    counts = boxes.compare_boxes(np.array([box]), np.array([[0, 0, 2, 4]]), (8, 8))
    assert counts[3:] == (loose, strict, best)


def test_without_boxes_on_a_side_there_is_no_hit():
    none, one = np.empty((0, 4), int), np.array([[1, 1, 3, 3]])
    assert boxes.compare_boxes(none, one, (8, 8)) == (0, 0, 4, False, False, 0.0)
    assert boxes.compare_boxes(one, none, (8, 8)) == (0, 4, 0, False, False, 0.0)
    assert boxes.compare_boxes(none, none, (8, 8)) == (0, 0, 0, False, False, 0.0)


def test_boxes_are_cut_to_the_image():
    counts = boxes.compare_boxes(np.array([[-3, -3, 2, 2]]), np.array([[0, 0, 2, 99]]), (4, 4))
    assert counts == boxes.BoxCounts(tp=4, fp=0, fn=4, loose=True, strict=True, best=0.5)


def test_the_boxes_thresholds_are_among_all():
    assert np.isin(boxes.BOX_THRESHOLDS, overlap.THRESHOLDS).all()
    assert np.float32(0.5) in boxes.BOX_THRESHOLDS
