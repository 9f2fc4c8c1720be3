"""The phantom's haemorrhages: the shape of each subtype, and what it does to the brain around it."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from hemojax.data.phantom.anatomy import Anatomy
from hemojax.data.phantom.fields import Grid, bump, smooth_field, soft
from hemojax.data.phantom.geometry import cavity_depth, tentorium_height
from hemojax.data.phantom.plans import Bleed, Point

Field = Float[np.ndarray, "*shape"]


class Effects(NamedTuple):
    """What the bleeds do to the head around them, see `anatomy.grow_head`."""

    push: Float32[np.ndarray, "h w s"]
    efface: Float32[np.ndarray, "h w s"]
    fill: Float32[np.ndarray, "h w s"]
    dilate: float


def effects(bleeds: list[Bleed], grid: Grid) -> Effects:
    """Midline shift, effaced or blood-filled sulci, and dilated ventricles."""
    push, efface, fill = (np.zeros_like(grid.x) for _ in range(3))
    dilate = 0.0
    for bleed in bleeds:
        if bleed.subtype == "IVH":
            dilate = max(dilate, 1.2)
            continue
        if bleed.subtype == "SAH":
            fill += np.minimum(2 * extent(bleed, grid, bleed.radii), 1)
            continue
        near = extent(bleed, grid, (80.0, 80.0, 70.0))
        push += np.float32(bleed.push) * near
        efface += np.float32(0.12 * abs(bleed.push) + 0.15) * near
    return Effects(push, efface, fill, dilate)


def extent(bleed: Bleed, grid: Grid, radii: Point) -> Float32[np.ndarray, "h w s"]:
    """A smooth hill around a bleed's centre, 1 there and 0 beyond `radii` (mm)."""
    parts = zip((grid.x, grid.a, grid.z), bleed.centre, radii, strict=True)
    return bump(sum(np.square((p - np.float32(c)) * np.float32(1 / r)) for p, c, r in parts))


def bleed_fraction(
    rng: np.random.Generator, bleed: Bleed, grid: Grid, anatomy: Anatomy
) -> tuple[Float32[np.ndarray, "h w s"], Float32[np.ndarray, "h w s"]]:
    """Fraction of each voxel that one bleed fills, and the fraction that its oedema fills."""
    edge = 1.1 * grid.pixel
    cavity = soft(anatomy.depth, edge)
    oedema = np.zeros_like(cavity)
    if bleed.subtype == "IVH":
        return intraventricular(bleed, grid, anatomy, edge), oedema
    if bleed.subtype == "SAH":
        patchy = extent(bleed, grid, bleed.radii) * 3.2 + 0.35 * smooth_field(rng, grid, 30) - 0.35
        return anatomy.fluid * np.clip(patchy, 0, 1) * cavity, oedema
    if bleed.subtype == "IPH":
        distance = intraparenchymal(rng, bleed, grid)
        within = np.minimum(anatomy.depth - 2.5, 1.5 - anatomy.ventricle)
        if bleed.oedema:
            rim = bleed.oedema * (1 + 0.5 * smooth_field(rng, grid, 22))
            oedema = soft(np.minimum(distance + rim, within), edge + 2) * (1 - anatomy.fluid)
        return soft(np.minimum(distance, within), edge), oedema
    distance = epidural(bleed, grid) if bleed.subtype == "EPH" else subdural(bleed, grid, anatomy)
    return soft(np.minimum(distance, anatomy.depth + 0.3), edge) * cavity, oedema


def epidural(bleed: Bleed, grid: Grid) -> Field:
    """Signed distance into a lens whose base lies on the inner table; it stops at the sutures."""
    along, thickness, _ = bleed.radii
    centre = np.array(bleed.centre)
    step = np.eye(3)
    normal = cavity_depth(*(centre[:, None] + step)) - cavity_depth(*(centre[:, None] - step))
    normal /= np.linalg.norm(normal)
    offsets = [p - np.float32(c) for p, c in zip((grid.x, grid.a, grid.z), centre, strict=True)]
    inwards = sum(np.float32(n) * o for n, o in zip(normal, offsets, strict=True))
    square = sum(o * o for o in offsets)
    tangent = np.maximum(square - inwards * inwards, 0) / along**2
    radius = np.sqrt(np.square(inwards / thickness) + tangent + 1e-6)
    lens = (1 - radius) * 0.5 * (thickness + along)
    side = math.copysign(1.0, bleed.centre[0])
    sutures = grid.x * side - 1.0
    if bleed.centre[2] > -16:
        for suture in (22.0, -58.0):  # coronal and lambdoid
            sutures = np.minimum(sutures, (grid.a - suture) * math.copysign(1.0, centre[1] - suture))
    return np.minimum(lens, sutures)


