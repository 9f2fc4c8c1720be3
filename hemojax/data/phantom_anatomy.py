"""A healthy head for the phantom, built from implicit surfaces (signed distances in mm, positive inside).

Coordinates are those of `phantom_fields.Grid`: x to the left, a to the front, z up, in a standard head of 138 mm by
172 mm inside the skull with the foramina of Monro at z = 0. Tissue values are the usual ones of non-contrast CT at
120 kV: cerebrospinal fluid 0-12 HU, white matter 27-31, grey matter 36-40, dura 45-55, bone above 500, fat -90.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from hemojax.data.phantom_fields import Grid, blend, bump, folds, smooth_field, soft
from hemojax.data.phantom_skull import skull_and_face

Field = Float[np.ndarray, "*shape"]


class Anatomy(NamedTuple):
    """What the bleeds need to know of a head.

    Attributes:
        hu: tissue values before any bleed.
        depth: distance below the inner table, mm, negative outside the cranial cavity.
        vault: the same below the vault alone, without the skull base.
        fluid: fraction of a voxel that is subarachnoid fluid (sulci, fissures, cisterns).
        ventricle: signed distance into the ventricles.
        tentorium: height above the tentorium, mm (negative: posterior fossa).
    """

    hu: Float32[np.ndarray, "h w s"]
    depth: Float32[np.ndarray, "h w s"]
    vault: Float32[np.ndarray, "h w s"]
    fluid: Float32[np.ndarray, "h w s"]
    ventricle: Float32[np.ndarray, "h w s"]
    tentorium: Float32[np.ndarray, "h w s"]


def vault_depth(x: Field, a: Field, z: Field) -> Field:
    """Distance below the inner table of the vault, continued downwards as a column."""
    t = a * (1 / 86)
    across = x / (69 * (1 - t * (0.10 + 0.09 * t)))
    up = z * np.where(z > 0, 1 / 75, 1 / 105).astype(np.float32)
    across2, along2, up2 = across * across, t * t, up * up
    radius = np.sqrt(across2 + along2 + up2 - 0.22 * (across2 * along2 + up2 * (across2 + along2)) + 1e-6)
    length = np.sqrt(x * x + a * a + z * z)
    return (1 - radius) / (radius + 0.05) * (0.5 * length + 36)


def floor_height(x: Field, a: Field) -> Field:
    """Height z of the skull base: anterior, middle and posterior fossa, lesser wings and petrous ridges."""
    side = np.abs(x)
    wing = a - 17 - 0.40 * side  # in front of the lesser sphenoid wing
    petrous = a - 1 + 0.52 * side  # in front of the petrous ridge
    front = np.clip(0.5 + wing / 8, 0, 1)
    ahead = np.clip(0.5 + petrous / 10, 0, 1)
    anterior = -20 + 10 * bump(((side - 30) / 24) ** 2 + ((a - 52) / 28) ** 2) + 0.02 * np.maximum(a - 50, 0) ** 2
    middle = -24 - 12 * np.clip((side - 10) / 12, 0, 1) + 0.012 * np.maximum(side - 45, 0) ** 2
    posterior = -62 + 30 * (side / 58) ** 4 + 26 * (np.abs(a + 48) / 44) ** 4
    floor = posterior * (1 - ahead) + ahead * (middle * (1 - front) + anterior * front)
    floor = np.maximum(floor, -21 - 0.10 * side - 0.10 * petrous * petrous)
    return np.maximum(floor, -14 - 0.25 * wing * wing)


def cavity_depth(x: Field, a: Field, z: Field) -> Field:
    """Distance below the nearest wall of the cranial cavity, mm (approximate), positive inside."""
    return np.minimum(vault_depth(x, a, z), 0.75 * (z - floor_height(x, a)))


def tentorium_height(x: Field, a: Field) -> Field:
    """Height z of the tentorium: a tent whose ridge falls backwards from the incisura."""
    return 4 + 0.28 * np.minimum(a + 35, 0) - 0.42 * np.sqrt(x * x + 16) + 1.5


def capsule(side: Field, a: Field, z: Field, start: tuple[float, ...], end: tuple[float, ...]) -> Field:
    """Signed distance into a tapering tube from `start` to `end`, each (side, a, z, radius)."""
    (s0, a0, z0, r0), (s1, a1, z1, r1) = start, end
    ds, da, dz = s1 - s0, a1 - a0, z1 - z0
    t = np.clip(((side - s0) * ds + (a - a0) * da + (z - z0) * dz) / (ds * ds + da * da + dz * dz), 0, 1)
    gap = (side - s0 - t * ds) ** 2 + (a - a0 - t * da) ** 2 + (z - z0 - t * dz) ** 2
    return r0 + t * (r1 - r0) - np.sqrt(gap)


def ellipsoid(x: Field, a: Field, z: Field, centre: tuple[float, ...], radii: tuple[float, ...]) -> Field:
    """Signed distance (approximate) into an ellipsoid with axes along the head's."""
    square = sum(((p - c) / r) ** 2 for p, c, r in zip((x, a, z), centre, radii, strict=True))
    return (1 - np.sqrt(square)) * min(radii)


