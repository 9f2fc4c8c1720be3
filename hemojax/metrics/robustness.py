"""Infidelity and max-sensitivity of a map (Yeh et al. 2019, arXiv:1901.09392).

Functions of one image. What is perturbed is drawn apart from what is measured, so that every map of an image is
measured under the same perturbations.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from hemojax.metrics.faithfulness import Score

PERTURBATIONS = 10  # captum's `n_perturb_samples`
RADIUS = 0.02  # captum's `perturb_radius`, in units of the network's input
SQUARE = 1 / 8  # side of a removed square, as a share of the image's shorter side

Explain = Callable[[Float[Array, "n h w c"]], PyTree[Float[Array, "n _ _"]]]
"""From network inputs to their maps, each at any resolution."""


def random_squares(
    key: Key[Array, ""], size: tuple[int, ...], number: int = PERTURBATIONS, share: float = SQUARE
) -> Bool[Array, "n h w"]:
    """Masks of one square each, anywhere inside the image: the paper's "square removal".

    Args:
        key: of their places.
        size: (h, w) of the image.
        number: how many.
        share: side of the square, as a share of the shorter side of the image.
    """
    side = max(1, round(share * min(size)))
    inside = []
    for length, key_of_axis in zip(size, jax.random.split(key), strict=True):
        first = jax.random.randint(key_of_axis, (number, 1), 0, length - side + 1)
        inside.append((jnp.arange(length) >= first) & (jnp.arange(length) < first + side))
    return inside[0][:, :, None] & inside[1][:, None, :]


def infidelity(
    score: Score,
    image: Float[Array, "h w c"],
    heat: Float[Array, "h w"],
    removed: Bool[Array, "n h w"],
    value: Float[Array, " c"],
) -> Float[Array, ""]:
    """How badly the heat in a region foretells what its removal takes from the score; the lower, the better.

    The mean over the regions of (beta * sum of the heat in it - fall of the score)^2, with the beta that makes it
    least: a map in [0, 1] has no unit. This is captum's `infidelity` with `normalize=True` and its binary perturbations
    for attributions that say what a pixel contributes. (Quantus and the paper also multiply by how far the input moves,
    which suits gradients.)

    Args:
        score: the target's logit.
        image: the network's input.
        heat: the map, as large as the image.
        removed: the regions, see `random_squares`.
        value: what a removed pixel becomes.

    Returns:
        In squared units of the score. A map of zeros foretells nothing: the mean of the squared falls.
    """
    scores = score(jnp.concatenate([image[None], jnp.where(removed[..., None], value, image)]))
    falls = scores[0] - scores[1:]
    foretold = jnp.sum(heat * removed, axis=(1, 2))
    energy = jnp.sum(foretold**2)
    beta = jnp.sum(foretold * falls) / jnp.where(energy > 0, energy, 1)
    return jnp.mean((beta * foretold - falls) ** 2)


def uniform_noise(
    key: Key[Array, ""], shape: tuple[int, ...], number: int = PERTURBATIONS, radius: float = RADIUS
) -> Float[Array, "n h w c"]:
    """Noise from -radius to radius for each value of an image of this shape, drawn `number` times; captum's default."""
    return jax.random.uniform(key, (number, *shape), minval=-radius, maxval=radius)


def max_sensitivity(
    explain: Explain,
    image: Float[Array, "h w c"],
    maps: PyTree[Float[Array, "_ _"]],
    noise: Float[Array, "n h w c"],
) -> PyTree[Float[Array, ""]]:
    """How far a map moves at most when the image has some noise; the lower, the better.

    The largest Euclidean norm of map(image + noise) - map(image), divided by that of map(image), or by 1 where that is
    zero: captum's `sensitivity_max`.

    Args:
        explain: gives the maps of the images with noise, any tree of them; one batch of all.
        image: the network's input.
        maps: those of the image itself, a tree like that of `explain`.
        noise: see `uniform_noise`.
    """

    def furthest(own: Float[Array, "h w"], noisy: Float[Array, "n h w"]) -> Float[Array, ""]:
        norm = jnp.linalg.norm(own)
        return jnp.max(jnp.linalg.norm((noisy - own).reshape(len(noisy), -1), axis=1)) / jnp.where(norm > 0, norm, 1)

    return jax.tree.map(furthest, maps, explain(image + noise))
