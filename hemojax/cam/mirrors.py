"""Maps of an image and of its mirror images, turned back and averaged.

Each copy errs in its own way, and one that pads on one side errs to that side: in the mean the errors cancel. The
network has to know mirrored images from its training.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.cam.postprocess import resize
from hemojax.errors import check_name

AXES = ("i", "j")
"""Of an image: its rows and its columns."""

Explain = Callable[[Float[Array, "b height width channels"]], tuple[Array, dict[tuple[str, str], Array]]]
"""Logits, and maps by stage and method."""


def averaged(
    explain: Explain,
    images: Float[Array, "b height width channels"],
    axes: Sequence[str],
    shift: Callable[[float], float],
) -> tuple[Float[Array, "b outputs"], dict[tuple[str, str], Float[Array, "b ..."]]]:
    """The logits of the images themselves, and the mean of the maps of all copies.

    Args:
        explain: logits and maps `(b, ..., h, w)` of images.
        images: the images.
        axes: along which copies are mirrored, out of AXES; two give four copies, the images among them.
        shift: how many cells a stage's cells of this many pixels lie off half-pixel centres (see `registration.shift`).
            A mirrored copy's lie off to the other side: each map is moved to half-pixel centres before the mean.

    Raises:
        UserError: an axis is unknown.
    """
    for axis in axes:
        check_name(axis, AXES, "axis of mirror images")
    mirrored = list(itertools.product(*([1, -1] if axis in axes else [1] for axis in AXES)))
    copies = jnp.stack([images[:, ::i, ::j] for i, j in mirrored])
    logits, maps = jax.lax.map(explain, copies)  # one at a time, so that they need no more memory

    def mean(of_copies: Float[Array, "copies b ..."]) -> Float[Array, "b ..."]:
        cells = (of_copies.shape[-2], of_copies.shape[-1])
        moved = shift(images.shape[1] / cells[0])
        if moved:
            planes = of_copies.reshape(-1, *cells)
            of_copies = jax.vmap(lambda plane: resize(plane, cells, moved))(planes).reshape(of_copies.shape)
        return jnp.stack([one[..., ::i, ::j] for one, (i, j) in zip(of_copies, mirrored, strict=True)]).mean(0)

    return logits[0], {cell: mean(values) for cell, values in maps.items()}