def ventricles(x: Field, a: Field, z: Field, size: float, lean: float) -> Field:
    """Signed distance into the lateral, third and fourth ventricles.

    Args:
        x: from the midline, mm.
        a: towards the face, mm.
        z: towards the vertex, mm.
        size: added to every radius, mm (atrophy, hydrocephalus).
        lean: left-right asymmetry of the lateral ventricles, a fraction.

    Returns:
        Signed distance, mm.
    """
    side = np.abs(x) * (1 + lean * np.sign(x)) - 0.5 * size
    chain = [
        (13.0, 30.0, 5.0, 2.2), (7.0, 17.0, 9.0, 3.8), (5.0, 5.0, 13.0, 3.6), (9.0, -12.0, 20.0, 4.8),
        (17.0, -30.0, 17.0, 5.0), (24.0, -42.0, 8.0, 5.6), (25.0, -53.0, 4.0, 3.6), (20.0, -66.0, 3.0, 1.2),
    ]  # fmt: skip
    tubes = [capsule(side, a, z, start, end) for start, end in itertools.pairwise(chain)]
    tubes.append(capsule(side, a, z, chain[5], (34.0, -26.0, -9.0, 2.0)))
    tubes.append(capsule(side, a, z, (34.0, -26.0, -9.0, 2.0), (33.0, -8.0, -19.0, 1.4)))
    lateral = np.maximum.reduce(tubes) + size
    third = ellipsoid(x, a, z, (0, -7, -3), (1.9 + 0.7 * size, 15, 11))
    fourth = ellipsoid(x, a, z + 0.3 * np.abs(x), (0, -35, -30), (7.5 + 0.5 * size, 4.6 + 0.4 * size, 10))
    return np.maximum(np.maximum(lateral, third), fourth)


def cisterns(x: Field, a: Field, z: Field, stem: Field, widen: float) -> Field:
    """Signed distance into the basal cisterns: around the brainstem, suprasellar, quadrigeminal, cisterna magna."""
    around = np.minimum(stem + 2.2 + 0.7 * widen, -stem)  # a shell outside the brainstem
    around = np.minimum(around, np.minimum(-4 - z, a + 30 + 0.2 * z))
    angle = np.arctan2(x, a - 5)
    star = 9.5 + widen + 4.0 * np.cos(5 * angle) - np.sqrt(x * x + (a - 5) ** 2)
    star = np.minimum(star, 7 - np.abs(z + 15))
    smile = np.minimum(2.2 + 0.7 * widen - np.abs(a + 30 - 0.022 * x * x + 0.1 * z), 17 - np.abs(x))
    smile = np.minimum(smile, 8 - np.abs(z - 1))
    magna = ellipsoid(x, a, z, (0, -68, -50), (13 + 2 * widen, 13 + 2 * widen, 9))
    return np.maximum(np.maximum(around, star), np.maximum(smile, magna))


def fissures(x: Field, a: Field, z: Field, above: Field) -> Field:
    """Distance (positive) from the sheets of the interhemispheric and Sylvian fissures, mm."""
    side = np.abs(x)
    callosum = 1 - np.sqrt((a / 44) ** 2 + ((z - 3) / 27) ** 2)  # the hemispheres are joined inside
    middle = np.maximum(side, np.maximum(40 * callosum, -0.5 * above))
    insula = np.abs(side - 39 + 0.010 * (a - 3) ** 2)
    insula = np.maximum(insula, np.maximum(np.abs(a - 3) - 15, np.abs(z - 4 - 0.1 * a) - 10))
    opening = np.abs(z - 4 + 0.35 * (a - 8)) * 0.8
    opening = np.maximum(opening, np.maximum(38 - side, np.abs(a + 2) - 24))
    stem = np.abs(a - 13 - 0.12 * side)
    stem = np.maximum(stem, np.maximum(np.abs(side - 24) - 15, np.abs(z + 9) - 7))
    return np.minimum(np.minimum(middle, insula), np.minimum(opening, stem) + 0.3)


