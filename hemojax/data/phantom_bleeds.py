"""The phantom's haemorrhages: where each subtype lies, its shape, and what it does to the brain around it."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from hemojax.data.phantom_anatomy import Anatomy, cavity_depth, tentorium_height
from hemojax.data.phantom_fields import Grid, bump, smooth_field, soft

SUBTYPES = {"EPH": 1, "IPH": 2, "IVH": 3, "SAH": 4, "SDH": 5}  # BHSD's mask integers
Field = Float[np.ndarray, "*shape"]
Point = tuple[float, float, float]


class Bleed(NamedTuple):
    """One haemorrhage.

    Attributes:
        subtype: a key of `SUBTYPES`.
        site: where, in words of its subtype's shape function.
        centre: (x, a, z) of the head, mm; on the inner table for EPH and most SDH.
        radii: half extents, mm; their meaning is the shape function's.
        turn: rotation of the radii in the axial plane, radians.
        hu: value of its blood.
        mixed: amplitude of its inner unevenness, HU.
        oedema: width of the rim of oedema, mm.
        push: midline shift that it causes, mm towards the left.
    """

    subtype: str
    site: str
    centre: Point
    radii: Point
    turn: float
    hu: float
    mixed: float
    oedema: float
    push: float


class Effects(NamedTuple):
    """What the bleeds do to the head around them, see `phantom_anatomy.grow_head`."""

    push: Float32[np.ndarray, "h w s"]
    efface: Float32[np.ndarray, "h w s"]
    fill: Float32[np.ndarray, "h w s"]
    dilate: float


def plan_bleeds(rng: np.random.Generator, level: float, choice: float) -> list[Bleed]:
    """Chooses one or two haemorrhages.

    Args:
        rng: the case's generator.
        level: height z around which the first bleed lies, mm.
        choice: in [0, 1), selects the first subtype among those that can occur at that height.

    Returns:
        One bleed, or (in three cases of ten) two of different subtypes, the second usually nearby.
    """
    names = ["EPH", "IPH", "SAH", "SDH"]
    weights = [1.0, 1.0, 1.0, 1.0]
    if -40 < level < 26:
        names, weights = [*names, "IVH"], [*weights, 2.4]
    edges = np.cumsum(weights) / np.sum(weights)
    first = names[int(np.searchsorted(edges, choice, side="right"))]
    bleeds = [PLANNERS[first](rng, level)]
    if rng.random() < 0.3:
        names.remove(first)
        second = "IVH" if first == "IPH" and "IVH" in names else names[rng.integers(len(names))]
        bleeds.append(PLANNERS[second](rng, level + rng.normal(0, 12)))
    return bleeds


def wall_point(start: tuple[float, float], angle: float, z: float) -> Point:
    """Where a ray in the axial plane leaves the cranial cavity.

    Args:
        start: (x, a) within the cavity, mm.
        angle: direction, radians; 0 is the left, pi / 2 the front.
        z: height, mm.

    Returns:
        The point on the inner table.
    """
    reach = np.arange(2, 110, 0.5)
    x, a = start[0] + reach * np.cos(angle), start[1] + reach * np.sin(angle)
    outside = cavity_depth(x, a, np.full_like(x, z)) < 0
    last = int(np.argmax(outside))
    return float(x[last]), float(a[last]), z


def surface_point(rng: np.random.Generator, z: float, side: int) -> Point:
    """A random point of the inner table at height z on one side, away from the midline."""
    z = float(np.clip(z, -47, 64))
    if z < -16 and (z < -33 or rng.random() < 0.6):  # posterior fossa
        angle = rng.uniform(-1.25, -0.35)
        x, a, z = wall_point((4, -45), angle, z)
    elif z < -16:  # middle fossa
        x, a, z = wall_point((40, 8), rng.uniform(-0.5, 0.9), z)
    else:
        x, a, z = wall_point((0, -5), rng.uniform(-1.2, 1.2), z)
    return side * abs(x), a, z


def plan_epidural(rng: np.random.Generator, level: float) -> Bleed:
    """A lens against the inner table between two sutures; radii: along the table, thickness, unused."""
    side = int(rng.choice((-1, 1)))
    thickness = rng.uniform(8, 24)
    centre = surface_point(rng, level, side)
    return Bleed(
        "EPH", "table", centre, (thickness * 0.5 + rng.uniform(14, 24), thickness, 0.0), 0.0,
        rng.uniform(58, 74), float(rng.choice((1.0, 5.0))), 0.0, -side * max(0.0, 0.3 * (thickness - 8)),
    )  # fmt: skip


def plan_subdural(rng: np.random.Generator, level: float) -> Bleed:
    """A crescent; radii: along the table in the axial plane, thickness, along z."""
    side = int(rng.choice((-1, 1)))
    site = str(rng.choice(("table", "table", "table", "falx", "tentorium")))
    if site == "tentorium" and not -22 < level < 2:
        site = "table"
    if site == "falx" and level < 8:
        site = "table"
    hu, mixed = rng.uniform(54, 70), float(rng.choice((1.5, 7.0)))
    if site == "falx":
        centre = (side * 1.5, float(rng.choice((50.0, -45.0))), level)
        return Bleed(
            "SDH", site, centre, (rng.uniform(30, 50), rng.uniform(3.5, 6.5), rng.uniform(14, 26)), 0.0, hu, mixed, 0, 0
        )
    if site == "tentorium":
        centre = (side * 28.0, -48.0, level)
        return Bleed("SDH", site, centre, (rng.uniform(26, 40), rng.uniform(4, 6.5), 30.0), 0.0, hu, mixed, 0, 0)
    thickness = rng.uniform(5, 14)
    return Bleed(
        "SDH", site, surface_point(rng, level, side), (rng.uniform(42, 85), thickness, rng.uniform(18, 36)), 0.0,
        hu, mixed, 0.0, -side * max(0.0, 0.6 * (thickness - 5)),
    )  # fmt: skip


def plan_subarachnoid(rng: np.random.Generator, level: float) -> Bleed:
    """Blood in the fluid spaces within an ellipsoid; radii: its half axes."""
    if -30 < level < 6 and rng.random() < 0.6:
        centre = (rng.normal(0, 5), rng.uniform(-15, 10), level)
        radii = (rng.uniform(35, 65), rng.uniform(35, 55), rng.uniform(20, 30))
        return Bleed("SAH", "cisterns", centre, radii, 0.0, rng.uniform(54, 66), 2.0, 0, 0)
    side = int(rng.choice((-1, 1)))
    centre = surface_point(rng, level, side)
    radii = (rng.uniform(36, 60), rng.uniform(36, 70), rng.uniform(20, 36))
    return Bleed("SAH", "sulci", centre, radii, 0.0, rng.uniform(56, 68), 2.0, 0, 0)


def plan_intraparenchymal(rng: np.random.Generator, level: float) -> Bleed:
    """An irregular ellipsoid; radii: its half axes."""
    side = int(rng.choice((-1, 1)))
    size = float(np.exp(rng.uniform(np.log(5.5), np.log(22))))
    z = float(np.clip(level, -47, 60))
    deep = rng.random() < 0.55
    if z < -9:
        site, (x, a) = (
            ("pons", (1.5, -15)) if rng.random() < 0.3 else ("cerebellum", (rng.uniform(8, 26), rng.uniform(-62, -42)))
        )
        size = min(size, 9.0 if site == "pons" else 15.0)
        if z > -18 or (z > -30 and rng.random() < 0.4):
            site, (x, a) = "temporal", (rng.uniform(36, 46), rng.uniform(-18, 14))
            size = min(size, 13.0)
    elif -6 < z < 22 and deep:
        site, (x, a) = ("putamen", (26, rng.uniform(-6, 10))) if rng.random() < 0.6 else ("thalamus", (12, -16))
    else:
        wall = wall_point((0, -5), rng.uniform(-1.3, 1.35), z)
        inward = 1 - (size * 0.8 + rng.uniform(5, 12)) / max(np.hypot(wall[0], wall[1] + 5), 30.0)
        site, (x, a) = "lobe", (max(wall[0] * inward, 9.0), (wall[1] + 5) * inward - 5)
        size = min(size, 17.0 if z < 40 else 13.0)
    radii = tuple(float(size * r) for r in rng.uniform(0.75, 1.3, 3))
    oedema = rng.uniform(1.5, 8) if rng.random() < 0.8 else 0.0
    return Bleed(
        "IPH", site, (side * x, a, z), radii, rng.uniform(0, np.pi), rng.uniform(58, 74), rng.uniform(2, 5),
        oedema, -side * max(0.0, 0.35 * (size - 9)),
    )  # fmt: skip


def plan_intraventricular(rng: np.random.Generator, level: float) -> Bleed:
    """Blood in the ventricles; centre z and radii z bound it; radii x: filled fraction when it has settled."""
    side = int(rng.choice((-1, 1)))
    if level < -16:
        site, z, extent = "fourth", -30.0, 14.0
    elif level < -6:
        site, z, extent = str(rng.choice(("third", "fourth"))), -8.0 if level > -9 else -26.0, 13.0
    else:
        site, z, extent = str(rng.choice(("settled", "settled", "cast"))), level, rng.uniform(9, 22)
    fraction = rng.uniform(0.22, 0.5)
    return Bleed("IVH", site, (float(side), 0.0, z), (fraction, 0.0, extent), 0.0, rng.uniform(60, 74), 2.5, 0, 0)


PLANNERS = {
    "EPH": plan_epidural,
    "IPH": plan_intraparenchymal,
    "IVH": plan_intraventricular,
    "SAH": plan_subarachnoid,
    "SDH": plan_subdural,
}


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
        within = np.minimum(anatomy.depth - 2.5, anatomy.ventricle * -1 + 1.5)
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
    normal = np.array([cavity_depth(*(centre + s)) - cavity_depth(*(centre - s)) for s in step])
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
