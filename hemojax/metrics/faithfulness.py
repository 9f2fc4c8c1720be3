"""Does the score follow the map? Insertion, deletion, and the change of confidence.

All are functions of one image and one map, to be vmapped and jitted by the caller. Where they need the network they
take a function from images to scores, and give it all their images in one batch. What is removed takes a constant value
of the network's own input, such as that of air (see `hemojax.data.hounsfield.normalise`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import ndimage

from hemojax.separable import filtered

Score = Callable[[Float[Array, "n h w c"]], Float[Array, " n"]]
"""From network inputs to what is measured of each: the target's probability, or its logit."""


class Change(NamedTuple):
    """How the confidence changes when only what the map shows is left.

    Attributes:
        drop: max(0, before - after) / before; the lower, the better.
        increase: 1 if after > before, else 0; the higher, the better.
    """

    drop: Float[Array, ""]
    increase: Float[Array, ""]


def deletion(
    score: Score, image: Float[Array, "h w c"], heat: Float[Array, "h w"], value: Float[Array, " c"], steps: int
) -> Float[Array, ""]:
    """Area under the score as pixels are taken away, the hottest first (RISE, Petsiuk et al. 2018); low is good.

    Args:
        score: the target's probability.
        image: the network's input.
        heat: the map, as large as the image.
        value: what a pixel that is taken away becomes.
        steps: how many equal steps there are from the whole image to none of it; the network sees steps + 1 images.

    Returns:
        The mean height of the curve, by the trapezoidal rule: in the units of the score.
    """
    return _area(score(replaced(image, jnp.broadcast_to(value, image.shape), heat, steps)))


def insertion(
    score: Score, image: Float[Array, "h w c"], heat: Float[Array, "h w"], start: Float[Array, "h w c"], steps: int
) -> Float[Array, ""]:
    """Area under the score as pixels are put back, the hottest first (RISE, Petsiuk et al. 2018); high is good.

    Args:
        score: the target's probability.
        image: the network's input.
        heat: the map, as large as the image.
        start: where the curve begins: the image `blurred` until nothing can be told from it.
        steps: see `deletion`.
    """
    return _area(score(replaced(start, image, heat, steps)))


def confidence_change(
    score: Score, image: Float[Array, "h w c"], heat: Float[Array, "h w"], value: Float[Array, " c"]
) -> Change:
    """Average drop and increase in confidence of one image (Chattopadhay et al. 2018, eqs. 7 and 8, here as shares).

    What is left is image times map, in grey values: where the map is 0 the input has the `value` of black.

    Args:
        score: the target's probability.
        image: the network's input.
        heat: the map, in [0, 1], as large as the image.
        value: the network's input where a grey value is 0.
    """
    before, after = score(jnp.stack([image, value + heat[..., None] * (image - value)]))
    # A probability may be so low that it is 0 in float32: nothing is left to drop.
    drop = jnp.maximum(before - after, 0) / jnp.where(before > 0, before, 1)
    return Change(drop, (after > before).astype(drop.dtype))


def replaced(
    old: Float[Array, "h w c"], new: Float[Array, "h w c"], heat: Float[Array, "h w"], steps: int
) -> Float[Array, "n h w c"]:
    """All images from `old` to `new`, in equal steps of pixels, the hottest first (see `ranks`)."""
    numbers = jnp.asarray(np.arange(steps + 1) * heat.size // steps)
    chosen = ranks(heat) < numbers[:, None, None]
    return jnp.where(chosen[..., None], new, old)


def ranks(heat: Float[Array, "h w"]) -> Int[Array, "h w"]:
    """The place of each pixel, 0 for the hottest; of equal ones the first in row order comes first."""
    order = jnp.argsort(-heat.ravel(), stable=True)
    places = jnp.arange(heat.size)
    return jnp.zeros(heat.size, places.dtype).at[order].set(places, unique_indices=True).reshape(heat.shape)


def blurred(image: Float[Array, "h w c"], sigma: float) -> Float[Array, "h w c"]:
    """The image under a Gaussian of `sigma` pixels, mirrored at its borders."""

    def blur(size: int) -> Float[Array, "n n"]:
        return jnp.asarray(ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode="mirror"), image.dtype)

    rows, columns = (blur(size) for size in image.shape[:2])
    return filtered(image, rows, columns)


def _area(scores: Float[Array, " n"]) -> Float[Array, ""]:
    return jnp.mean((scores[1:] + scores[:-1]) / 2)
