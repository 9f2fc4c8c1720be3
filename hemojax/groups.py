"""Batches in groups: on a CPU the intermediate values of a few images stay in cache, those of a whole batch do not.

The `platform` that a program is for is that of the devices it is compiled for ("cpu", "gpu", "tpu"), which need not be
this process's (see `hemojax.devices.platform`).
"""

import sys
from collections.abc import Callable

import jax
from jaxtyping import Array, Float, PyTree, Shaped

GROUP_PIXELS = 4 * 224**2
"""How many pixels the images of a group have at most: best, or near it, for ResNets and EfficientNets."""


GROUP_VALUES = 2**19
"""How many values a stage's outputs have at most where the network goes on from them; but four of them at least."""


def in_groups(x: Shaped[Array, " b *rest"], images: int) -> Shaped[Array, "n g *rest"]:
    """The batch in the largest equal groups of at most so many images, or one by one if that is less than one."""
    batch = len(x)
    group = max(g for g in range(1, batch + 1) if batch % g == 0 and g <= max(images, 1))
    return x.reshape(-1, group, *x.shape[1:])


def map_in_groups(function: Callable[..., PyTree], images: int, *batch: PyTree) -> PyTree:
    """`function(*batch)`, which maps each image by itself, on groups of at most so many images, one after the other."""
    grouped = jax.tree.map(lambda leaf: in_groups(leaf, images), batch)
    mapped = jax.lax.map(lambda arguments: function(*arguments), grouped)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), mapped)


def images_at_once(images: Float[Array, "b height width channels"], platform: str) -> int:
    """How many images of this size a network does best to take at once: on a CPU a few, elsewhere any number."""
    return GROUP_PIXELS // (images.shape[1] * images.shape[2]) if platform == "cpu" else sys.maxsize


def outputs_at_once(outputs: Float[Array, "b h w c"], platform: str) -> int:
    """From how many of a stage's outputs a network does best to go on at once: on a CPU a few, elsewhere any number."""
    return max(4, GROUP_VALUES // outputs[0].size) if platform == "cpu" else sys.maxsize


def map_groups(
    function: Callable[..., PyTree], platform: str, images: Float[Array, "b height width channels"], *others: PyTree
) -> PyTree:
    """`function(images, *others)`, which maps each image by itself: on a CPU group by group, elsewhere at once.

    Beside the cache this saves memory, and the time to get it: an EfficientNetV2-S holds gigabytes for the backward
    pass of 32 images.

    Args:
        function: of arrays with a leading axis of images, into such arrays.
        platform: what the program is compiled for.
        images: what decides how large a group is.
        *others: trees of arrays that go with the images.
    """
    group = images_at_once(images, platform)
    if len(images) <= group:
        return function(images, *others)
    return map_in_groups(function, group, images, *others)
