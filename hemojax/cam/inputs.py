"""Computes what the methods need, in batches.

One forward gives the activations of every stage and inner tap, one backward their gradients; `scores` and `masks`
run the network on changed inputs. Everything is a function of its own image alone:
neither batch nor group changes it beyond rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from hemojax.cam.masks import (
    channel_groups,
    group_gains,
    integrated_masked_scores,
    masked_scores,
    noisy_masked_scores,
    optimised_weights,
)
from hemojax.cam.method import Inputs
from hemojax.cam.perturbation import pgc_ablation
from hemojax.cam.random import sample_keys
from hemojax.cam.scores import (
    Forward,
    ablated_scores,
    at_least_float32,
    linear_ablated_scores,
    position_scores,
    scored,
)
from hemojax.cam.targets import AnyTarget
from hemojax.models.groups import images_at_once, outputs_at_once

ABLATED = frozenset({"ablated_scores", "pgc_ablated_scores"})
NOISY_IMAGES, NOISE_OF_IMAGES = 4, 0.3  # of Smooth GradCAM++, in units of the network's input
OF_THE_IMAGE = 2**31 - 1  # in place of a stage's number: keys of the image itself

Variables = Mapping[str, Any]


def without_taps(variables: Variables) -> Variables:
    """The variables less what `init` sowed and perturbed beside them, which has the shape of its own images."""
    return {name: values for name, values in variables.items() if name not in ("intermediates", "perturbations")}


def gather(
    network: Any,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    target: AnyTarget,
    identities: Int[Array, " b"],
    *,
    stages: Sequence[str],
    needs: frozenset[str],
    seeds: int,
    chunk: int,
    platform: str,
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
        chunk: how many ablated or masked inputs are held at once at most, or one for each image.
        platform: what the program is compiled for.
    """
    # Where the score is linear in A, its gradient gives the ablated scores, and the network is not run.
    linear = [stage for stage in stages if stage == network.linear_after and needs & ABLATED]
    differentiated = stages if "gradients" in needs else linear
    logits, activations, gradients = tapped(network, variables, images, target, stages, differentiated)
    scores = scored(logits, target)
    keys_of = jax.vmap(sample_keys, in_axes=(0, None, None))
    noisy: dict[str, Array] = {}
    if "noisy_gradients" in needs:
        keys = keys_of(identities, OF_THE_IMAGE, NOISY_IMAGES)
        noisy = noisy_gradients(network, variables, images, keys, target, stages)
    whole = partial(network.apply, variables, train=False)
    _, height, width, _ = images.shape
    masked = _each(chunk, images_at_once(images, platform), len(images))

    def of_stage(stage: str) -> Inputs:
        a = activations[stage]
        g = gradients.get(stage, jnp.zeros(0))  # of which nothing is made where it is not needed
        # A stage's number is its place among the stages, whether or not the network has inner taps.
        number = (*network.stages, *network.taps).index(stage)
        keys = keys_of(identities, number, seeds)
        suffix = partial(whole, after=stage)
        changed = _each(chunk, outputs_at_once(a, platform), len(images))
        affine, rest = _parts(whole, stage, network.pointwise_after)

        def ablated(values: Float[Array, "b k"]) -> Float[Array, "b k"]:
            if stage in linear:
                return linear_ablated_scores(at_least_float32(a), at_least_float32(g), at_least_float32(values), scores)
            return ablated_scores(affine, rest, a, values, target, changed)

        @cache  # the gains need them too
        def groups() -> Float[Array, "b h w g"]:
            return channel_groups(at_least_float32(a), at_least_float32(g), (height, width))

        makers: dict[str, Callable[[], Array]] = {
            "gradients": lambda: at_least_float32(g),
            "curvature": lambda: at_least_float32(curvature(suffix, a, target)),
            "noisy_gradients": lambda: at_least_float32(noisy[stage]),
            "score": lambda: scores,
            "ablated_scores": lambda: ablated(jnp.zeros_like(a[:, 0, 0])),
            "pgc_ablated_scores": lambda: ablated(jax.vmap(pgc_ablation)(a)),
            "position_scores": lambda: position_scores(suffix, a, target, changed),
            "masked_scores": lambda: masked_scores(whole, images, a, target, masked),
            "noisy_masked_scores": lambda: noisy_masked_scores(whole, images, a, keys[:, 0], target, masked),
            "integrated_masked_scores": lambda: integrated_masked_scores(whole, images, a, target, masked),
            "groups": groups,
            "group_gains": lambda: group_gains(whole, images, groups(), target, masked),
            "optimised_weights": lambda: optimised_weights(whole, images, a, target),
            "key": lambda: keys,
        }
        return Inputs(at_least_float32(a), **{name: make() for name, make in makers.items() if name in needs})

    return logits, {stage: of_stage(stage) for stage in stages}


