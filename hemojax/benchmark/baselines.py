"""Maps that look at no classifier: what a class activation map has to beat.

All are numpy functions of one slice in HU and give a map in [0, 1] on its grid. They work on full HU and on volumes
clipped to a brain window such as 0 to 80 HU, where bone is whatever is saturated. Lengths are given for a 512 grid
(about 0.5 mm a pixel) and scale with the grid.
"""

import numpy as np
from jaxtyping import Bool, Float32, Real
from scipy import ndimage

_BONE_HU = 100.0
_NO_SKULL_BELOW_HU = 60.0  # a slice with nothing brighter has no skull
_SOFT_TISSUE_HU = 10.0  # the mean inside the skull is above it; air cells and sinuses are below
_SMALLEST_BONE = 0.0005  # of the slice; smaller bright spots are calcification or saturated blood
_SMALLEST_BRAIN = 0.002  # of the slice
_WHOLE_BRAIN = 0.05  # of the slice; with less, the skull may be open at the orbits and wider gaps are closed
_GAPS = (5.0, 15.0, 31.0)
_BONE_MARGIN = 5.0
_SMOOTHING_SIGMA = 2.0

_EIGHT_CONNECTED = np.ones((3, 3), bool)


def intracranial_mask(hu: Real[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Finds what the skull encloses: soft tissue that bone, its gaps closed, cuts off from the slice's border.

    Small spots inside that are as bright as bone (calcification, dense blood in a clipped volume) belong to it. In
    slices through the face it also holds other tissue between bones; it is empty where there is no skull.
    """
    inside = np.zeros(hu.shape, bool)
    brightest = float(hu.max())
    if brightest < _NO_SKULL_BELOW_HU:
        return inside
    pieces, n = ndimage.label(hu >= min(_BONE_HU, brightest), _EIGHT_CONNECTED)
    large = np.bincount(pieces.ravel(), minlength=n + 1) >= _SMALLEST_BONE * hu.size
    large[0] = False
    if not large.any():
        return inside
    bone = large[pieces]
    # Air around the head need not be searched, but one pixel of it must stay, as the way to the border.
    head = tuple(_reach(bone.any(axis=1 - axis)) for axis in (0, 1))
    for gap in _GAPS:
        enclosed = _enclosed_tissue(hu[head], bone[head], _pixels(gap, hu), _SMALLEST_BRAIN * hu.size)
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
    brain = tuple(_reach(inside.any(axis=1 - axis), margin) for axis in (0, 1))
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


def _enclosed_tissue(
    hu: Real[np.ndarray, "h w"], bone: Bool[np.ndarray, "h w"], gap: float, smallest: float
) -> Bool[np.ndarray, "h w"]:
    pieces, n = ndimage.label(~_closed(bone, gap))
    area = np.bincount(pieces.ravel(), minlength=n + 1)
    brightness = np.bincount(pieces.ravel(), np.clip(hu, 0, _BONE_HU).ravel(), minlength=n + 1)
    brain = (area >= smallest) & (brightness > _SOFT_TISSUE_HU * area)
    brain[0] = False  # bone
    for border in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        brain[border] = False
    return brain[pieces]


def _pixels(length: float, hu: Real[np.ndarray, "h w"]) -> float:
    return length * max(hu.shape) / 512


def _reach(line: Bool[np.ndarray, " n"], margin: int = 1) -> slice:
    found = np.flatnonzero(line)
    return slice(max(found[0] - margin, 0), min(found[-1] + 1 + margin, len(line)))


def _closed(mask: Bool[np.ndarray, "h w"], gap: float) -> Bool[np.ndarray, "h w"]:
    size = 2 * round(gap / 2) + 1
    grown = ndimage.maximum_filter(mask, size, mode="constant")
    return ndimage.minimum_filter(grown, size, mode="constant", cval=1)


def _eroded(mask: Bool[np.ndarray, "h w"], width: float) -> Bool[np.ndarray, "h w"]:
    return ndimage.minimum_filter(mask, 2 * round(width) + 1, mode="constant")
