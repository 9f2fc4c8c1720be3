"""The phantom's skull, face and scalp: everything outside the cranial cavity."""

import numpy as np
from jaxtyping import Float, Float32

from hemojax.data.phantom.fields import Grid, bump, smooth_field, soft

Field = Float[np.ndarray, "*shape"]


def skull_and_face(
    rng: np.random.Generator,
    grid: Grid,
    *,
    vault: Float32[np.ndarray, "h w s"],
    above_floor: Float32[np.ndarray, "h w s"],
) -> Float32[np.ndarray, "h w s"]:
    """HU outside the cranial cavity.

    Args:
        rng: the case's generator.
        grid: voxel coordinates.
        vault: distance inside the inner table of the vault, mm.
        above_floor: distance above the skull base, mm.

    Returns:
        Air, scalp, bone with its diploe, sinuses, orbits and mastoid cells (values within the cavity mean nothing).
    """
    x, a, z = grid.x, grid.a, grid.z
    side = np.abs(x)
    edge = 1.1 * grid.pixel
    coarse, fine = smooth_field(rng, grid, 40), smooth_field(rng, grid, 9)
    brow = bump(np.square(x / 34) + np.square((z + 6) / 20)) * (a > 0)
    thickness = rng.uniform(4.4, 7.4) + 0.5 * coarse + 1.5 * bump(np.square((np.abs(a) - 90) / 45)) + 9 * brow
    outer = vault + thickness
    temple = bump(np.square((a - 34) / 30) + np.square((z + 26) / 40)) * np.minimum(side / 50, 1)
    scalp = outer + rng.uniform(3.5, 6.5) + 6 * temple + 0.5 * coarse

    fat = rng.uniform(-105, -85)
    hu = fat + soft(1.6 + 0.3 * fine - scalp, edge) * (30 - fat)  # the skin
    hu += soft(np.minimum(scalp - 2.5, 16 * temple + outer + 1.5), edge) * soft(temple - 0.08, 0.1) * (55 - hu)
    below = soft(-above_floor - 3, edge) * soft(outer, edge)
    hu += below * (np.where(fine + 0.6 * coarse > -0.8, np.float32(50), np.float32(-60)) - hu)

    calvarium = np.minimum(np.minimum(outer, 1.5 - vault), above_floor + 10 + 2 * coarse)
    diploe = soft(np.minimum(outer, -vault) - 1.6 + 0.15 * fine, edge + 0.5)
    bone = 1350 - diploe * (550 + 70 * fine)
    hu += soft(calvarium, edge) * (bone - hu)
    base_bone = np.minimum(outer, above_floor + 2.8 + 1.8 * fine)
    petrous = np.minimum(7 + 3 * fine - np.abs(a + 3 + 0.52 * side), np.minimum(side - 8, 60 - side))
    clivus = np.minimum(13 - side, 9 - np.abs(a - 2 - 0.35 * (z + 25)))
    base_bone = np.maximum(base_bone, np.minimum(np.maximum(petrous, clivus), np.minimum(outer, -above_floor + 2)))
    hu += soft(base_bone, edge) * (950 + 200 * fine - hu)
    add_cavities(hu, x, a, z, fine=fine, coarse=coarse, above_floor=above_floor, outer=outer, edge=edge, rng=rng)
    return (hu + soft(-scalp, edge) * (-1000 - hu)).astype(np.float32)


def add_cavities(
    hu: Field,
    x: Field,
    a: Field,
    z: Field,
    *,
    fine: Field,
    coarse: Field,
    above_floor: Field,
    outer: Field,
    edge: float,
    rng: np.random.Generator,
) -> None:
    """Carves orbits, paranasal sinuses and mastoid cells into `hu`, in place."""
    side = np.abs(x)
    under = -above_floor - 2.5
    # Orbits: a cone of fat in thin bone, the globe in front.
    axis = 32 - 0.30 * (70 - a)
    cone = np.minimum(19 - 0.42 * np.maximum(62 - a, 0), 22.0) - np.sqrt((side - axis) ** 2 + (z + 32) ** 2)
    cone = np.minimum(cone, under)
    hu += soft(np.minimum(cone + 2.5, outer + 4), edge) * (600 - hu)
    hu += soft(cone, edge) * (-85 - hu)
    muscle = 2.2 - np.abs(np.sqrt((side - axis) ** 2 + (z + 32) ** 2) - 0.55 * np.maximum(19 - 0.42 * (62 - a), 2))
    hu += soft(np.minimum(muscle, np.minimum(cone, 64 - a)), edge) * (45 - hu)
    globe = 12.5 - np.sqrt((side - 33) ** 2 + (a - 76) ** 2 + (z + 33) ** 2)
    hu += soft(globe, edge) * (38 - hu)
    hu += soft(globe - 2.0, edge) * (10 - hu)
    # Ethmoid and sphenoid cells, frontal sinus, mastoid cells: air with bony septa.
    ethmoid = np.minimum(np.minimum(13 + 2 * coarse - side, 34 - np.abs(a - 46)), under)
    sphenoid = np.minimum(np.minimum(15 - side, 11 - np.abs(a - 18)), np.minimum(under, -z - 27))
    septa = np.minimum(np.abs(fine), np.abs(fine - coarse))
    air = np.minimum(np.maximum(ethmoid, sphenoid), np.minimum(12 * (septa - 0.14), side - 0.7))
    frontal_size = rng.uniform(0.0, 1.2)
    frontal = np.minimum(np.minimum(outer - 4, 18 * frontal_size - side), np.minimum(-(outer - 11), 12 - np.abs(z + 4)))
    frontal = np.minimum(frontal, a - 40)
    mastoid = 13 - np.sqrt((side - 54) ** 2 + (a + 25) ** 2 + ((z + 42) * 0.7) ** 2)
    mastoid = np.minimum(np.minimum(mastoid, 14 * (fine + 0.4)), np.minimum(outer - 4, under))
    for cavity in (air, frontal, mastoid):
        hu += soft(cavity, edge) * (-900 - hu)
