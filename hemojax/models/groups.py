"""Batches in groups: on a CPU the intermediate values of a few images stay in cache, those of a whole batch do not."""

from jaxtyping import Array, Float


def in_groups(x: Float[Array, "b *rest"], images: int) -> Float[Array, "n g *rest"]:
    """The batch in the largest equal groups of at most so many images, or one by one if that is less than one."""
    batch = len(x)
    group = max(g for g in range(1, batch + 1) if batch % g == 0 and g <= max(images, 1))
    return x.reshape(-1, group, *x.shape[1:])
