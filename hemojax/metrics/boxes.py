"""Bounding boxes of a mask's components, and how two sets of boxes agree.

A box is `[i0, j0, i1, j1)`: half-open, in array indices. One box is drawn around each 8-connected component, which is
the rule of the Hemorica evaluation for predictions and for true masks alike.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import sparse

from hemojax.metrics.overlap import THRESHOLDS

BOX_THRESHOLDS: Float32[np.ndarray, "11"] = THRESHOLDS[::5]
"""A coarser sweep, for boxes: every fifth threshold, 0.5 among them; ascending."""


class BoxCounts(NamedTuple):
    """How predicted boxes agree with true ones in one image.

    `tp`, `fp` and `fn` count pixels of the raster unions of the filled boxes. `loose`: some predicted box overlaps
    some true box; `strict`: some pair has an IoU of at least 0.5; `best`: the highest IoU of any pair.
    """

    tp: int
    fp: int
    fn: int
    loose: bool
    strict: bool
    best: float


def component_boxes(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "n 4"]:
    """Draws one box around each 8-connected component, in row order of the components' first pixels."""
    return _stack_boxes(np.pad(mask, ((0, 0), (1, 1)))[None])[0]


def threshold_boxes(
    heat: Float[np.ndarray, "h w"], thresholds: Float[np.ndarray, " t"]
) -> list[Int[np.ndarray, "_ 4"]]:
    """The `component_boxes` of `heat > threshold` for all thresholds in one go, which is faster."""
    padded = np.zeros((len(thresholds), heat.shape[0], heat.shape[1] + 2), bool)
    for threshold, mask in zip(thresholds, padded, strict=True):
        np.greater(heat, threshold, out=mask[:, 1:-1])
    return _stack_boxes(padded)


def _stack_boxes(padded: Bool[np.ndarray, "t h w_plus_2"]) -> list[Int[np.ndarray, "_ 4"]]:
    """The boxes of masks whose first and last columns are empty, by columns without these.

    The rows are taken apart into runs of true pixels, and runs that touch are joined as the edges of a sparse graph: a
    smooth mask has a thousand times fewer runs than pixels. Masks lie one below the other, with an empty row between.
    """
    number, height, width = padded.shape[0], padded.shape[1], padded.shape[2] - 2
    # Every row begins and ends with False, so starts and stops (half-open) take turns.
    edges = np.flatnonzero(padded[..., 1:] != padded[..., :-1])
    edges += edges // (height * (width + 1)) * (width + 1)  # the empty rows
    starts, stops = edges[::2], edges[1::2]
    row, start = np.divmod(starts, width + 1)
    stop = start + stops - starts
    # The runs of the next row that touch a run, at a corner too, are neighbours in the list, from `first` on.
    first = np.searchsorted(stops, starts + (width + 1), "left")
    touching = np.maximum(np.searchsorted(starts, stops + (width + 1), "right") - first, 0)
    ends = np.cumsum(touching)
    after = np.arange(touching.sum()) + np.repeat(first - ends + touching, touching)
    pairs = np.ones(len(after), bool), after, np.concatenate([[0], ends])
    graph = sparse.csr_array(pairs, shape=(len(starts), len(starts)))
    n, component = sparse.csgraph.connected_components(graph, directed=False)
    boxes = np.zeros((4, n), np.int64)
    boxes[0, component[::-1]] = row[::-1]  # of several the last one stays: the component's first row
    boxes[2, component] = row + 1
    boxes[1] = width
    np.minimum.at(boxes[1], component, start)
    np.maximum.at(boxes[3], component, stop)
    of_mask = boxes[0] // (height + 1)
    boxes[::2] -= of_mask * (height + 1)
    return np.split(boxes.T, np.searchsorted(of_mask, np.arange(1, number)))[:number]


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
    filled_truth = _fill(truth, (0, 0, *shape))
    tp = fp = 0
    if len(predicted):
        # Only the part that holds all predicted boxes: they are often small.
        part = (*predicted[:, :2].min(axis=0).tolist(), *predicted[:, 2:].max(axis=0).tolist())
        filled = _fill(predicted, part)
        tp = int(np.count_nonzero(filled & filled_truth[part[0] : part[2], part[1] : part[3]]))
        fp = int(np.count_nonzero(filled)) - tp
    best = _best_iou(predicted, truth)
    fn = int(np.count_nonzero(filled_truth)) - tp
    return BoxCounts(tp, fp, fn, loose=best > 0, strict=best >= 0.5, best=best)


def _cut(boxes: Int[np.ndarray, "n 4"], shape: tuple[int, ...]) -> Int[np.ndarray, "n 4"]:
    return np.clip(boxes, 0, (*shape, *shape))


def _fill(boxes: Int[np.ndarray, "n 4"], part: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """The boxes' pixels, in a part [i0, j0, i1, j1) of the image."""
    filled = np.zeros((part[2] - part[0], part[3] - part[1]), bool)
    for i0, j0, i1, j1 in (boxes - np.array([*part[:2], *part[:2]])).tolist():
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
