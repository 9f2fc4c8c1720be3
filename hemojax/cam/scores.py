"""Scores of changed activations: of A without a channel, and with nothing but one position.

Each input is made where it is used, a group at a time, so that memory does not grow with their number.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hemojax.cam.targets import AnyTarget, score
from hemojax.precision import at_least_float32

Forward = Callable[[Float[Array, "n ..."]], Float[Array, "n outputs"]]
"""A network, or what of it follows a stage."""


def ablated_scores(
    affine: Forward,
    rest: Forward,
    activations: Float[Array, "b h w k"],
    values: Float[Array, "b k"],
    *,
    target: AnyTarget,
    group: int,
) -> Float[Array, "b k"]:
    """The score of each image with each channel of the stage set to its value, by running only what follows the stage.

    Args:
        affine: what follows at once, as far as it is affine in the channels of each position: the identity, or 1x1
            convolutions. It runs once: without channel k its output changes by (value_k - A_k) times a fixed vector.
        rest: what follows that, to the logits.
        activations: of the stage.
        values: what each channel is set to.
        target: one for each image.
        group: how many channels of each image at a time.

    Returns:
        The scores.
    """
    channels = activations.shape[-1]
    base = affine(activations)
    one_position = jnp.eye(channels, dtype=activations.dtype)[:, None, None]
    _, effects = jax.jvp(affine, (jnp.zeros_like(one_position),), (one_position,))
    changes = values[:, None, None] - activations

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c h w m"]:
        return base[:, None] + jnp.moveaxis(changes[..., chosen], -1, 1)[..., None] * effects[chosen]

    return scores_of(rest, inputs, channels, target=target, group=group)


def linear_ablated_scores(
    activations: Float[Array, "b h w k"],
    gradients: Float[Array, "b h w k"],
    values: Float[Array, "b k"],
    score: Float[Array, " b"],
) -> Float[Array, "b k"]:
    """The same without any run, where the score is linear in A: s + sum_hw G_k (value_k - A_k)."""
    return score[:, None] + jnp.sum(gradients * (values[:, None, None] - activations), axis=(1, 2))


def position_scores(
    suffix: Forward, activations: Float[Array, "b h w k"], *, target: AnyTarget, group: int
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

    return scores_of(suffix, inputs, height * width, target=target, group=group).reshape(batch, height, width)


def scores_of(
    forward: Forward,
    inputs: Callable[[Int[Array, " c"]], Float[Array, "b c ..."]],
    number: int,
    *,
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
        logits = at_least_float32(forward(x.reshape(-1, *x.shape[2:])))
        logits = logits.reshape(*x.shape[:2], -1)
        return jax.vmap(jax.vmap(score), in_axes=(1, None))(logits, target)

    scores = jax.lax.map(of_group, chosen)
    return scores.reshape(groups * group, -1)[:number].T


def scored(logits: Float[Array, "b outputs"], target: AnyTarget) -> Float[Array, " b"]:
    """The score of each image."""
    return jax.vmap(score)(at_least_float32(logits), target)