def grow_head(
    rng: np.random.Generator,
    grid: Grid,
    push: Float32[np.ndarray, "h w s"],
    efface: Float32[np.ndarray, "h w s"],
    fill: Float32[np.ndarray, "h w s"],
    dilate: float,
) -> Anatomy:
    """Builds one healthy head.

    Args:
        rng: the case's generator.
        grid: voxel coordinates.
        push: displacement towards the left of the structures within the brain, mm (mass effect).
        efface: narrowing of sulci and cisterns on each side, mm.
        fill: from 0 to 1, where sulci and cisterns are distended by blood.
        dilate: added to the radii of the ventricles, mm.

    Returns:
        Its anatomy, with tissue values.
    """
    edge = 1.1 * grid.pixel
    atrophy = float(np.clip(rng.gamma(2.0, 0.45), 0.1, 2.6))  # 0 young, 2 old
    x, a, z = grid.x, grid.a, grid.z
    wobble = [rng.uniform(0.8, 1.8) * smooth_field(rng, grid, wavelength) for wavelength in (45, 45, 60)]
    wrinkle = [1.1 * smooth_field(rng, grid, 15) for _ in range(2)]
    vault = vault_depth(x, a, z) + 0.9 * wobble[2]
    above_floor = 0.75 * (z - floor_height(x, a)) + 1.0 * wobble[0]
    depth = np.minimum(vault, above_floor)

    # Everything within the brain follows the displaced coordinates.
    inside = bump(np.square(np.minimum(depth - 40, 0) / 60))
    x_in = x + inside * (wobble[0] + wrinkle[0]) - push
    a_in, z_in = a + wobble[1] + wrinkle[1], z + wobble[2]
    above = (z_in - tentorium_height(x_in, a_in)) * 0.85
    above = np.where(a_in > -24, np.float32(20), above)
    stem = ellipsoid(x_in, a_in + 0.22 * (z_in + 14), z_in, (0, -13, -28), (15.5, 13, 36))
    stem = stem + 1.2 * bump(np.square((z_in + 30) / 12))
    ventricle = ventricles(x_in, a_in, z_in, 1.7 * (atrophy - 0.9) + dilate + rng.normal(0, 0.4), rng.normal(0, 0.04))

    fluid, cortex = subarachnoid(
        rng,
        grid,
        (x_in, a_in, z_in),
        depth=depth,
        above=above,
        stem=stem,
        atrophy=atrophy,
        efface=efface,
        fill=fill,
        edge=edge,
    )
    hu = brain_tissue(rng, grid, (x_in, a_in, z_in), above=above, stem=stem, cortex=cortex, edge=edge)
    blend(hu, 7 + rng.normal(0, 2), fluid)
    blend(hu, 6 + rng.normal(0, 2), soft(ventricle, edge))
    add_dura(rng, hu, x_in, a_in, z, depth=depth, above=above, edge=edge)
    add_calcifications(rng, hu, x_in, a_in, z_in, edge=edge)
    fluid *= soft(-ventricle, edge) * soft(depth - 0.5, edge)

    shell = skull_and_face(rng, grid, vault=vault, above_floor=above_floor)
    cavity = soft(depth, edge)
    hu = shell + cavity * (hu - shell)
    return Anatomy(hu, depth, vault, fluid, ventricle, above)


def subarachnoid(
    rng: np.random.Generator,
    grid: Grid,
    position: tuple[Field, Field, Field],
    *,
    depth: Field,
    above: Field,
    stem: Field,
    atrophy: float,
    efface: Field,
    fill: Field,
    edge: float,
) -> tuple[Field, Field]:
    """Fraction of subarachnoid fluid, and the distance into tissue from the nearest fluid (mm), of each voxel."""
    x, a, z = position
    smooth = 0.8 * smooth_field(rng, grid, 18)
    near = (depth > -2) & (depth < 34)
    points = np.stack([x[near], a[near], z[near]])
    # Sulci run inwards: the noise is read mostly by direction from the hemisphere's core.
    core = np.stack([points[0] * np.float32(0.75), points[1], points[2] - 8])
    where = core * (56 / np.linalg.norm(core, axis=0)).astype(np.float32) + np.float32(0.22) * points
    where[0] += np.float32(200) * (points[0] > 0)  # left and right differ
    spacing = np.where(above[near] < 0, np.float32(0.5), np.float32(1))
    sheet = np.full(depth.shape, np.float32(30))
    sheet[near] = folds(rng, where / spacing, rng.uniform(13, 16)) * spacing
    reach = rng.uniform(15, 20) + 3 * atrophy
    half_width = np.maximum(0.1 + 0.62 * atrophy - efface, 2.0 * fill) * np.clip(1.15 - depth / reach, -1, 1)
    sulci = np.where(above < 0, half_width * 0.35, half_width) - sheet

    uneven = 0.8 + 0.6 * np.tanh(smooth)
    fissure = np.maximum((0.5 + 0.7 * atrophy) * uneven - efface, 1.7 * fill) - fissures(x, a, z, above)
    surface = 0.9 + 0.9 * atrophy * (0.6 + 0.4 * bump(np.square((a - 60) / 60))) + fill - depth
    surface = np.where(above < 0, surface - 0.4, surface)
    basal = cisterns(x, a, z, stem, 0.9 * atrophy - 0.4) + 0.8 * smooth - 0.6 * efface + fill
    space = np.maximum(np.maximum(sulci, fissure), np.maximum(surface, basal))
    return soft(space, edge), -space


