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
    (top, bottom, down), (left, right, along) = (_between(place - 0.5, side) for place in (row, column))
    flat = image.reshape(side * side, -1)

    def pixels(row: Int[Array, "s s"], column: Int[Array, "s s"]) -> Float[Array, "s s w"]:
        return flat.at[row * side + column].get(mode="promise_in_bounds")

    down, along = down[..., None], along[..., None]
    upper = pixels(top, left) * (1 - along) + pixels(top, right) * along
    lower = pixels(bottom, left) * (1 - along) + pixels(bottom, right) * along
    return jnp.where(inside[..., None], upper * (1 - down) + lower * down, 0)


def _between(place: Float[Array, "s s"], side: int) -> tuple[Int[Array, "s s"], Int[Array, "s s"], Float[Array, "s s"]]:
    """The pixels before and behind each place along an axis, and how far it is from the first to the second."""
    before = jnp.floor(place)
    number = before.astype(jnp.int32)
    return jnp.clip(number, 0, side - 1), jnp.clip(number + 1, 0, side - 1), place - before
