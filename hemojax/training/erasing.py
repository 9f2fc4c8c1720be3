"""Slices with a place erased, so that the classifier has to need the bleed: inside of the training step.

What is erased is where the network, with its weights of that step, sees what it calls positive; the slice is then asked
to be negative (as in adversarial erasing, Wei et al. 2017, arXiv:1703.08448, and GAIN, Li et al. 2018,
arXiv:1802.10171, though there is no mask to learn here). In every second copy another slice's place is erased instead,
and the labels stay: that something was erased tells nothing.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hemojax.cam import gradient, registration
from hemojax.cam.inputs import tapped
from hemojax.cam.method import Inputs
from hemojax.cam.postprocess import full_heat, heat
from hemojax.cam.targets import Contrast
from hemojax.models.staged import StagedNetwork
from hemojax.network import Variables
from hemojax.precision import at_least_float32

THRESHOLD = 0.2  # of the map: low, so that nothing of the bleed is left
SPECK = 3  # pixels: what is narrower is no bone


class Copies(NamedTuple):
    """What the network learns from in place of a batch.

    Attributes:
        image: the batch, and behind it the copies.
        labels: 0 or 1.
        weight: of each label in the loss.
    """

    image: Float[Array, "n s s c"]
    labels: Float[Array, "n l"]
    weight: Float[Array, "n l"] | float


def with_copies(
    network: StagedNetwork,
    variables: Variables,
    image: Float[Array, "b s s c"],
    labels: Float[Array, "b l"],
    *,
    share: float,
    stage: str,
    limits: tuple[float, float],
) -> Copies:
    """The batch and copies of positive slices (where these are too few, of negative ones too), a place erased in each.

    A copy that is asked to be negative counts as much as the network calls the slice positive: before it does, its map
    does not know the bleed.

    Args:
        network: the classifier.
        variables: of it, at this step.
        image: its input.
        labels: 0 or 1.
        share: copies a slice of the batch; one copy at least.
        stage: whose map, GradCAM-ElementWise, says what is erased.
        limits: the values of the first channel between which there is soft tissue, both excluded.
    """
    number = max(1, round(share * len(image)))
    chosen = jnp.argsort(-labels.max(1), stable=True)[:number]
    image, labels = jnp.concatenate([image, image[chosen]]), jnp.concatenate([labels, labels[chosen]])
    given, truth = image[-number:], labels[-number:]
    target = Contrast(jnp.where(truth.any(1, keepdims=True), truth, 1.0))
    logits, activations, gradients = tapped(network, variables, given, target, stages=[stage], differentiated=[stage])
    own = places(network, activations[stage], gradients[stage], given.shape[1])
    of_other = jnp.roll(own, 1, axis=0) & ~own
    is_own = (jnp.arange(number) % 2 == 0)[:, None]
    erased = fill(given, jnp.where(is_own[..., None], own, of_other), limits)
    asked = jnp.where(is_own, 0, truth)
    found = own.any((1, 2))[:, None]  # else nothing was erased
    sure = jnp.where(is_own & (truth > 0), jax.nn.sigmoid(logits) * found, 1)
    return Copies(
        image.at[-number:].set(erased),
        labels.at[-number:].set(asked),
        jnp.ones_like(labels).at[-number:].set(sure),
    )


def places(
    network: StagedNetwork, activations: Float[Array, "b h w k"], gradients: Float[Array, "b h w k"], size: int
) -> Bool[Array, "b s s"]:
    """Where GradCAM-ElementWise is above THRESHOLD, and around it as far as a cell reaches."""
    cell = size / activations.shape[1]
    shift = registration.shift(network, cell)

    def one(a: Float[Array, "h w k"], g: Float[Array, "h w k"]) -> Bool[Array, "s s"]:
        found = heat(gradient.gradcam_elementwise(Inputs(a, g)).sum(-1))
        return full_heat(found, (size, size), shift) > THRESHOLD

    found = jax.vmap(one)(at_least_float32(activations), at_least_float32(gradients))
    return _grown(found, 2 * round(cell / 2) + 1)


def fill(
    image: Float[Array, "b s s c"], place: Bool[Array, "b s s"], limits: tuple[float, float]
) -> Float[Array, "b s s c"]:
    """A place filled smoothly from the soft tissue around it; bone and air, and pixels beside them, stay as they are.

    Args:
        image: normalised slices.
        place: what to fill.
        limits: see `with_copies`.
    """
    soft = (image[..., 0] > limits[0]) & (image[..., 0] < limits[1])
    solid = _grown(~_grown(soft, SPECK), SPECK)  # an opening: specks as white as bone are dense blood
    known = ~(place | _grown(~soft, 3))  # pixels partly bone look like blood
    filled = spread(image, known[..., None].astype(image.dtype))
    return jnp.where((place & ~_grown(solid, 3))[..., None], filled, image)


def spread(values: Float[Array, "b s s c"], known: Float[Array, "b s s 1"]) -> Float[Array, "b s s c"]:
    """What is known, and between it what is known nearby: pull and push (Gortler et al. 1996, The Lumigraph, 3.4).

    Each grid fills its gaps from one of half its size, which averages what is known.
    """
    side = values.shape[1]
    if side == 1:
        return values
    halve = partial(
        jax.lax.reduce_window,
        init_value=0.0,
        computation=jax.lax.add,
        window_dimensions=(1, 2, 2, 1),
        window_strides=(1, 2, 2, 1),
        padding="SAME",
    )
    count = halve(known)
    coarse = spread(halve(known * values) / jnp.maximum(count, 1), (count > 0).astype(values.dtype))
    return jnp.where(known > 0, values, jax.image.resize(coarse, values.shape, "linear"))


def _grown(mask: Bool[Array, "b s s"], window: int) -> Bool[Array, "b s s"]:
    """Where the mask is anywhere inside of a square window (odd) around a pixel."""
    return jax.lax.reduce_window(mask, False, jax.lax.bitwise_or, (1, window, window), (1, 1, 1), "SAME")
