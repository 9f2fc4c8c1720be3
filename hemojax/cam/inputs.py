"""Computes what the methods need, in batches.

One forward gives the activations of every stage and inner tap, one backward their gradients. Channels are ablated and
masked in groups, so that memory does not grow with their number. Everything is a function of its own image alone:
neither batch nor group changes it beyond rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hemojax.cam.method import Inputs
from hemojax.cam.perturbation import pgc_ablation
from hemojax.cam.random import sample_keys
from hemojax.cam.targets import Target, score
from hemojax.models.groups import map_groups

Variables = Mapping[str, Any]


def without_taps(variables: Variables) -> Variables:
    """The variables less what `init` sowed and perturbed beside them, which has the shape of its own images."""
    return {name: values for name, values in variables.items() if name not in ("intermediates", "perturbations")}


def gather(
    network: Any,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    target: Target,
    identities: Int[Array, " b"],
    *,
    stages: Sequence[str],
    needs: frozenset[str],
    seeds: int,
    group: int,
) -> tuple[Float[Array, "b outputs"], dict[str, Inputs]]:
    """The logits, and the inputs of the methods at each stage: those of `Inputs` with a leading axis of images.

    Args:
        network: a `StagedNetwork`; it is run with `train=False`.
        variables: its "params" and "batch_stats".
        images: its input.
        target: one for each image.
        identities: one integer for each image, from which its random keys follow.
        stages: which stages and inner taps.
        needs: which inputs beside the activations.
        seeds: how many keys each image has.
        group: how many channels of each image are ablated or masked at a time.
    """
    logits, activations, gradients = tapped(network, variables, images, target, stages, "gradients" in needs)
    gathered = {}
    for stage in stages:
        a = activations[stage]
        inputs = Inputs(_at_least_float32(a))
        if "gradients" in needs:
            inputs = inputs._replace(gradients=_at_least_float32(gradients[stage]))
        if "curvature" in needs:
            inputs = inputs._replace(curvature=_at_least_float32(curvature(network, variables, stage, a, target)))
        if "score" in needs:
            inputs = inputs._replace(score=jax.vmap(score)(logits, target))
        if "ablated_scores" in needs:
            zeros = jnp.zeros_like(a[:, 0, 0])
            ablated = ablated_scores(network, variables, stage, a, zeros, target, group)
            inputs = inputs._replace(ablated_scores=ablated)
        if "pgc_ablated_scores" in needs:
            ablated = ablated_scores(network, variables, stage, a, jax.vmap(pgc_ablation)(a), target, group)
            inputs = inputs._replace(pgc_ablated_scores=ablated)
        if "masked_scores" in needs:
            inputs = inputs._replace(masked_scores=masked_scores(network, variables, images, a, target, group))
        if "key" in needs:
            # A stage's number is its place among the stages, whether or not the network has inner taps.
            number = (*network.stages, *network.taps).index(stage)
            keys = jax.vmap(sample_keys, in_axes=(0, None, None))(identities, number, seeds)
            inputs = inputs._replace(key=keys)
        gathered[stage] = inputs
    return logits, gathered


def tapped(
    network: Any,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    target: Target,
    stages: Sequence[str],
    with_gradients: bool,
) -> tuple[Float[Array, "b outputs"], dict[str, Array], dict[str, Array]]:
    """One forward and at most one backward: the logits, and A and ds/dA of the stages asked for.

    The scores are summed over the batch before the backward. In eval mode no image touches another, so each gradient is
    that of its own image's score.
    """
    if not with_gradients:
        logits, sown = network.apply(variables, images, train=False, mutable=["intermediates"])
        return _at_least_float32(logits), _of(sown["intermediates"], stages), {}
    _, taps = jax.eval_shape(
        lambda: network.apply(variables, images, train=False, mutable=["intermediates", "perturbations"])
    )
    zeros = {name: jnp.zeros(tap.shape, tap.dtype) for name, tap in _of(taps["perturbations"], stages).items()}

    def total(perturbations: dict[str, Array]) -> tuple[Float[Array, ""], tuple[Array, dict[str, Array]]]:
        # Differentiating only what is asked for ends the backward pass at the earliest of those stages.
        perturbed = {**variables, "perturbations": perturbations}
        logits, sown = network.apply(perturbed, images, train=False, mutable=["intermediates"])
        logits = _at_least_float32(logits)
        return jnp.sum(jax.vmap(score)(logits, target)), (logits, _of(sown["intermediates"], stages))

    gradients, (logits, activations) = jax.grad(total, has_aux=True)(zeros)
    return logits, activations, gradients


def curvature(
    network: Any, variables: Variables, stage: str, activations: Float[Array, "b h w k"], target: Target
) -> Float[Array, "b h w k"]:
    """H A of each image, H = d2s/dA2: the gradient of <ds/dA, A> with the second A held fixed."""

    def total(a: Float[Array, "b h w k"]) -> Float[Array, ""]:
        logits = _at_least_float32(network.apply(variables, a, train=False, after=stage))
        return jnp.sum(jax.vmap(score)(logits, target))

    return jax.grad(lambda a: jnp.vdot(jax.grad(total)(a), activations))(activations)


def ablated_scores(
    network: Any,
    variables: Variables,
    stage: str,
    activations: Float[Array, "b h w k"],
    values: Float[Array, "b k"],
    target: Target,
    group: int,
) -> Float[Array, "b k"]:
    """The score of each image with each channel of the stage set to its value, by running only what follows it."""
    channels = jnp.arange(activations.shape[-1])

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c h w k"]:
        ablated = chosen[:, None, None, None] == channels
        return jnp.where(ablated, values[:, None, None, None], activations[:, None])

    def suffix(x: Float[Array, "n h w k"]) -> Float[Array, "n outputs"]:
        return network.apply(variables, x, train=False, after=stage)

    return _scores_by_channel(suffix, inputs, len(channels), target, group)


def masked_scores(
    network: Any,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    activations: Float[Array, "b h w k"],
    target: Target,
    group: int,
) -> Float[Array, "b k"]:
    """The score of each image times each channel of the stage, upsampled to the image and then scaled to [0, 1].

    The paper does not say how to interpolate. Here: half-pixel bilinear, as everywhere in hemojax (PGC aligns corners),
    then scaled with PGC's eps of 1e-8, so that a dead channel masks everything. As in PGC, the mask multiplies the
    network's input as it stands: what is masked takes the value 0 of the normalised input.
    """
    batch, height, width, _ = images.shape

    def inputs(chosen: Int[Array, " c"]) -> Float[Array, "b c height width channels"]:
        shape = (batch, height, width, len(chosen))
        channels = _at_least_float32(activations[..., chosen])
        masks = jax.image.resize(channels, shape, "linear", antialias=False)
        low, high = (extreme(masks, axis=(1, 2), keepdims=True) for extreme in (jnp.min, jnp.max))
        masks = jnp.moveaxis((masks - low) / (high - low + 1e-8), -1, 1)
        return images[:, None] * masks[..., None].astype(images.dtype)

    def whole(x: Float[Array, "n height width channels"]) -> Float[Array, "n outputs"]:
        return map_groups(partial(network.apply, variables, train=False), x)

    return _scores_by_channel(whole, inputs, activations.shape[-1], target, group)


def _scores_by_channel(
    forward: Callable[[Float[Array, "n ..."]], Float[Array, "n outputs"]],
    inputs: Callable[[Int[Array, " c"]], Float[Array, "b c ..."]],
    channels: int,
    target: Target,
    group: int,
) -> Float[Array, "b k"]:
    """Runs the network on one input for each image and channel, `group` channels at a time.

    Args:
        forward: inputs (n, ...) to logits.
        inputs: makes the inputs (b, c, ...) of the given channels.
        channels: how many there are.
        target: one for each image.
        group: channels at a time.

    Returns:
        The scores.
    """
    group = min(group, channels)
    groups = -(-channels // group)
    # The last group repeats the last channel instead of being shorter: one shape, one compilation.
    chosen = jnp.minimum(jnp.arange(groups * group), channels - 1).reshape(groups, group)

    def of_group(chosen: Int[Array, " c"]) -> Float[Array, "c b"]:
        x = inputs(chosen)
        logits = _at_least_float32(forward(x.reshape(-1, *x.shape[2:])))
        logits = logits.reshape(*x.shape[:2], -1)
        return jax.vmap(jax.vmap(score), in_axes=(1, None))(logits, target)

    scores = jax.lax.map(of_group, chosen)
    return scores.reshape(groups * group, -1)[:channels].T


def _of(values: Mapping[str, Any], stages: Sequence[str]) -> dict[str, Any]:
    """The values of these stages: what nobody asked for is not kept."""
    return {stage: values[stage] for stage in stages}


def _at_least_float32(values: Float[Array, "..."]) -> Float[Array, "..."]:
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))
