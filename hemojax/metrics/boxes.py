"""Bounding boxes of a mask's components, and how two sets of boxes agree.

A box is `[i0, j0, i1, j1)`: half-open, in array indices. One box is drawn around each 8-connected component, which is
the rule of the Hemorica evaluation for predictions and for true masks alike.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

_EIGHT_CONNECTED = np.ones((3, 3), bool)


class BoxCounts(NamedTuple):
    """How predicted boxes agree with true ones in one image.

    `tp`, `fp` and `fn` count pixels of the raster unions of the filled boxes. `loose`: some predicted box overlaps
    some true box; `strict`: some pair has an IoU of at least 0.5.
    """

    tp: int
    fp: int
    fn: int
    loose: bool
    strict: bool


def component_boxes(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "n 4"]:
    """Draws one box around each 8-connected component, in row order of the components' first pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.empty((0, 4), np.int64)
    # Only the part that holds all components: a heat map's mask is often small, and labelling is what costs.
    i0, j0 = rows[0], columns[0]
    labels, _ = ndimage.label(mask[i0 : rows[-1] + 1, j0 : columns[-1] + 1], _EIGHT_CONNECTED)
    objects = ndimage.find_objects(labels)
    boxes = np.array([(i.start, j.start, i.stop, j.stop) for i, j in objects], np.int64)
    return boxes + np.array([i0, j0, i0, j0])


def box_counts(predicted: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> BoxCounts:
    """Compares the component boxes of a predicted mask with those of the true mask."""
    return compare_boxes(component_boxes(predicted), component_boxes(truth), truth.shape)


def compare_boxes(
    predicted: Int[np.ndarray, "n 4"], truth: Int[np.ndarray, "m 4"], shape: tuple[int, ...]
) -> BoxCounts:
    """Compares two sets of boxes, such as predicted components and an annotator's boxes.

    Args:
        predicted: Predicted boxes; there may be none.
        truth: True boxes; there may be none.
        shape: (h, w) of the image; both sets are cut to it.

    Returns:
        The counts; without a box on either side there is no hit.
    """
    predicted, truth = _cut(predicted, shape), _cut(truth, shape)
    filled_prediction, filled_truth = _fill(predicted, shape), _fill(truth, shape)
    tp = int(np.count_nonzero(filled_prediction & filled_truth))
    best = _best_iou(predicted, truth)
    return BoxCounts(
        tp=tp,
        fp=int(np.count_nonzero(filled_prediction)) - tp,
        fn=int(np.count_nonzero(filled_truth)) - tp,
        loose=best > 0,
        strict=best >= 0.5,
    )


def _cut(boxes: Int[np.ndarray, "n 4"], shape: tuple[int, ...]) -> Int[np.ndarray, "n 4"]:
    return np.clip(boxes, 0, (*shape, *shape))


def _fill(boxes: Int[np.ndarray, "n 4"], shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    filled = np.zeros(shape, bool)
    for i0, j0, i1, j1 in boxes.tolist():
        filled[i0:i1, j0:j1] = True
    return filled


def _best_iou(predicted: Int[np.ndarray, "n 4"], truth: Int[np.ndarray, "m 4"]) -> float:
    if not len(predicted) or not len(truth):
        return 0.0
    start = np.maximum(predicted[:, None, :2], truth[:, :2])
    stop = np.minimum(predicted[:, None, 2:], truth[:, 2:])
    shared = np.clip(stop - start, 0, None).prod(axis=-1)
    areas = _area(predicted)[:, None] + _area(truth)
    return float((shared / (areas - shared)).max())


def _area(boxes: Int[np.ndarray, "n 4"]) -> Int[np.ndarray, " n"]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
