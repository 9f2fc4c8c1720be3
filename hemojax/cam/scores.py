"""Scores of changed inputs: of A without a channel, of a position of A alone, of the image under a mask.

Each input is made where it is used, a group at a time, so that memory does not grow with their number.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from scipy import ndimage

from hemojax.cam.targets import AnyTarget, score
from hemojax.models.groups import images_at_once, map_groups, outputs_at_once

NOISY_MASKS, NOISE_OF_MASKS = 35, 2.0  # of SS-CAM
GROWING_MASKS = np.cumsum(np.arange(1, 11) / 10)  # of IS-CAM
GROUPS, KEPT = 32, 70  # of Group-CAM: groups, and the percentile above which a group's mask is kept
BLUR, BLUR_WIDTH = 50.0, 51  # of Group-CAM: standard deviation and width of its Gaussian, in pixels
STEPS, LEARNING_RATE = 100, 0.1  # of Opti-CAM

Masks = Callable[[Int[Array, " c"]], Float[Array, "b c height width"]]


def ablated_scores(
    network: Any,
    variables: Any,
    stage: str,
    activations: Float[Array, "b h w k"],
    values: Float[Array, "b k"],
    target: AnyTarget,
    group: int,
) -> Float[Array, "b k"]:
    """The score of each image with each channel of the stage set to its value, by running only what follows it."""
    channels = jnp.arange(activations.shape[-1])

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c h w k"]:
        ablated = chosen[:, None, None, None] == channels
        return jnp.where(ablated, values[:, None, None, None], activations[:, None])

    suffix = partial(network.apply, variables, train=False, after=stage)
    return _scores(suffix, inputs, len(channels), target, _at_once(activations, outputs_at_once, group))


def linear_ablated_scores(
    activations: Float[Array, "b h w k"],
    gradients: Float[Array, "b h w k"],
    values: Float[Array, "b k"],
    score: Float[Array, " b"],
) -> Float[Array, "b k"]:
    """The same without any run, where the score is linear in A: s + sum_hw G_k (value_k - A_k)."""
    return score[:, None] + jnp.sum(gradients * (values[:, None, None] - activations), axis=(1, 2))


def position_scores(
    network: Any, variables: Any, stage: str, activations: Float[Array, "b h w k"], target: AnyTarget, group: int
) -> Float[Array, "b h w"]:
    """The score of each image with nothing of A but one position and, weighed by a 3x3 Gaussian, its neighbours."""
    batch, height, width, _ = activations.shape

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c h w k"]:
        row, column = jnp.divmod(chosen[:, None], width)
        # the Gaussian, 1/16 (1 2 1; 2 4 2; 1 2 1), is the product of 1/4 (1 2 1) along either axis
        rows = jnp.maximum(2 - jnp.abs(jnp.arange(height) - row), 0) / 4
        columns = jnp.maximum(2 - jnp.abs(jnp.arange(width) - column), 0) / 4
        seen = rows[:, :, None] * columns[:, None, :]
        return activations[:, None] * seen[..., None].astype(activations.dtype)

    suffix = partial(network.apply, variables, train=False, after=stage)
    group = _at_once(activations, outputs_at_once, group)
    return _scores(suffix, inputs, height * width, target, group).reshape(batch, height, width)


def masked_scores(
    network: Any,
    variables: Any,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    target: AnyTarget,
    group: int,
) -> Float[Array, "b k"]:
    """The score of each image times each channel of the stage, upsampled to the image and then scaled to [0, 1].

    The paper does not say how to interpolate. Here: half-pixel bilinear, as everywhere in hemojax (PGC aligns corners),
    then scaled with PGC's eps of 1e-8, so that a dead channel masks everything. As in PGC, the mask multiplies the
    network's input as it stands: what is masked takes the value 0 of the normalised input.
    """

    def masks(chosen: Int[Array, " c"]) -> Float[Array, "b c height width"]:
        return _scaled(_upsampled(activations[..., chosen], images.shape[1:3]))

    return _scores_under(masks, activations.shape[-1], network, variables, images, target, group)


def noisy_masked_scores(
    network: Any,
    variables: Any,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    keys: Key[Array, " b"],
    target: AnyTarget,
    group: int,
) -> Float[Array, "b k"]:
    """The mean score under masks with normal noise; as torch-cam's, they are scaled before they are upsampled."""
    channels = activations.shape[-1]

    def masks(chosen: Int[Array, " c"]) -> Float[Array, "b c height width"]:
        smooth = _upsampled(_scaled_at_stage(activations)[..., chosen % channels], images.shape[1:3])
        return smooth + NOISE_OF_MASKS * _noise(keys, chosen, images.shape[1:3]).astype(smooth.dtype)

    scores = _scores_under(masks, NOISY_MASKS * channels, network, variables, images, target, group)
    return scores.reshape(len(images), NOISY_MASKS, channels).mean(1)