def brain_tissue(
    rng: np.random.Generator,
    grid: Grid,
    position: tuple[Field, Field, Field],
    *,
    above: Field,
    stem: Field,
    cortex: Field,
    edge: float,
) -> Field:
    """HU of brain without fluid: cortex, basal ganglia, thalamus, cerebellum and brainstem within white matter."""
    x, a, z = position
    side = np.abs(x)
    bias = rng.normal(0, 1.0)
    white, grey = 28 + bias + rng.normal(0, 0.6), 37.5 + bias + rng.normal(0, 0.6)
    texture = smooth_field(rng, grid, 14)
    ribbon = soft(rng.uniform(3.4, 4.4) + 0.6 * texture - cortex, edge + 1.5)
    caudate = ellipsoid(side, a, z, (13.5, 20, 9), (4.5, 9, 10))
    lentiform = ellipsoid(side - 0.18 * (a - 4), a, z, (24, 4, 3), (7.5, 17, 10))
    thalamus = ellipsoid(side, a + 0.5 * (side - 11), z, (10.5, -15, 6), (8, 14, 10))
    deep = np.maximum(np.maximum(caudate, lentiform), thalamus)
    amount = np.maximum(ribbon, soft(deep, edge + 1.5) * np.float32(0.85))
    amount = np.where(above < 0, 0.35 + 0.3 * ribbon, amount)
    amount = np.maximum(amount, 0.4 * soft(stem, edge + 1))
    return np.float32(white) + amount * np.float32(grey - white) + np.float32(0.8) * texture


def add_dura(
    rng: np.random.Generator, hu: Field, x: Field, a: Field, z: Field, *, depth: Field, above: Field, edge: float
) -> None:
    """Adds falx, tentorium and venous sinuses, all slightly bright, in place."""
    value = rng.uniform(46, 54)
    free = np.sqrt(((a + 4) / 62) ** 2 + ((z - 2) / 50) ** 2) - 1  # the falx ends above the corpus callosum
    falx = np.minimum(rng.uniform(0.5, 1.0) - np.abs(x), np.minimum(35 * free, above))
    blend(hu, value, soft(falx, edge))
    leaf = np.minimum(rng.uniform(0.4, 1.0) - np.abs(above), np.abs(x) - 11)
    blend(hu, value - 3, soft(np.minimum(leaf, -a - 24), edge) * 0.8)
    sagittal = np.minimum(5.5 - depth - 1.1 * np.abs(x), above)
    torcula = 5 - depth - 0.5 * np.abs(above) - 0.03 * np.abs(x)
    sinus = np.maximum(np.where(a < -10, sagittal, sagittal - 2.5), np.where(a < -30, torcula - 1, -9))
    blend(hu, value + 2, soft(sinus, edge) * 0.9)


def add_calcifications(rng: np.random.Generator, hu: Field, x: Field, a: Field, z: Field, *, edge: float) -> None:
    """Adds the calcium of healthy adults, in place: pineal, choroid plexus, sometimes basal ganglia and falx."""
    spots = []
    if rng.random() < 0.75:
        spots.append((rng.normal(0, 0.7), -26 + rng.normal(0, 1), 4 + rng.normal(0, 1.5), rng.uniform(1.6, 3.2)))
    for sign in (-1, 1):
        if rng.random() < 0.65:
            spots.append(
                (sign * 23 + rng.normal(0, 1), -45 + rng.normal(0, 2), 7 + rng.normal(0, 2), rng.uniform(1.5, 4))
            )
    if rng.random() < 0.2:
        spots += [(sign * 20 + rng.normal(0, 1), 5 + rng.normal(0, 2), 2.0, rng.uniform(1.5, 3)) for sign in (-1, 1)]
    if rng.random() < 0.25:
        spots.append((0.0, rng.uniform(0, 50), rng.uniform(40, 56), rng.uniform(1.5, 3.5)))
    for cx, ca, cz, radius in spots:
        distance = radius - np.sqrt((x - cx) ** 2 + (a - ca) ** 2 + ((z - cz) * 0.6) ** 2)
        blend(hu, rng.uniform(110, 230), soft(distance, edge))
