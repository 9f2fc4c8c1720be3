"""Random flips and small affine changes of training slices, as pure functions that run inside the training step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict


class Change(NamedTuple):
    """What is done to one slice, in this order.

    Attributes:
        flip_i, flip_j: flipped along the first (patient's left-right) and second (front-back) array axis.
        moved: whether the affine change that follows is made.
        angle: of the rotation about the centre, in radians.
        zoom: by which it is enlarged.
        shift: along both axes, as shares of the side.
    """

    flip_i: Bool[Array, ""]
    flip_j: Bool[Array, ""]
    moved: Bool[Array, ""]
    angle: Float[Array, ""]
    zoom: Float[Array, ""]
    shift: Float[Array, "2"]


def augment(
    grey: Float[Array, "b s s w"],
    record: Int[Array, " b"],
    epoch: Int[Array, ""],
    key: Key[Array, ""],
    options: ConfigDict,
) -> Float[Array, "b s s w"]:
    """A random variant of each slice, the same one whenever this epoch is run again.

    Args:
        grey: grey values in [0, 1]; what comes in from outside is air, 0.
        record: each slice's number, from which, with the epoch and the key, its random numbers follow.
        epoch: from 0.
        key: of the whole training.
        options: see `draw`.
    """
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.fold_in(key, epoch), record)

    def one(key: Key[Array, ""], image: Float[Array, "s s w"]) -> Float[Array, "s s w"]:
        return apply(image, draw(key, options), affine=options.affine > 0)

    return jax.vmap(one)(keys, grey)


def draw(key: Key[Array, ""], options: ConfigDict) -> Change:
    """A random change.

    Args:
        key: the slice's own.
        options: `flip_i` and `flip_j`, the probabilities of a flip; `affine`, the probability of an affine change by at
            most `shift` (share of the side), `scale` (share) and `rotate` (degrees) either way.
    """
    flip_i, flip_j, moved, *numbers = jax.random.uniform(key, (7,))
    angle, zoom, *shift = (2 * number - 1 for number in numbers)
    return Change(
        flip_i < options.flip_i,
        flip_j < options.flip_j,
        moved < options.affine,
        jnp.deg2rad(options.rotate * angle),
        1 + options.scale * zoom,
        options.shift * jnp.stack(shift),
    )


def apply(image: Float[Array, "s s w"], change: Change, affine: bool = True) -> Float[Array, "s s w"]:
    """The changed slice; without `affine` nothing is computed for an affine change, which is then never made."""
    image = jnp.where(change.flip_i, image[::-1], image)
    image = jnp.where(change.flip_j, image[:, ::-1], image)
    if not affine:
        return image
    return jnp.where(change.moved, transformed(image, change.angle, change.zoom, change.shift), image)


def transformed(
    image: Float[Array, "s s w"], angle: Float[Array, ""], zoom: Float[Array, ""], shift: Float[Array, "2"]
) -> Float[Array, "s s w"]:
    """Rotated by `angle` (radians) and enlarged by `zoom` about the centre, then moved by `shift` (shares of the side).

    Bilinear, as Pillow's `Image.transform`: a pixel whose centre comes from outside of the image is 0; inside, what
    lies beyond the centres of the outermost pixels has their values.
    """
    side = image.shape[0]
    centre = side / 2
    at = jnp.arange(side) + 0.5 - centre
    i, j = at[:, None] - side * shift[0], at[None, :] - side * shift[1]
    cosine, sine = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    row, column = centre - sine * j + cosine * i, centre + cosine * j + sine * i
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    top, left = jnp.floor(row - 0.5), jnp.floor(column - 0.5)
    down, along = (row - 0.5 - top)[..., None], (column - 0.5 - left)[..., None]
    # Each pixel beside its right, lower and lower right neighbours, so that a place is looked up once.
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    neighbours = jnp.stack([padded[i : i + side + 1, j : j + side + 1] for i in (0, 1) for j in (0, 1)], axis=2)
    first, second = (jnp.clip(place.astype(jnp.int32) + 1, 0, side) for place in (top, left))
    found = neighbours.reshape(-1, *neighbours.shape[2:]).at[first * (side + 1) + second].get(mode="promise_in_bounds")
    upper = found[..., 0, :] * (1 - along) + found[..., 1, :] * along
    lower = found[..., 2, :] * (1 - along) + found[..., 3, :] * along
    return jnp.where(inside[..., None], upper * (1 - down) + lower * down, 0)
