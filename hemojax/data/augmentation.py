"""Random flips and small affine changes of a training slice."""

import math

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict
from PIL import Image


def augment(
    image: Float32[np.ndarray, "s s c"], rng: np.random.Generator, options: ConfigDict
) -> Float32[np.ndarray, "s s c"]:
    """One random variant of a slice of grey values in [0, 1]; what comes in from outside is air, 0.

    Args:
        image: grey values.
        rng: the sample's own generator.
        options: `flip_i` and `flip_j`, the probabilities of a flip along the first (patient's left-right) and second
            (front-back) array axis; `affine`, the probability of an affine change by at most `shift` (share of
            the side), `scale` (share) and `rotate` (degrees) either way.
    """
    if rng.random() < options.flip_i:
        image = image[::-1]
    if rng.random() < options.flip_j:
        image = image[:, ::-1]
    if rng.random() < options.affine:
        angle = math.radians(rng.uniform(-options.rotate, options.rotate))
        zoom = 1 + rng.uniform(-options.scale, options.scale)
        shift = rng.uniform(-options.shift, options.shift, 2) * image.shape[0]
        image = affine(image, angle, zoom, (float(shift[0]), float(shift[1])))
    return np.ascontiguousarray(image)


def affine(
    image: Float32[np.ndarray, "s s c"], angle: float, zoom: float, shift: tuple[float, float]
) -> Float32[np.ndarray, "s s c"]:
    """Rotate by `angle` (radians) and enlarge by `zoom` about the centre, then move by `shift` (pixels); bilinear."""
    centre = image.shape[0] / 2
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    # Pillow wants the inverse map, from output to input, with x along the second axis.
    dx, dy = centre + shift[1], centre + shift[0]
    matrix = (c, s, centre - c * dx - s * dy, -s, c, centre + s * dx - c * dy)
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(image[..., k])).transform(
                (image.shape[1], image.shape[0]), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
            )
        )
        for k in range(image.shape[-1])
    ]
    return np.stack(planes, axis=-1)
