"""Maps that look at no classifier: what a class activation map has to beat.

All are numpy functions of one slice in HU and give a map in [0, 1] on its grid. They work on full HU and on volumes
clipped to a brain window such as 0 to 80 HU, where bone is whatever is saturated. Lengths are given for a 512 grid
(about 0.5 mm a pixel) and scale with the grid.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Real
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage import draw

_BONE_HU = 100.0
_SATURATION_BLUR = 4.0  # resampling a clipped volume takes a little off saturated bone
_NO_SKULL_BELOW_HU = 60.0  # a slice with nothing brighter has no skull
_SOFT_TISSUE_HU = 10.0  # the mean inside the skull is above it; air cells and sinuses are below
_SMALLEST_BONE = 0.0005  # of the slice; smaller bright spots are calcification or saturated blood
_SMALLEST_BRAIN = 0.002  # of the slice
_WHOLE_BRAIN = 0.05  # of the slice; with less, the skull may be open and a thicker wall is tried
_GAPS = (5.0, 15.0, 31.0)
_BONE_MARGIN = 5.0
_SMOOTHING_SIGMA = 2.0

_EIGHT_CONNECTED = np.ones((3, 3), bool)


def intracranial_mask(hu: Real[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Finds what the skull encloses: soft tissue that bone, its gaps closed, cuts off from the slice's border.

    Where even wide gaps do not explain an open skull (craniectomy), the convex hull of the bone stands in for it.

    Small spots inside that are as bright as bone (calcification, dense blood in a clipped volume) belong to it. In
    slices through the face it also holds other tissue between bones; it is empty where there is no skull.
    """
    inside = np.zeros(hu.shape, bool)
    brightest = float(hu.max())
    if brightest < _NO_SKULL_BELOW_HU:
        return inside
    pieces, n = ndimage.label(hu >= min(_BONE_HU, brightest - _SATURATION_BLUR), _EIGHT_CONNECTED)
    large = np.bincount(pieces.ravel(), minlength=n + 1) >= _SMALLEST_BONE * hu.size
    large[0] = False
    if not large.any():
        return inside
    bone = large[pieces]
    # Air around the head need not be searched, but one pixel of it must stay, as the way to the border.
    head = _frame(bone)
    for wall in _walls(bone[head], [_pixels(gap, hu) for gap in _GAPS]):
        enclosed = _enclosed_tissue(hu[head], wall, _SMALLEST_BRAIN * hu.size)
        if enclosed.sum() > 2 * inside.sum():
            inside[head] = enclosed
        if inside.mean() > _WHOLE_BRAIN:
            break
    return inside


def whole_brain_map(hu: Real[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Everything inside the skull is 1."""
    return intracranial_mask(hu).astype(np.float32)


def hu_threshold_map(hu: Real[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Smoothed HU from 0 to 100 as 0 to 1 inside the skull, so that a threshold on the map is one on HU.

    A margin along bone is 0, as bone in part of a pixel looks like blood; so is everything outside.
    """
    heat = np.zeros(hu.shape, np.float32)
    inside = _eroded(intracranial_mask(hu), _pixels(_BONE_MARGIN, hu))
    if not inside.any():
        return heat
    margin = int(4 * _pixels(_SMOOTHING_SIGMA, hu)) + 1
    brain = _frame(inside, margin)
    weight = inside[brain].astype(np.float32)
    # Bone must not shine into the brain, nor air darken it: a mean over the inside only.
    sums, weights = (
        ndimage.gaussian_filter(image, _pixels(_SMOOTHING_SIGMA, hu))
        for image in (np.clip(hu[brain], 0, 100).astype(np.float32) * weight, weight)
    )
    heat[brain] = np.divide(sums, 100 * weights, out=np.zeros_like(sums), where=weight > 0).clip(0, 1)
    return heat


def mean_mask_map(masks: Bool[np.ndarray, "n h w"]) -> Float32[np.ndarray, "h w"]:
    """How often each pixel lies in a mask, scaled from 0 (least often) to 1; 0 everywhere if all are alike."""
    frequency = masks.mean(axis=0, dtype=np.float64)
    spread = np.ptp(frequency)
    return ((frequency - frequency.min()) / (spread or 1.0)).astype(np.float32)


def _walls(bone: Bool[np.ndarray, "h w"], gaps: list[float]) -> Iterator[Bool[np.ndarray, "h w"]]:
    """What may hold the brain in: bone with ever wider gaps closed (orbits), at last its convex hull (craniectomy)."""
    for gap in gaps:
        yield _closed(bone, gap)
    pieces, _ = ndimage.label(bone, _EIGHT_CONNECTED)
    skull = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    yield _closed(bone, gaps[0]) | ~_convex_hull(skull)


def _convex_hull(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The hull of the corners of all pixels; the first and last pixel of each row are enough to know it."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack([i, j], axis=1) for i in (rows, rows + 1) for j in (first, last)]) - 0.5
    filled = np.zeros_like(mask)
    outline = corners[ConvexHull(corners).vertices]
    filled[draw.polygon(outline[:, 0], outline[:, 1], mask.shape)] = True
    return filled


def _enclosed_tissue(
    hu: Real[np.ndarray, "h w"], wall: Bool[np.ndarray, "h w"], smallest: float
) -> Bool[np.ndarray, "h w"]:
    """The pieces of soft tissue, of some size, that the wall cuts off from the border."""
    pieces, n = ndimage.label(~wall)
    area = np.bincount(pieces.ravel(), minlength=n + 1)
    brightness = np.bincount(pieces.ravel(), np.clip(hu, 0, _BONE_HU).ravel(), minlength=n + 1)
    brain = (area >= smallest) & (brightness > _SOFT_TISSUE_HU * area)
    brain[0] = False  # the wall
    for border in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        brain[border] = False
    return brain[pieces]


def _pixels(length: float, hu: Real[np.ndarray, "h w"]) -> float:
    return length * max(hu.shape) / 512


def _frame(mask: Bool[np.ndarray, "h w"], margin: int = 1) -> tuple[slice, slice]:
    """The part of the slice that holds the mask and a margin."""
    rows, columns = (np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1))
    return (
        slice(max(rows[0] - margin, 0), rows[-1] + 1 + margin),
        slice(max(columns[0] - margin, 0), columns[-1] + 1 + margin),
    )


def _closed(mask: Bool[np.ndarray, "h w"], gap: float) -> Bool[np.ndarray, "h w"]:
    size = 2 * round(gap / 2) + 1
    grown = ndimage.maximum_filter(mask, size, mode="constant")
    return ndimage.minimum_filter(grown, size, mode="constant", cval=1)


def _eroded(mask: Bool[np.ndarray, "h w"], width: float) -> Bool[np.ndarray, "h w"]:
    return ndimage.minimum_filter(mask, 2 * round(width) + 1, mode="constant")