def tapped(
    network: Any,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    target: AnyTarget,
    stages: Sequence[str],
    differentiated: Sequence[str],
) -> tuple[Float[Array, "b outputs"], dict[str, Array], dict[str, Array]]:
    """One forward and at most one backward: the logits, A of the stages asked for, and ds/dA of those `differentiated`.

    The scores are summed over the batch before the backward. In eval mode no image touches another, so each gradient is
    that of its own image's score.
    """
    if not differentiated:
        logits, sown = network.apply(variables, images, train=False, mutable=["intermediates"])
        return at_least_float32(logits), _of(sown["intermediates"], stages), {}
    _, taps = jax.eval_shape(
        lambda: network.apply(variables, images, train=False, mutable=["intermediates", "perturbations"])
    )
    zeros = {name: jnp.zeros(tap.shape, tap.dtype) for name, tap in _of(taps["perturbations"], differentiated).items()}

    def total(perturbations: dict[str, Array]) -> tuple[Float[Array, ""], tuple[Array, dict[str, Array]]]:
        # Differentiating only what is asked for ends the backward pass at the earliest of those stages.
        perturbed = {**variables, "perturbations": perturbations}
        logits, sown = network.apply(perturbed, images, train=False, mutable=["intermediates"])
        return jnp.sum(scored(logits, target)), (at_least_float32(logits), _of(sown["intermediates"], stages))

    gradients, (logits, activations) = jax.grad(total, has_aux=True)(zeros)
    return logits, activations, gradients


def curvature(suffix: Forward, activations: Float[Array, "b h w k"], target: AnyTarget) -> Float[Array, "b h w k"]:
    """H A of each image, H = d2s/dA2: the gradient of <ds/dA, A> with the second A held fixed."""

    def total(a: Float[Array, "b h w k"]) -> Float[Array, ""]:
        return jnp.sum(scored(suffix(a), target))

    return jax.grad(lambda a: jnp.vdot(jax.grad(total)(a), activations))(activations)


def noisy_gradients(
    network: Any,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    keys: Key[Array, "b n"],
    target: AnyTarget,
    stages: Sequence[str],
) -> dict[str, Float[Array, "b n h w k"]]:
    """ds/dA of the stages for each image with normal noise of standard deviation 0.3, n times (torch-cam 0.5.0)."""

    def once(keys: Key[Array, " b"]) -> dict[str, Float[Array, "b h w k"]]:
        noise = jax.vmap(partial(jax.random.normal, shape=images.shape[1:], dtype=images.dtype))(keys)
        return tapped(network, variables, images + NOISE_OF_IMAGES * noise, target, stages, stages)[2]

    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), jax.lax.map(once, keys.T))


def _each(chunk: int, best: int, images: int) -> int:
    """How many changed copies of each image go through the network at once: of all, `chunk` or the `best` at most."""
    return max(1, min(chunk, best) // images)


def _parts(whole: Callable[..., Array], stage: str, pointwise_after: Sequence[str]) -> tuple[Forward, Forward]:
    """What follows a stage, divided where it is no longer affine in the channels of each position."""
    if stage not in pointwise_after:
        return (lambda a: a), partial(whole, after=stage)
    return partial(whole, after=stage, until=f"{stage}/affine"), partial(whole, after=f"{stage}/affine")


def _of(values: Mapping[str, Any], stages: Sequence[str]) -> dict[str, Any]:
    """The values of these stages: what nobody asked for is not kept."""
    return {stage: values[stage] for stage in stages}
