"""The line that mirrors one half of a head onto the other."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Real, Shaped
from scipy import ndimage, optimize

_COARSE = 64  # side of the grid on which the line is sought
_ANGLES = np.radians(np.arange(-20, 21, 4))
_SHIFTS = np.arange(-0.12, 0.121, 0.02)  # of the side, from the head's centre


class Midline(NamedTuple):
    """The points x, in array indices, with `normal . x == distance`; the normal has length 1."""

    normal: tuple[float, float]
    distance: float


def find(hu: Real[np.ndarray, "h w"], axis: int) -> Midline:
    """Finds the line about which the head's mirror image correlates best with the head.

    Sought on a coarse, smoothed grid: of turns up to 20 degrees and shifts up to an eighth of the side the best, then
    refined. The outline and the skull decide, so that a lesion on one side hardly matters.

    Args:
        hu: the slice, in HU.
        axis: the array axis, 0 or 1, along which left and right lie.
    """
    step = max(1, round(max(hu.shape) / _COARSE))
    head = ndimage.gaussian_filter(np.clip(hu, 0, 80).astype(np.float64), step / 2)[::step, ::step]
    if np.ptp(head) == 0:  # nothing to go by: the middle
        return _line(axis, 0.0, (hu.shape[axis] - 1) / 2, np.zeros(2))
    centre = np.array(ndimage.center_of_mass(head))

    def mismatch(place: Float64[np.ndarray, "2"]) -> float:
        mirrored = mirror(head, _line(axis, place[0], place[1], centre))
        spread = head.std() * mirrored.std()
        return float(-((head - head.mean()) * (mirrored - mirrored.mean())).mean() / spread) if spread else 0.0

    starts = [np.array([angle, shift * max(head.shape)]) for angle in _ANGLES for shift in _SHIFTS]
    best = min(starts, key=mismatch)
    simplex = best + np.array([[0, 0], [np.radians(2), 0], [0, 0.5]])
    found = optimize.minimize(
        mismatch, best, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-6}
    )
    return _line(axis, found.x[0], step * found.x[1], step * centre)


def mirror(
    image: Shaped[np.ndarray, "h w"], line: Midline, box: tuple[slice, slice] | None = None
) -> Float64[np.ndarray, "h2 w2"]:
    """The mirror image (bilinear), or the part of it in a box; beyond the border is the lowest value."""
    normal = np.array(line.normal)
    values = image.astype(np.float64)
    matrix, offset = np.eye(2) - 2 * np.outer(normal, normal), 2 * line.distance * normal
    ranges = [part.indices(side) for part, side in zip(box or (slice(None),) * 2, image.shape, strict=True)]
    start, shape = [first for first, _, _ in ranges], tuple(stop - first for first, stop, _ in ranges)
    return ndimage.affine_transform(
        values, matrix, offset + matrix @ start, output_shape=shape, order=1, cval=float(values.min())
    )


def _line(axis: int, angle: float, shift: float, centre: Float64[np.ndarray, "2"]) -> Midline:
    """The line `shift` pixels from `centre`, turned by `angle` from the one across `axis`."""
    normal = (np.cos(angle), np.sin(angle)) if axis == 0 else (np.sin(angle), np.cos(angle))
    return Midline((float(normal[0]), float(normal[1])), float(np.dot(normal, centre) + shift))
