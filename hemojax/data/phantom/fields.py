"""Building blocks of the phantom: the voxel grid in head coordinates, random fields, soft edges."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage, sparse

SUBSLICES = 2  # planes averaged within a slice's thickness: partial volume along z


class Grid(NamedTuple):
    """Voxel centres, in-plane at the image's resolution and `SUBSLICES` planes a slice.

    Attributes:
        x: from the midline towards the patient's left, mm of a standard head.
        a: towards the face.
        z: towards the vertex, 0 at the foramina of Monro.
        dependent: height above the table of each row, mm in the room (a supine patient's blood sinks to low values).
        pixel: side of a pixel, mm.
        spacing: distance between slices, mm.
    """

    x: Float32[np.ndarray, "h w s"]
    a: Float32[np.ndarray, "h w s"]
    z: Float32[np.ndarray, "h w s"]
    dependent: Float32[np.ndarray, "1 w 1"]
    pixel: float
    spacing: float


def head_grid(rng: np.random.Generator, size: int, slices: int) -> Grid:
    """Lays the scanner's voxels over a head of random size, position and tilt.

    The first array axis runs from the patient's right to left, the second from front to back, the third from
    the posterior fossa to just below the vertex, as in an LPS-ordered clinical NIfTI file.

    Args:
        rng: the case's generator.
        size: pixels on each side of a slice.
        slices: number of slices.

    Returns:
        The grid, in millimetres of the standard head.
    """
    pixel = rng.uniform(222, 246) / size
    scale = rng.uniform(0.93, 1.04) * (1 + rng.normal(0, 0.02, 3))
    bottom, top = rng.uniform(-49, -43) * scale[2], rng.uniform(62, 67) * scale[2]
    spacing = (top - bottom) / max(slices - 1, 1)
    thickness = min(spacing, 5.0)
    levels = bottom + spacing * np.arange(slices) if slices > 1 else np.array([(bottom + top) / 2])
    offsets = ((np.arange(SUBSLICES) + 0.5) / SUBSLICES - 0.5) * thickness
    up = (levels[:, None] + offsets).ravel().astype(np.float32)
    across = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)

    yaw, roll, pitch = np.deg2rad(rng.normal(0, (8, 2.5, 3.5)))
    turn = rotation(yaw, roll, pitch) / scale[:, None]
    shift = rng.normal(0, (4, 4, 0)) - (0, 3, 0)
    turn, shift = turn.astype(np.float32), shift.astype(np.float32)
    right_left, front = across[:, None, None], -across[None, :, None]
    x, a, z = (
        turn[axis, 0] * right_left + turn[axis, 1] * front + turn[axis, 2] * up + shift[axis] for axis in range(3)
    )
    a = a + np.float32(rng.normal(0, 0.03)) * x  # plagiocephaly
    return Grid(x, a, z, front, pixel, float(spacing))


def rotation(yaw: float, roll: float, pitch: float) -> Float[np.ndarray, "3 3"]:
    """The rotation matrix about z, then a, then x, angles in radians."""
    cy, sy, cr, sr, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch)
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_a = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    return about_x @ about_a @ about_z


def soft(distance: Float[np.ndarray, "*shape"], width: float) -> Float[np.ndarray, "*shape"]:
    """Fraction of a voxel that lies inside a surface.

    Args:
        distance: signed distance to the surface, positive inside, mm.
        width: width of the ramp, mm (about a pixel).

    Returns:
        0 outside, 1 inside, linear between.
    """
    return np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)


def bump(square: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """A smooth hill of compact support: `(1 - r²)²` of a squared normalised radius, 0 beyond 1."""
    inside = np.maximum(1 - square, 0)
    return inside * inside


def blend(
    hu: Float[np.ndarray, "*shape"], value: Float[np.ndarray, "*shape"] | float, fraction: Float[np.ndarray, "*shape"]
) -> None:
    """Replaces `fraction` of each voxel of `hu`, in place, by tissue of `value` HU."""
    hu += fraction * (np.asarray(value, np.float32) - hu)


def smooth_field(rng: np.random.Generator, grid: Grid, wavelength: float | int) -> Float32[np.ndarray, "h w s"]:
    """A random field of unit variance, smooth over `wavelength` mm (cubic B-splines on a coarse random grid)."""
    height, width, planes = grid.x.shape
    extents = (height * grid.pixel, width * grid.pixel, planes / SUBSLICES * grid.spacing)
    bases = [
        spline_basis(count, extent / wavelength * 2)
        for count, extent in zip((height, width, planes), extents, strict=True)
    ]
    field = rng.standard_normal([basis.shape[1] for basis in bases]).astype(np.float32)
    for basis in bases:  # each turn interpolates the first axis and moves it to the end
        # Sparse products: only four weights of a row differ from 0, and BLAS threads would cost more than they give.
        lines = sparse.csr_array(basis) @ field.reshape(field.shape[0], -1)
        field = np.moveaxis(lines.reshape(-1, *field.shape[1:]), 0, -1)
    return np.ascontiguousarray(field)


def spline_basis(count: int, knots: float) -> Float32[np.ndarray, "count knots"]:
    """Cubic B-spline weights of `count` samples over `knots` intervals, scaled to keep unit variance."""
    position = np.linspace(0, knots, count)[:, None]
    distance = np.abs(position - np.arange(-1, int(np.ceil(knots)) + 2))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    weights = np.where(distance < 1, near, far)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def folds(rng: np.random.Generator, where: Float32[np.ndarray, "3 n"], spacing: float) -> Float32[np.ndarray, " n"]:
    """Distance (mm, roughly) to the nearest of many meandering sheets about `spacing` mm apart.

    The sheets are the zero set of band-limited noise; the mean distance between the zeros along a line of
    Gaussian-filtered white noise is `pi * sqrt(2) * sigma`.

    Args:
        rng: the case's generator.
        where: coordinates of the points, mm.
        spacing: mean distance between two sheets along a line, mm.

    Returns:
        The absolute distance to the nearest sheet, to first order.
    """
    sigma_cells, cells = 2.0, 40
    noise = ndimage.gaussian_filter(rng.standard_normal((cells,) * 3).astype(np.float32), sigma_cells, mode="wrap")
    step = spacing / (np.pi * np.sqrt(2) * sigma_cells)
    slope = noise.std() / (np.sqrt(2) * sigma_cells * step)
    values = ndimage.map_coordinates(noise, where / np.float32(step), order=1, mode="grid-wrap", output=np.float32)
    return np.abs(values) / np.float32(slope)
