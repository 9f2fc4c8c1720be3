"""How the mask of one scan agrees with the true one in space: surface distances in mm, and volumes in mL."""

import numpy as np
from jaxtyping import Bool, Float64
from scipy import ndimage

Spacing = tuple[float, float, float]
"""The distance of neighbouring voxels along each axis, mm."""


def surface(mask: Bool[np.ndarray, "h w n"]) -> Bool[np.ndarray, "h w n"]:
    """The voxels of a mask that have a face in common with one outside of it, or with the scan's border."""
    return mask & ~ndimage.binary_erosion(mask)


def hausdorff(
    predicted: Bool[np.ndarray, "h w n"],
    truth: Bool[np.ndarray, "h w n"],
    spacing: Spacing,
    percentile: float = 95.0,
) -> float:
    """Hausdorff distance of two masks' surfaces, in mm; the 95th percentile unless told otherwise.

    The percentile is taken of the distances from either surface to the other one, and the larger of the two counts
    (Huttenlocher et al. 1993; so do MONAI and DeepMind's surface-distance, up to weights of surface elements). The
    100th is the Hausdorff distance itself. Distances are those of voxel centres.

    Args:
        predicted: The predicted mask.
        truth: The true mask.
        spacing: mm along each axis.
        percentile: From 0 to 100.

    Returns:
        mm; NaN where a mask is empty, as there is no distance to nothing.
    """
    if not predicted.any() or not truth.any():
        return float("nan")
    # Only the part that holds both: a distance transform costs as much as there are voxels.
    (part,) = ndimage.find_objects((predicted | truth).astype(np.uint8))
    one, other = surface(predicted[part]), surface(truth[part])
    return max(float(np.percentile(_distances(to, spacing)[of], percentile)) for of, to in ((one, other), (other, one)))


def _distances(surface: Bool[np.ndarray, "h w n"], spacing: Spacing) -> Float64[np.ndarray, "h w n"]:
    return ndimage.distance_transform_edt(~surface, sampling=spacing)


def millilitres(mask: Bool[np.ndarray, "h w n"], spacing: Spacing) -> float:
    """The volume of a mask, mL."""
    return float(np.count_nonzero(mask) * np.prod(spacing) / 1000)
