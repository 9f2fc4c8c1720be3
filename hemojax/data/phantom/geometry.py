"""Where the parts of a standard head lie: signed distances in mm, positive inside.

Coordinates are those of `fields.Grid`: x to the left, a to the front, z up, in a standard head of 138 mm by
172 mm inside the skull with the foramina of Monro at z = 0.
"""

import itertools

import numpy as np
from jaxtyping import Float

from hemojax.data.phantom.fields import bump

Field = Float[np.ndarray, "*shape"]


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


def capsule(side: Field, a: Field, z: Field, start: tuple[float | int, ...], end: tuple[float | int, ...]) -> Field:
    """Signed distance into a tapering tube from `start` to `end`, each (side, a, z, radius)."""
    (s0, a0, z0, r0), (s1, a1, z1, r1) = start, end
    ds, da, dz = s1 - s0, a1 - a0, z1 - z0
    t = np.clip(((side - s0) * ds + (a - a0) * da + (z - z0) * dz) / (ds * ds + da * da + dz * dz), 0, 1)
    gap = (side - s0 - t * ds) ** 2 + (a - a0 - t * da) ** 2 + (z - z0 - t * dz) ** 2
    return r0 + t * (r1 - r0) - np.sqrt(gap)


def ellipsoid(x: Field, a: Field, z: Field, centre: tuple[float | int, ...], radii: tuple[float | int, ...]) -> Field:
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
