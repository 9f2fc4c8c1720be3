"""From a raw map to a heat map, in pytorch-grad-cam's order: ReLU, min-max, resize, and min-max again.

PGC scales the map a second time when it fuses layers, even when there is only one. It matters: the first min-max leaves
a maximum below 1 where the raw map is not large against 1e-7, and so does the interpolation.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def minmax(values: Float[Array, "h w"]) -> Float[Array, "h w"]:
    """Subtracts the minimum, then divides by 1e-7 + the maximum (PGC's `scale_cam_image`). A constant gives zeros."""
    values = values - jnp.min(values)
    return values / (1e-7 + jnp.max(values))


def heat(raw: Float[Array, "h w"]) -> Float[Array, "h w"]:
    """ReLU and min-max: a raw map becomes a heat map in [0, 1] at the resolution of its stage."""
    return minmax(jnp.maximum(raw, 0))


def resize(values: Float[Array, "h w"], size: tuple[int, int], shift: float = 0.0) -> Float[Array, "height width"]:
    """Bilinear with half-pixel centres and without antialiasing, as cv2's INTER_LINEAR.

    Args:
        values: of a stage's cells.
        size: of the image.
        shift: how many cells further down and to the right they lie, at most half a cell (see `registration.shift`).
            Beyond the border stand the border's cells.
    """
    if not shift:
        return jax.image.resize(values, size, "linear", antialias=False)
    scale = jnp.array([side / cells for side, cells in zip(size, values.shape, strict=True)])
    padded = jnp.pad(values, 1, mode="edge")
    return jax.image.scale_and_translate(
        padded, size, (0, 1), scale, (shift - 1) * scale, method="linear", antialias=False
    )


def full_heat(values: Float[Array, "h w"], size: tuple[int, int], shift: float = 0.0) -> Float[Array, "height width"]:
    """What PGC returns for one layer: the stage's heat map (see `heat`), resized to the image and min-maxed again.

    PGC does not register maps: its `shift` is 0.
    """
    return minmax(resize(values, size, shift))


def fuse_mean(maps: Sequence[Float[Array, "_ _"]], size: tuple[int, int]) -> Float[Array, "height width"]:
    """One map of the heat maps of several stages (or methods), by their mean: PGC's, given several layers."""
    return minmax(jnp.stack([resize(one, size) for one in maps]).mean(0))


def fuse_max(maps: Sequence[Float[Array, "_ _"]], size: tuple[int, int]) -> Float[Array, "height width"]:
    """By their maximum, as LayerCAM's authors do (Jiang et al. 2021), then scaled again."""
    return minmax(jnp.stack([resize(one, size) for one in maps]).max(0))


def fuse_product(maps: Sequence[Float[Array, "_ _"]], size: tuple[int, int]) -> Float[Array, "height width"]:
    """By their product: what one stage does not see is gone. PGC's RefineCAM, which does so with GradCAM++."""
    return minmax(jnp.stack([full_heat(one, size) for one in maps]).prod(0))


def fuse_geometric_mean(maps: Sequence[Float[Array, "_ _"]], size: tuple[int, int]) -> Float[Array, "height width"]:
    """By their geometric mean: `fuse_product` on the scale of one map, whatever their number."""
    return minmax(jnp.stack([full_heat(one, size) for one in maps]).prod(0) ** (1 / len(maps)))


def fuse_votes(
    maps: Sequence[Float[Array, "_ _"]], size: tuple[int, int], threshold: float = 0.2
) -> Float[Array, "height width"]:
    """By their votes: the share of the maps, of stages or methods, that are above a low threshold; not scaled again."""
    return jnp.stack([full_heat(one, size) > threshold for one in maps]).mean(0)