def integrated_masked_scores(
    network: Any,
    variables: Any,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    target: AnyTarget,
    group: int,
) -> Float[Array, "b k"]:
    """The mean score under masks that grow; as torch-cam's, they are scaled before they are upsampled."""
    channels = activations.shape[-1]
    growing = jnp.asarray(GROWING_MASKS, images.dtype)

    def masks(chosen: Int[Array, " c"]) -> Float[Array, "b c height width"]:
        smooth = _upsampled(_scaled_at_stage(activations)[..., chosen % channels], images.shape[1:3])
        return growing[chosen // channels, None, None] * smooth

    scores = _scores_under(masks, len(GROWING_MASKS) * channels, network, variables, images, target, group)
    return scores.reshape(len(images), -1, channels).mean(1)


def channel_groups(
    activations: Float[Array, "b h w k"], gradients: Float[Array, "b h w k"], size: tuple[int, int]
) -> Float[Array, "b h w g"]:
    """Group-CAM's masks: 32 groups of neighbouring channels, each summed with GradCAM's weights.

    Rectified, set to 0 up to their 70th percentile, and scaled such that, upsampled to `size`, they fill [0, 1]; a
    group without contrast gives zeros.
    """
    weighted = activations * jnp.mean(gradients, axis=(1, 2), keepdims=True)
    channels = weighted.shape[-1]
    members = -(-channels // GROUPS)
    number = -(-channels // members)
    padded = jnp.pad(weighted, ((0, 0), (0, 0), (0, 0), (0, number * members - channels)))
    masks = jnp.maximum(padded.reshape(*padded.shape[:3], number, members).sum(-1), 0)
    masks = jnp.where(masks > jnp.percentile(masks, KEPT, axis=(1, 2), keepdims=True), masks, 0)
    full = _upsampled(masks, size)
    low, high = (extreme(full, axis=(2, 3))[:, None, None] for extreme in (jnp.min, jnp.max))
    return jnp.where(high > low, (masks - low) / jnp.where(high > low, high - low, 1), 0)


def group_gains(
    network: Any,
    variables: Any,
    images: Float[Array, "b height width channels"],
    groups: Float[Array, "b h w g"],
    target: AnyTarget,
    group: int,
) -> Float[Array, "b g"]:
    """The score of each image inside each mask and blurred outside, less the score of the blurred image."""
    blurred = _blurred(images)

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c height width channels"]:
        masks = _upsampled(groups[..., chosen], images.shape[1:3])[..., None].astype(images.dtype)
        return masks * images[:, None] + (1 - masks) * blurred[:, None]

    whole = partial(network.apply, variables, train=False)
    base = jax.vmap(score)(_at_least_float32(map_groups(whole, blurred)), target)
    scores = _scores(whole, inputs, groups.shape[-1], target, _at_once(images, images_at_once, group))
    return scores - base[:, None]


def optimised_weights(
    network: Any,
    variables: Any,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    target: AnyTarget,
) -> Float[Array, "b k"]:
    """softmax(u) with u such that s(x * M) is highest, M = sum_k softmax(u)_k A_k, upsampled and scaled to [0, 1].

    By 100 steps of Adam at a rate of 0.1 from equal weights, the paper's.
    """
    activations = _at_least_float32(activations)

    def loss(u: Float[Array, "b k"]) -> Float[Array, ""]:
        combined = jnp.einsum("bhwk,bk->bhw", activations, jax.nn.softmax(u))
        masks = _scaled(_upsampled(combined[..., None], images.shape[1:3]))[:, 0, :, :, None]
        logits = map_groups(partial(network.apply, variables, train=False), images * masks.astype(images.dtype))
        return -jnp.sum(jax.vmap(score)(_at_least_float32(logits), target))

    adam = optax.adam(LEARNING_RATE)

    def step(_: Int[Array, ""], state: tuple[Array, optax.OptState]) -> tuple[Array, optax.OptState]:
        u, adam_state = state
        updates, adam_state = adam.update(jax.grad(loss)(u), adam_state)
        return jnp.asarray(optax.apply_updates(u, updates)), adam_state

    u = jnp.zeros((len(images), activations.shape[-1]), activations.dtype)
    return jax.nn.softmax(jax.lax.fori_loop(0, STEPS, step, (u, adam.init(u)))[0])


def _noise(
    keys: Key[Array, " b"], numbers: Int[Array, " c"], size: tuple[int, ...]
) -> Float[Array, "b c height width"]:
    """Normal noise for each image and number."""

    def draw(key: Key[Array, ""], number: Int[Array, ""]) -> Float[Array, "height width"]:
        return jax.random.normal(jax.random.fold_in(key, number), size)

    return jax.vmap(jax.vmap(draw, in_axes=(None, 0)), in_axes=(0, None))(keys, numbers)


def _scores_under(
    masks: Masks,
    number: int,
    network: Any,
    variables: Any,
    images: Float[Array, "b height width channels"],
    target: AnyTarget,
    group: int,
) -> Float[Array, "b n"]:
    """The score of each image times each of its masks."""

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c height width channels"]:
        return images[:, None] * masks(chosen)[..., None].astype(images.dtype)

    whole = partial(network.apply, variables, train=False)
    return _scores(whole, inputs, number, target, _at_once(images, images_at_once, group))


def _at_once(inputs: Float[Array, "b h w c"], best: Callable[[Array], int], group: int) -> int:
    """How many changed copies of each input go through the network at once: what is best for it, `group` at most."""
    return max(1, min(group, best(inputs) // len(inputs)))


def _scores(
    forward: Callable[[Float[Array, "n ..."]], Float[Array, "n outputs"]],
    inputs: Callable[[Int[Array, " c"]], Float[Array, "b c ..."]],
    number: int,
    target: AnyTarget,
    group: int,
) -> Float[Array, "b n"]:
    """Runs the network on `number` inputs for each image, `group` of them at a time.

    Args:
        forward: inputs (n, ...) to logits.
        inputs: makes the inputs (b, c, ...) of the given numbers.
        number: how many there are for each image.
        target: one for each image.
        group: how many of each image at a time.

    Returns:
        The scores.
    """
    group = min(group, number)
    groups = -(-number // group)
    # The last group repeats the last input instead of being shorter: one shape, one compilation.
    chosen = jnp.minimum(jnp.arange(groups * group), number - 1).reshape(groups, group)

    def of_group(chosen: Int[Array, " c"]) -> Float[Array, "c b"]:
        x = inputs(chosen)
        logits = _at_least_float32(forward(x.reshape(-1, *x.shape[2:])))
        logits = logits.reshape(*x.shape[:2], -1)
        return jax.vmap(jax.vmap(score), in_axes=(1, None))(logits, target)

    scores = jax.lax.map(of_group, chosen)
    return scores.reshape(groups * group, -1)[:number].T


def _upsampled(channels: Float[Array, "b h w c"], size: tuple[int, ...]) -> Float[Array, "b c height width"]:
    shape = (len(channels), *size, channels.shape[-1])
    full = jax.image.resize(_at_least_float32(channels), shape, "linear", antialias=False)
    return jnp.moveaxis(full, -1, 1)


def _scaled(masks: Float[Array, "b c height width"]) -> Float[Array, "b c height width"]:
    """Each mask from 0 to 1."""
    low, high = (extreme(masks, axis=(2, 3), keepdims=True) for extreme in (jnp.min, jnp.max))
    return (masks - low) / (high - low + 1e-8)


def _scaled_at_stage(activations: Float[Array, "b h w k"]) -> Float[Array, "b h w k"]:
    return jnp.moveaxis(_scaled(jnp.moveaxis(_at_least_float32(activations), -1, 1)), 1, -1)


def _blurred(images: Float[Array, "b height width channels"]) -> Float[Array, "b height width channels"]:
    """Group-CAM's Gaussian blur, mirrored at the borders as kornia's."""

    def blur(size: int) -> Float[Array, "n n"]:
        window = np.exp(-0.5 * ((np.arange(BLUR_WIDTH) - BLUR_WIDTH // 2) / BLUR) ** 2)
        return jnp.asarray(ndimage.correlate1d(np.eye(size), window / window.sum(), axis=0, mode="mirror"))

    rows, columns = (blur(n).astype(images.dtype) for n in images.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", rows, images, columns, precision=jax.lax.Precision.HIGHEST)


def _at_least_float32(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))
