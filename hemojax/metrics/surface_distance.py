"""How the mask of one scan agrees with the true one in space: surface distances in mm, and volumes in mL."""

import numpy as np
from jaxtyping import Bool, Float64
from scipy import ndimage, spatial

Spacing = tuple[float, float, float]
"""The distance of neighbouring voxels along each axis, mm."""
Cosines = tuple[float, float, float]
"""Of the angles between the axes i and j, i and k, j and k."""
RIGHT_ANGLES: Cosines = (0.0, 0.0, 0.0)


def surface(mask: Bool[np.ndarray, "h w n"]) -> Bool[np.ndarray, "h w n"]:
    """The voxels of a mask that have a face in common with one outside of it, or with the scan's border."""
    return mask & ~ndimage.binary_erosion(mask)


def hausdorff(
    predicted: Bool[np.ndarray, "h w n"],
    truth: Bool[np.ndarray, "h w n"],
    spacing: Spacing,
    percentile: float = 95.0,
    cosines: Cosines = RIGHT_ANGLES,
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
        cosines: Of the angles between the axes; a tilted gantry shears the grid.

    Returns:
        mm; NaN where a mask is empty, as there is no distance to nothing.
    """
    if not predicted.any() or not truth.any():
        return float("nan")
    one, other = (np.argwhere(surface(mask)) @ _steps(spacing, cosines) for mask in (predicted, truth))
    nearest = (spatial.KDTree(to).query(of)[0] for of, to in ((one, other), (other, one)))
    return max(float(np.percentile(distances, percentile)) for distances in nearest)


def millilitres(mask: Bool[np.ndarray, "h w n"], spacing: Spacing, cosines: Cosines = RIGHT_ANGLES) -> float:
    """The volume of a mask, mL."""
    return float(np.count_nonzero(mask) * np.diag(_steps(spacing, cosines)).prod() / 1000)


def _steps(spacing: Spacing, cosines: Cosines) -> Float64[np.ndarray, "3 3"]:
    """A row an axis: the step to the next voxel in mm, in a frame of its own in which they are a lower triangle."""
    ij, ik, jk = cosines
    between = np.array([[1, ij, ik], [ij, 1, jk], [ik, jk, 1]])
    return np.diag(spacing) @ np.linalg.cholesky(between)