def subdural(bleed: Bleed, grid: Grid, anatomy: Anatomy) -> Field:
    """Signed distance into a crescent along the inner table, the falx or the tentorium."""
    x, a, z = (p - np.float32(c) for p, c in zip((grid.x, grid.a, grid.z), bleed.centre, strict=True))
    along, thickness, up = bleed.radii
    side = math.copysign(1.0, bleed.centre[0])
    if bleed.site == "table":
        posterior_fossa = bleed.centre[2] < -16
        depth = anatomy.depth if posterior_fossa else anatomy.vault
        taper = 1 - (x * x + a * a) / along**2 - np.square(z / up)
        half = np.minimum(grid.x * side - 1.5, (-anatomy.tentorium if posterior_fossa else anatomy.tentorium) - 1)
    elif bleed.site == "falx":
        depth = grid.x * side - 0.8
        taper = 1 - np.square(a / along) - np.square(z / up)
        free = np.sqrt(np.square((grid.a + 4) / 60) + np.square((grid.z - 2) / 48)) - 1
        half = np.minimum(np.minimum(depth, 30 * free), anatomy.tentorium)
    else:
        height = grid.z - tentorium_height(grid.x, grid.a)
        depth = height * 0.9 - 0.5
        taper = 1 - (x * x + a * a) / along**2
        half = np.minimum(np.minimum(depth, -grid.a - 24), grid.x * side - 9)
    return np.minimum(thickness * np.minimum(1.6 * np.maximum(taper, -1), 1) - depth, half)


def intraparenchymal(rng: np.random.Generator, bleed: Bleed, grid: Grid) -> Field:
    """Signed distance into a lobulated ellipsoid."""
    x, a, z = (p - np.float32(c) for p, c in zip((grid.x, grid.a, grid.z), bleed.centre, strict=True))
    cos, sin = np.float32(np.cos(bleed.turn)), np.float32(np.sin(bleed.turn))
    u, v = cos * x + sin * a, cos * a - sin * x
    size = float(np.mean(bleed.radii))
    radius = np.sqrt(sum(np.square(p / r) for p, r in zip((u, v, z), bleed.radii, strict=True)) + 1e-6)
    lobules = 0.20 * smooth_field(rng, grid, 1.3 * size + 6) + 0.07 * smooth_field(rng, grid, 9)
    return (1 - radius + lobules) * size


def intraventricular(bleed: Bleed, grid: Grid, anatomy: Anatomy, edge: float) -> Field:
    """Fraction of blood: settled with a fluid level in the lateral ventricles, or a cast of one ventricle."""
    height = np.abs(grid.z - np.float32(bleed.centre[2]))
    filled = soft(np.minimum(anatomy.ventricle - 0.2, bleed.radii[2] - height), edge)
    lateral = np.abs(grid.x) > 4
    if bleed.site == "fourth":
        return filled * (anatomy.tentorium < 0)
    if bleed.site == "third":
        return filled * (anatomy.tentorium > 0) * soft(6 - np.abs(grid.x), edge)
    if bleed.site == "cast":
        return filled * (grid.x * bleed.centre[0] > -1) * (anatomy.tentorium > 0)
    pool = (filled > 0.5) & lateral & (anatomy.tentorium > 0)
    heights = np.broadcast_to(grid.dependent, grid.x.shape)[pool]
    level = np.quantile(heights, bleed.radii[0]) if heights.size else -1e3
    return filled * soft(np.float32(level) - grid.dependent, 1.5) * lateral * (anatomy.tentorium > 0)
