"""Where the relevance of one heat map lies, without a threshold: jax functions of one image, vmapped by the caller."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

AnyArray = Array | np.ndarray

TOLERANCE = 15 / 512
"""Of the pointing game, as a share of the image's longer side: 15 pixels of 512 (Zhang et al. 2018 allow 15 pixels)."""


def hottest(heat: Float[AnyArray, "h w"]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Row and column of the hottest pixel; of several the first in row order."""
    row = jnp.argmax(jnp.max(heat, axis=1))  # much faster than an argmax over all pixels
    return row, jnp.argmax(jnp.asarray(heat)[row])


def pointing_hit(heat: Float[AnyArray, "h w"], mask: Bool[AnyArray, "h w"]) -> Bool[Array, ""]:
    """Tells whether the hottest pixel lies in the mask (the pointing game, Zhang et al. 2018, without its tolerance).

    Of several hottest pixels the first in row order counts. A constant map points nowhere: it is a miss.
    """
    return jnp.asarray(mask)[hottest(heat)] & (jnp.max(heat) > jnp.min(heat))


def pointing_near(heat: Float[AnyArray, "h w"], mask: Bool[AnyArray, "h w"]) -> Bool[Array, ""]:
    """Tells whether the hottest pixel lies within `TOLERANCE` of a pixel of the mask (the pointing game).

    Distances are those of pixel centres. Otherwise as `pointing_hit`.
    """
    row, column = hottest(heat)
    i, j = (jnp.arange(n, dtype=jnp.float32) for n in heat.shape)
    squared = jnp.square(i - row)[:, None] + jnp.square(j - column)
    nearest = jnp.min(jnp.where(mask, squared, jnp.inf))
    return (nearest <= (TOLERANCE * max(heat.shape)) ** 2) & (jnp.max(heat) > jnp.min(heat))


def energy(heat: Float[AnyArray, "h w"], mask: Bool[AnyArray, "h w"]) -> Float[Array, ""]:
    """The share of the map's sum inside the mask: Score-CAM's energy-based pointing game (Wang et al. 2020).

    Quantus calls it RelevanceMassAccuracy. The map must not be negative; 0 where it is 0 everywhere.
    """
    inside = jnp.sum(jnp.where(mask, heat, 0))
    total = inside + jnp.sum(jnp.where(mask, 0, heat))
    return inside / jnp.where(total > 0, total, 1)


def rank_accuracy(heat: Float[AnyArray, "h w"], mask: Bool[AnyArray, "h w"]) -> Float[Array, ""]:
    """The share of the n hottest pixels inside the mask, which has n (relevance rank accuracy, Arras et al. 2022).

    Pixels that tie for the last places share them in proportion, so that no order of the pixels matters. Exact, and
    without a sort: the n-th value is found from histograms of its bits, 11 at a time from the top, each of the pixels
    that agree with it so far. 0 for an empty mask.
    """
    keys = _ordered_bits(jnp.asarray(heat, jnp.float32)).ravel()
    half = _DIGIT * jnp.ravel(mask).astype(jnp.int32)
    area = jnp.sum(half, dtype=jnp.int32) // _DIGIT
    prefix, above, above_inside, tied, tied_inside = jnp.uint32(0), 0, 0, 0, 0
    for shift in (22, 11, 0):
        digit = ((keys >> shift) & (_DIGIT - 1)).astype(jnp.int32)
        # One shift by 33 bits would be undefined: before the first digit every pixel agrees.
        agrees = True if shift == 22 else (keys >> (shift + 11)) == prefix
        at = jnp.where(agrees, digit + half, 2 * _DIGIT)
        outside, inside = jnp.zeros(2 * _DIGIT, jnp.int32).at[at].add(1, mode="drop").reshape(2, _DIGIT)
        from_here = jnp.cumsum((outside + inside)[::-1])[::-1]  # of this digit or a higher one
        inside_from_here = jnp.cumsum(inside[::-1])[::-1]
        found = jnp.maximum(jnp.sum(above + from_here >= area) - 1, 0)
        tied, tied_inside = (outside + inside)[found], inside[found]
        above, above_inside = above + from_here[found] - tied, above_inside + inside_from_here[found] - tied_inside
        prefix = (prefix << 11) | found.astype(jnp.uint32)
    shared = (area - above) * (tied_inside / jnp.maximum(tied, 1))
    return (above_inside + shared) / jnp.maximum(area, 1)


_DIGIT = 2048


def _ordered_bits(values: Float[Array, "h w"]) -> UInt32[Array, "h w"]:
    """Integers in the order of the floats; both zeros are one, and so is what is too small to be a normal number."""
    bits = jax.lax.bitcast_convert_type(jnp.where(values == 0, 0.0, values), jnp.uint32)
    return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))
