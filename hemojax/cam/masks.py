"""Scores of masked images: the masks are channels of a stage, groups of them, or their best combination.

Each takes the `shift` of its stage's cells (see `registration`): a mask is drawn on the image where they look.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from scipy import ndimage

from hemojax.cam.postprocess import resize
from hemojax.cam.scores import Forward, scored, scores_of
from hemojax.cam.targets import AnyTarget
from hemojax.precision import at_least_float32
from hemojax.separable import filtered

NOISY_MASKS, NOISE_OF_MASKS = 35, 2.0  # of SS-CAM
GROWING_MASKS = np.cumsum(np.arange(1, 11) / 10)  # of IS-CAM
GROUPS, KEPT = 32, 70  # of Group-CAM: groups, and the percentile above which a group's mask is kept
BLUR, BLUR_WIDTH = 50.0, 51  # of Group-CAM: standard deviation and width of its Gaussian, in pixels
STEPS, LEARNING_RATE = 100, 0.1  # of Opti-CAM

Masks = Callable[[Int[Array, " c"]], Float[Array, "b c height width"]]


def masked_scores(
    network: Forward,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    *,
    target: AnyTarget,
    group: int,
    shift: float = 0.0,
) -> Float[Array, "b k"]:
    """The score of each image times each channel of the stage, upsampled to the image and then scaled to [0, 1].

    The paper does not say how to interpolate. Here: half-pixel bilinear, as everywhere in hemojax (PGC aligns corners),
    then scaled with PGC's eps of 1e-8, so that a dead channel masks everything. As in PGC, the mask multiplies the
    network's input as it stands: what is masked takes the value 0 of the normalised input.
    """

    def masks(chosen: Int[Array, " c"]) -> Float[Array, "b c height width"]:
        return _scaled(_upsampled(activations[..., chosen], images.shape[1:3], shift))

    return _scores_under(masks, activations.shape[-1], network, images, target=target, group=group)


def noisy_masked_scores(
    network: Forward,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    keys: Key[Array, " b"],
    *,
    target: AnyTarget,
    group: int,
    shift: float = 0.0,
) -> Float[Array, "b k"]:
    """The mean score under masks with normal noise; as torch-cam's, they are scaled before they are upsampled."""
    channels, scaled = activations.shape[-1], _scaled_at_stage(activations)

    def masks(chosen: Int[Array, " c"]) -> Float[Array, "b c height width"]:
        smooth = _upsampled(scaled[..., chosen % channels], images.shape[1:3], shift)
        return smooth + NOISE_OF_MASKS * _noise(keys, chosen, images.shape[1:3]).astype(smooth.dtype)

    scores = _scores_under(masks, NOISY_MASKS * channels, network, images, target=target, group=group)
    return scores.reshape(len(images), NOISY_MASKS, channels).mean(1)


def integrated_masked_scores(
    network: Forward,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    *,
    target: AnyTarget,
    group: int,
    shift: float = 0.0,
) -> Float[Array, "b k"]:
    """The mean score under masks that grow; as torch-cam's, they are scaled before they are upsampled."""
    channels, scaled = activations.shape[-1], _scaled_at_stage(activations)
    growing = jnp.asarray(GROWING_MASKS, images.dtype)

    def masks(chosen: Int[Array, " c"]) -> Float[Array, "b c height width"]:
        smooth = _upsampled(scaled[..., chosen % channels], images.shape[1:3], shift)
        return growing[chosen // channels, None, None] * smooth

    scores = _scores_under(masks, len(GROWING_MASKS) * channels, network, images, target=target, group=group)
    return scores.reshape(len(images), -1, channels).mean(1)


def channel_groups(
    activations: Float[Array, "b h w k"], gradients: Float[Array, "b h w k"], size: tuple[int, int], shift: float = 0.0
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
    full = _upsampled(masks, size, shift)
    low, high = (extreme(full, axis=(2, 3))[:, None, None] for extreme in (jnp.min, jnp.max))
    return jnp.where(high > low, (masks - low) / jnp.where(high > low, high - low, 1), 0)


def group_gains(
    network: Forward,
    images: Float[Array, "b height width channels"],
    groups: Float[Array, "b h w g"],
    *,
    target: AnyTarget,
    group: int,
    shift: float = 0.0,
) -> Float[Array, "b g"]:
    """The score of each image inside each mask and blurred outside, less the score of the blurred image."""
    blurred = _blurred(images)

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c height width channels"]:
        masks = _upsampled(groups[..., chosen], images.shape[1:3], shift)[..., None].astype(images.dtype)
        return masks * images[:, None] + (1 - masks) * blurred[:, None]

    base = scored(network(blurred), target)
    scores = scores_of(network, inputs, groups.shape[-1], target=target, group=group)
    return scores - base[:, None]


def optimised_weights(
    network: Forward,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    target: AnyTarget,
    shift: float = 0.0,
) -> Float[Array, "b k"]:
    """softmax(u) with u such that s(x * M) is highest, M = sum_k softmax(u)_k A_k, upsampled and scaled to [0, 1].

    By 100 steps of Adam at a rate of 0.1 from equal weights, the paper's.
    """
    activations = at_least_float32(activations)

    def loss(u: Float[Array, "b k"]) -> Float[Array, ""]:
        combined = jnp.einsum("bhwk,bk->bhw", activations, jax.nn.softmax(u))
        masks = _scaled(_upsampled(combined[..., None], images.shape[1:3], shift))[:, 0, :, :, None]
        return -jnp.sum(scored(network(images * masks.astype(images.dtype)), target))

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
    network: Forward,
    images: Float[Array, "b height width channels"],
    *,
    target: AnyTarget,
    group: int,
) -> Float[Array, "b n"]:
    """The score of each image times each of its masks."""

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c height width channels"]:
        return images[:, None] * masks(chosen)[..., None].astype(images.dtype)

    return scores_of(network, inputs, number, target=target, group=group)


def _upsampled(
    channels: Float[Array, "b h w c"], size: tuple[int, ...], shift: float
) -> Float[Array, "b c height width"]:
    planes = jnp.moveaxis(at_least_float32(channels), -1, 1)  # before it is resized: see `separable.filtered`
    height, width = size
    return jax.vmap(jax.vmap(lambda plane: resize(plane, (height, width), shift)))(planes)


def _scaled(masks: Float[Array, "b c height width"]) -> Float[Array, "b c height width"]:
    """Each mask from 0 to 1."""
    low, high = (extreme(masks, axis=(2, 3), keepdims=True) for extreme in (jnp.min, jnp.max))
    return (masks - low) / (high - low + 1e-8)


def _scaled_at_stage(activations: Float[Array, "b h w k"]) -> Float[Array, "b h w k"]:
    return jnp.moveaxis(_scaled(jnp.moveaxis(at_least_float32(activations), -1, 1)), 1, -1)


def _blurred(images: Float[Array, "b height width channels"]) -> Float[Array, "b height width channels"]:
    """Group-CAM's Gaussian blur, mirrored at the borders as kornia's."""

    def blur(size: int) -> Float[Array, "n n"]:
        window = np.exp(-0.5 * ((np.arange(BLUR_WIDTH) - BLUR_WIDTH // 2) / BLUR) ** 2)
        return jnp.asarray(ndimage.correlate1d(np.eye(size), window / window.sum(), axis=0, mode="mirror"))

    rows, columns = (blur(n).astype(images.dtype) for n in images.shape[1:3])
    return filtered(images, rows, columns)
