"""The slice as it would be without its bleed: filled from the surroundings, or from the other hemisphere.

What is filled must carry no cue of its own: no edge (the fill meets its surroundings, and covers the rim in which the
bleed takes a part of each pixel), no smooth patch (it has the noise of its surroundings), no bone or air.

Slices are in HU, at their own resolution; lengths are given for a 512 grid (about 0.5 mm a pixel) and scale with it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Real
from scipy import ndimage, sparse, stats
from scipy.sparse import linalg

from hemojax.data import midline
from hemojax.data.midline import Midline

SOFT_TISSUE = (0.0, 80.0)  # HU, both excluded: what a brain window clips is as much bone or air as what it does not
_RIM = 5.0
_RING = 8.0  # beyond the rim: what the noise is like
_BESIDE_BONE = 2.0  # pixels partly bone look like blood
_MARGIN = 8
_LOCAL = 3.0  # sigma of the local mean, about which noise is measured


def fill_from_surroundings(
    hu: Real[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], seed: int = 0
) -> Float32[np.ndarray, "h w"]:
    """Fills the mask and its rim with what is around: smoothly, and with the noise of a ring around it.

    Args:
        hu: the slice.
        mask: the lesion; may be empty.
        seed: of the noise.

    Returns:
        the slice with the lesion filled; other pixels are untouched, bone and air in the rim too. As it was where
        there is no soft tissue near the lesion.
    """
    filled = hu.astype(np.float32)
    if mask.any():
        scale = max(hu.shape) / 512
        box = _frame(mask, int((_RIM + _RING + _MARGIN) * scale) + _MARGIN)
        place = _place(hu[box], mask[box], scale)
        found = _around(hu[box], place, scale, seed)
        filled[box] = np.where(place.region, np.clip(found, hu.min(), hu.max()), hu[box])
    return filled


def fill_from_other_side(
    hu: Real[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], line: Midline, seed: int = 0
) -> Float32[np.ndarray, "h w"]:
    """Fills the mask and its rim with the mirror image of the other hemisphere.

    In the rim a smooth correction leads over to the slice (as in seamless cloning, Perez et al. 2003). Where the mirror
    image shows the lesion too, or bone or air, the surroundings fill the place.

    Args:
        hu: the slice.
        mask: the lesion; may be empty.
        line: the slice's, see `midline.find`.
        seed: of the noise of `fill_from_surroundings`.

    Returns:
        the slice with the lesion filled; other pixels are untouched.
    """
    filled = hu.astype(np.float32)
    if mask.any():
        scale = max(hu.shape) / 512
        box = _frame(mask, int((_RIM + _RING + _MARGIN) * scale) + _MARGIN)
        place = _place(hu[box], mask[box], scale)
        whole = np.zeros(hu.shape, bool)
        whole[box] = place.region
        other = midline.mirror(hu, line, box)
        usable = ~_solid(other) & (midline.mirror(whole, line, box) == 0)
        found = _around(hu[box], place, scale, seed)
        if (place.known & usable).any():
            correction = harmonic_fill(hu[box] - other, place.region, place.known & usable)
            mirrored = other + (1 - _depth(place.region, 2 * _RIM * scale)) * correction
            share = _depth(usable, _RIM * scale)
            found = share * mirrored + (1 - share) * found
        filled[box] = np.where(place.region, np.clip(found, hu.min(), hu.max()), hu[box])
    return filled


def harmonic_fill(
    values: Real[np.ndarray, "h w"], region: Bool[np.ndarray, "h w"], known: Bool[np.ndarray, "h w"]
) -> Float64[np.ndarray, "h w"]:
    """Solves Laplace's equation in the region: each pixel becomes the mean of its neighbours.

    Neighbours (4-connected) are other pixels of the region, and known ones outside it; through all others nothing
    flows. A part of the region that touches nothing known takes the median of what is known.

    Args:
        values: the image.
        region: what to fill.
        known: what to fill it from.

    Returns:
        the image with the region filled; as it was if nothing is known.
    """
    filled = values.astype(np.float64)
    known = known & ~region
    if not region.any() or not known.any():
        return filled
    pieces, n = ndimage.label(region)
    beside_known = ndimage.binary_dilation(known) & region
    touching = np.zeros(n + 1, bool)
    touching[pieces[beside_known]] = True
    filled[region] = np.median(filled[known])
    region = touching[pieces] & region
    if region.any():
        box = _frame(region)
        filled[box] = _solve(filled[box], region[box], known[box])
    return filled


def _solve(
    values: Float64[np.ndarray, "h w"], unknown: Bool[np.ndarray, "h w"], known: Bool[np.ndarray, "h w"]
) -> Float64[np.ndarray, "h w"]:
    place = np.arange(values.size).reshape(values.shape)
    first = np.concatenate([place[:-1].ravel(), place[:, :-1].ravel()])
    second = np.concatenate([place[1:].ravel(), place[:, 1:].ravel()])
    pixel, neighbour = np.concatenate([first, second]), np.concatenate([second, first])
    counts = unknown.ravel()[pixel] & (unknown | known).ravel()[neighbour]
    pixel, neighbour = pixel[counts], neighbour[counts]
    number = np.cumsum(unknown.ravel()) - 1
    total = int(unknown.sum())
    row = number[pixel]
    given = known.ravel()[neighbour]
    degree = np.bincount(row, minlength=total).astype(np.float64)
    sums = np.bincount(row[given], values.ravel()[neighbour[given]], minlength=total)
    links = sparse.coo_array(
        (np.ones(int((~given).sum())), (row[~given], number[neighbour[~given]])), shape=(total, total)
    )
    solved = values.copy()
    solved[unknown] = linalg.spsolve((sparse.diags_array(degree) - links).tocsc(), sums)
    return solved


class _Place(NamedTuple):
    """What to fill, the mask and its rim; and the soft tissue outside from which it may be filled."""

    region: Bool[np.ndarray, "h w"]
    known: Bool[np.ndarray, "h w"]


def _place(hu: Real[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], scale: float) -> _Place:
    solid = _solid(hu) & ~mask
    region = mask | (_near(mask, _RIM * scale) & ~solid)
    return _Place(region, _soft(hu) & ~region & ~_near(solid, _BESIDE_BONE * scale))


def _around(hu: Real[np.ndarray, "h w"], place: _Place, scale: float, seed: int) -> Float64[np.ndarray, "h w"]:
    ring = place.known & _near(place.region, _RING * scale)
    filled = harmonic_fill(hu, place.region, place.known)
    if ring.any():
        filled += _noise(hu, place.known, ring, max(1.0, _LOCAL * scale), np.random.default_rng(seed))
    return filled


def _soft(hu: Real[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    return (hu > SOFT_TISSUE[0]) & (hu < SOFT_TISSUE[1])


def _solid(hu: Real[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Bone and air, but no single pixels, which are noise."""
    return ndimage.binary_opening(~_soft(hu), np.ones((3, 3), bool))


