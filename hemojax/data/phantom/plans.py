"""Which haemorrhages a phantom case has, where they lie and how large they are."""

from typing import NamedTuple

import numpy as np

from hemojax.data.labels import BHSD_SUBTYPES
from hemojax.data.phantom.geometry import cavity_depth

SUBTYPES = {name: integer for name, (integer,) in BHSD_SUBTYPES.items()}
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
    weights = [0.9, 1.5, 1.0, 0.8]
    if -40 < level < 26:
        names, weights = [*names, "IVH"], [*weights, 3.0]
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
        x, a, z = wall_point((4.0, -45.0), angle, z)
    elif z < -16:  # middle fossa
        x, a, z = wall_point((40.0, 8.0), rng.uniform(-0.5, 0.9), z)
    else:
        x, a, z = wall_point((0.0, -5.0), rng.uniform(-1.2, 1.2), z)
    return side * abs(x), a, z


def plan_epidural(rng: np.random.Generator, level: float) -> Bleed:
    """A lens against the inner table between two sutures; radii: along the table, thickness, unused."""
    side = int(rng.choice((-1, 1)))
    thickness = rng.uniform(11, 27)
    centre = surface_point(rng, level, side)
    return Bleed(
        "EPH", "table", centre, (thickness * 0.5 + rng.uniform(18, 28), thickness, 0.0), 0.0,
        rng.uniform(64, 78), float(rng.choice((1.0, 5.0))), 0.0, -side * max(0.0, 0.3 * (thickness - 8)),
    )  # fmt: skip


def plan_subdural(rng: np.random.Generator, level: float) -> Bleed:
    """A crescent; radii: along the table in the axial plane, thickness, along z."""
    side = int(rng.choice((-1, 1)))
    site = str(rng.choice(("table", "table", "table", "falx", "tentorium")))
    if site == "tentorium" and not -22 < level < 2:
        site = "table"
    if site == "falx" and level < 8:
        site = "table"
    hu, mixed = rng.uniform(62, 76), float(rng.choice((1.5, 7.0)))
    if site == "falx":
        centre = (side * 1.5, float(rng.choice((50.0, -45.0))), level)
        return Bleed(
            "SDH", site, centre, (rng.uniform(30, 50), rng.uniform(4, 7.5), rng.uniform(18, 30)), 0.0, hu, mixed, 0, 0
        )
    if site == "tentorium":
        centre = (side * 28.0, -48.0, level)
        return Bleed("SDH", site, centre, (rng.uniform(26, 40), rng.uniform(4.5, 7.5), 30.0), 0.0, hu, mixed, 0, 0)
    centre = surface_point(rng, level, side)
    thickness = rng.uniform(6.5, 16 if centre[2] > -16 else 9)
    return Bleed(
        "SDH", site, centre, (rng.uniform(46, 88), thickness, rng.uniform(22, 40)), 0.0,
        hu, mixed, 0.0, -side * max(0.0, 0.6 * (thickness - 5)),
    )  # fmt: skip


def plan_subarachnoid(rng: np.random.Generator, level: float) -> Bleed:
    """Blood in the fluid spaces within an ellipsoid; radii: its half axes."""
    if -30 < level < 6 and rng.random() < 0.6:
        centre = (rng.normal(0, 5), rng.uniform(-15, 10), level)
        radii = (rng.uniform(35, 65), rng.uniform(35, 55), rng.uniform(20, 30))
        return Bleed("SAH", "cisterns", centre, radii, 0.0, rng.uniform(62, 74), 2.0, 0, 0)
    side = int(rng.choice((-1, 1)))
    centre = surface_point(rng, level, side)
    radii = (rng.uniform(42, 66), rng.uniform(42, 74), rng.uniform(24, 38))
    return Bleed("SAH", "sulci", centre, radii, 0.0, rng.uniform(64, 76), 2.0, 0, 0)


def plan_intraparenchymal(rng: np.random.Generator, level: float) -> Bleed:
    """An irregular ellipsoid; radii: its half axes."""
    side = int(rng.choice((-1, 1)))
    size = float(np.exp(rng.uniform(np.log(7.5), np.log(25))))
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
        wall = wall_point((0.0, -5.0), rng.uniform(-1.3, 1.35), z)
        inward = 1 - (size * 0.8 + rng.uniform(5, 12)) / max(np.hypot(wall[0], wall[1] + 5), 30.0)
        site, (x, a) = "lobe", (max(wall[0] * inward, 9.0), (wall[1] + 5) * inward - 5)
        size = min(size, 20.0 if z < 40 else 15.0)
    radii = (size * rng.uniform(0.75, 1.3), size * rng.uniform(0.75, 1.3), size * rng.uniform(0.75, 1.3))
    oedema = rng.uniform(1.5, 8) if rng.random() < 0.8 else 0.0
    return Bleed(
        "IPH", site, (side * x, a, z), radii, rng.uniform(0, np.pi), rng.uniform(64, 78), rng.uniform(2, 5),
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
        site, z, extent = str(rng.choice(("settled", "settled", "cast"))), level, rng.uniform(12, 24)
    fraction = rng.uniform(0.35, 0.7)
    return Bleed("IVH", site, (float(side), 0.0, z), (fraction, 0.0, extent), 0.0, rng.uniform(66, 78), 2.5, 0, 0)


PLANNERS = {
    "EPH": plan_epidural,
    "IPH": plan_intraparenchymal,
    "IVH": plan_intraventricular,
    "SAH": plan_subarachnoid,
    "SDH": plan_subdural,
}
