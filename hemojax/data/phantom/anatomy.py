"""A healthy head for the phantom: tissues laid over the shapes of `geometry`, varied at random.

Tissue values are the usual ones of non-contrast CT at
120 kV: cerebrospinal fluid 0-12 HU, white matter 27-31, grey matter 36-40, dura 45-55, bone above 500, fat -90.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from hemojax.data.phantom.fields import Grid, blend, bump, folds, smooth_field, soft
from hemojax.data.phantom.geometry import (
    cisterns,
    ellipsoid,
    fissures,
    floor_height,
    tentorium_height,
    vault_depth,
    ventricles,
)
from hemojax.data.phantom.skull import skull_and_face

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


def grow_head(
    rng: np.random.Generator,
    grid: Grid,
    push: Float32[np.ndarray, "h w s"],
    efface: Float32[np.ndarray, "h w s"],
    fill: Float32[np.ndarray, "h w s"],
    *,
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
