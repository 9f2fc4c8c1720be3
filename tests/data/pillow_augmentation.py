"""The augmentation that Pillow gives, for the same random numbers: what ours has to equal."""

import math

import numpy as np
from PIL import Image


def augmented(image, flip_i, flip_j, moved, angle, zoom, shift):
    """The slice (s, s, w), flipped and transformed; shift as shares of the side."""
    image = image[::-1] if flip_i else image
    image = image[:, ::-1] if flip_j else image
    return affine(image, angle, zoom, [float(part) * len(image) for part in shift]) if moved else image


def affine(image, angle, zoom, shift):
    """Rotate by `angle` (radians) and enlarge by `zoom` about the centre, then move by `shift` (pixels); bilinear."""
    centre = len(image) / 2
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    # Pillow wants the inverse map, from output to input, with x along the second axis.
    dx, dy = centre + shift[1], centre + shift[0]
    matrix = (c, s, centre - c * dx - s * dy, -s, c, centre + s * dx - c * dy)
    planes = [
        Image.fromarray(np.ascontiguousarray(image[..., k])).transform(
            image.shape[1::-1], Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        for k in range(image.shape[-1])
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)