def _noise(
    hu: Real[np.ndarray, "h w"],
    known: Bool[np.ndarray, "h w"],
    ring: Bool[np.ndarray, "h w"],
    sigma: float,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "h w"]:
    """Normal noise with the standard deviation and the correlation of neighbours that the ring has.

    Both are those of what a local mean (Gaussian, `sigma` pixels) leaves, so that a border of tissues in the ring is
    not taken for noise.
    Noise of independent pixels would all but vanish when the slice is made smaller, and leave a smooth patch.
    """
    weight = np.maximum(ndimage.gaussian_filter(known.astype(np.float64), sigma), 1e-9)
    rest = np.where(ring, hu - ndimage.gaussian_filter(np.where(known, hu, 0.0), sigma) / weight, 0)
    deviation = stats.median_abs_deviation(rest[ring], scale="normal")
    if not deviation:
        return np.zeros(hu.shape)
    rest = np.clip(rest, -3 * deviation, 3 * deviation)
    neighbours = ((rest[1:], rest[:-1], ring[1:] & ring[:-1]), (rest[:, 1:], rest[:, :-1], ring[:, 1:] & ring[:, :-1]))
    products = np.concatenate([(one * other)[both] for one, other, both in neighbours])
    correlation = np.clip(products.mean() / np.square(rest[ring]).mean() if len(products) else 0, 1e-6, 0.95)
    # White noise after a Gaussian of this sigma: the correlation of neighbours is exp(-1 / (4 sigma^2)).
    width = 0.5 / np.sqrt(-np.log(correlation))
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape), width, mode="wrap")
    # Of this noise, too, a local mean takes a part.
    return noise * (deviation / (noise - ndimage.gaussian_filter(noise, sigma, mode="wrap")).std())


def _near(mask: Bool[np.ndarray, "h w"], distance: float) -> Bool[np.ndarray, "h w"]:
    """The mask and what lies within a distance of it, at least its neighbours."""
    return ndimage.distance_transform_edt(~mask) <= max(1.0, distance) if mask.any() else mask


def _depth(mask: Bool[np.ndarray, "h w"], width: float) -> Float64[np.ndarray, "h w"]:
    """0 outside the mask, growing to 1 over `width` pixels."""
    if mask.all():
        return np.ones(mask.shape)
    return np.minimum(ndimage.distance_transform_edt(mask) / max(1.0, width), 1)


def _frame(mask: Bool[np.ndarray, "h w"], margin: int = 1) -> tuple[slice, slice]:
    """The part of the slice that holds the mask and what is around it."""
    rows, columns = (np.flatnonzero(mask.any(axis=1 - axis)) for axis in (0, 1))
    return (
        slice(max(rows[0] - margin, 0), rows[-1] + 1 + margin),
        slice(max(columns[0] - margin, 0), columns[-1] + 1 + margin),
    )
