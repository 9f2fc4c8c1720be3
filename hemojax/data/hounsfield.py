"""Hounsfield units to network inputs.

A slice in HU becomes `channels` of windowed grey values in [0, 1], resized to the network's square, and normalised.
Windowing comes before resizing, as it does where slices are exported as pictures: bone at
1500 HU must not bleed into the brain beside it.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Array, Bool, Float32, Int16, Real, Shaped
from PIL import Image

GUIDE = (50.0, 100.0)
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
NORMALISATIONS = ("imagenet", "air_zero", "tensorflow")

Values = TypeVar("Values", Array, np.ndarray)

Window = tuple[float, float]
"""Centre and width, in HU."""


def apply_window(hu: Real[np.ndarray, "h w"], window: Window) -> Float32[np.ndarray, "h w"]:
    """Grey values in [0, 1]: 0 at centre - width / 2 and below, 1 at centre + width / 2 and above."""
    centre, width = window
    return np.clip((hu.astype(np.float32) - np.float32(centre - width / 2)) / np.float32(width), 0, 1)


def guide(hu: Real[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """What maps are refined by: grey values from 0 to 100 HU, so that blood is darker than the skull beside it.

    In the brain window, which ends at 80 HU, both are white, and maps of bleeds at the skull run into it.
    """
    return apply_window(hu, GUIDE)


def channels(planes: int) -> int:
    """Input channels of a network that sees these planes: one is repeated to three, for ImageNet weights."""
    return 3 if planes == 1 else planes


def pad_square(image: Shaped[np.ndarray, "h w"], fill: float | np.generic) -> Shaped[np.ndarray, "s s"]:
    """The slice in the middle of the smallest square that holds it."""
    h, w = image.shape
    side = max(h, w)
    top, left = (side - h) // 2, (side - w) // 2
    return np.pad(image, ((top, side - h - top), (left, side - w - left)), constant_values=fill)


def crop_square(square: Shaped[np.ndarray, "s s"], shape: tuple[int, int]) -> Shaped[np.ndarray, "h w"]:
    """Undo `pad_square`: the part of the square that was the slice of this shape."""
    side = square.shape[0]
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    return square[top : top + shape[0], left : left + shape[1]]


def resize(image: Float32[np.ndarray, "h w"], size: int) -> Float32[np.ndarray, "s s"]:
    """Bilinear with a low-pass filter when shrinking (Pillow), so that thin blood does not alias away."""
    if image.shape == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_hu(hu: Int16[np.ndarray, "h w"], size: int) -> Float32[np.ndarray, "s s"]:
    """The slice in HU on a square grid of `size` pixels, bilinear; what pads it to a square has its lowest value."""
    return resize(pad_square(hu, hu.min()).astype(np.float32), size)


def resize_mask(mask: Bool[np.ndarray, "h w"], size: int) -> Bool[np.ndarray, "s s"]:
    """The mask on a square grid of `size` pixels: each takes the value of the pixel under its centre."""
    square = pad_square(mask, 0.0)
    at = ((np.arange(size) + 0.5) * (len(square) / size)).astype(int)
    return square[np.ix_(at, at)].astype(bool)


def grey(
    hu: Real[np.ndarray, "h w"], size: int, windows: Sequence[Window], per_slice_minmax: bool
) -> Float32[np.ndarray, "s s c"]:
    """Windowed, squared and resized grey values in [0, 1], one channel a window.

    Args:
        hu: one slice, in HU.
        size: side of the square result, in pixels.
        windows: centre and width of each channel, in HU.
        per_slice_minmax: stretch each windowed channel to the slice's own minimum and maximum in 256 steps, as the
            Hemorica group's pipeline does.
    """
    planes = []
    for window in windows:
        plane = apply_window(hu, window)
        if per_slice_minmax:
            low, high = plane.min(), plane.max()
            plane = np.round((plane - low) / max(float(high - low), 1e-6) * 255) / 255
        planes.append(resize(pad_square(plane, 0.0).astype(np.float32), size))
    return np.stack(planes, axis=-1)


def normalise(image: Float32[Values, "*b s s c"], kind: str) -> Float32[Values, "*b s s k"]:
    """Grey values to network inputs, on the host or as part of a program.

    Args:
        image: grey values; a single plane is repeated to three channels.
        kind: one of NORMALISATIONS. "imagenet" takes off the ImageNet mean and divides by its deviation. "air_zero"
            only divides: air, 0, stays 0, which is also what convolutions pad with, so that the border is no edge.
            "tensorflow" is what EfficientNet-Lite's weights expect, the same for each channel: -127/128 to 1.
    """
    if image.shape[-1] == 1:
        image = image.repeat(3, axis=-1)
    if kind == "tensorflow":
        return (255 * image - 127) / 128
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if image.shape[-1] == 3 else (IMAGENET_MEAN.mean(), IMAGENET_STD.mean())
    return (image - mean) / std if kind == "imagenet" else image / std
