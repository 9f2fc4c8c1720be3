"""Computes what the methods need, in batches.

One forward gives the activations of every stage and inner tap, one backward their gradients; `scores` and `masks`
run the network on changed inputs. Everything is a function of its own image alone:
neither batch nor group changes it beyond rounding.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

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
from hemojax.cam.registration import shift
from hemojax.cam.scores import Forward, ablated_scores, linear_ablated_scores, position_scores, scored
from hemojax.cam.targets import AnyTarget
from hemojax.groups import images_at_once, outputs_at_once
from hemojax.network import Network, Variables
from hemojax.precision import at_least_float32

ABLATED = frozenset({"ablated_scores", "pgc_ablated_scores"})
NOISY_IMAGES, NOISE_OF_IMAGES = 4, 0.3  # of Smooth GradCAM++, in units of the network's input
OF_THE_IMAGE = 2**31 - 1  # in place of a stage's number: keys of the image itself


@dataclasses.dataclass(frozen=True)
class Stage:
    """A batch at one stage: what every need is made of.

    Attributes:
        images: the network's input.
        target: one for each image.
        activations: A, in the network's dtype.
        gradients: ds/dA, empty unless some method needs it.
        noisy_gradients: see `Inputs`, empty unless some method needs it.
        scores: of the images.
        aside: the part of the scores that does not come through what follows, but from a local head before it.
        keys: of each image, one for each seed.
        whole: the network.
        suffix: what follows the stage.
        affine: what follows it at once, as far as it is affine in the channels of each position.
        rest: what follows that.
        linear: whether the score is linear in A.
        shift: by how many cells masks are moved when they are drawn on the images, see `registration`.
        masked: how many masked copies of each image go through the network at once.
        changed: how many changed copies of A.
    """

    images: Float[Array, "b height width channels"]
    target: AnyTarget
    activations: Float[Array, "b h w k"]
    gradients: Float[Array, "..."]
    noisy_gradients: Float[Array, "..."]
    scores: Float[Array, " b"]
    aside: Float[Array, " b"]
    keys: Key[Array, "b seeds"]
    whole: Callable[..., Array]
    suffix: Forward
    affine: Forward
    rest: Forward
    linear: bool
    shift: float
    masked: int
    changed: int

    @cached_property
    def groups(self) -> Float[Array, "b h w g"]:
        """Group-CAM's masks; their gains need them too."""
        a, g = at_least_float32(self.activations), at_least_float32(self.gradients)
        _, height, width, _ = self.images.shape
        return channel_groups(a, g, (height, width), self.shift)

    def ablated(self, values: Float[Array, "b k"]) -> Float[Array, "b k"]:
        """The score with each channel set to its value."""
        if self.linear:
            a, g = at_least_float32(self.activations), at_least_float32(self.gradients)
            return linear_ablated_scores(a, g, at_least_float32(values), self.scores)
        scores = ablated_scores(
            self.affine, self.rest, self.activations, values, target=self.target, group=self.changed
        )
        return self.aside[:, None] + scores

    @property
    def of_positions(self) -> Float[Array, "b h w"]:
        """The score with nothing of A but one position."""
        scores = position_scores(self.suffix, self.activations, target=self.target, group=self.changed)
        return self.aside[:, None, None] + scores

    def under_masks(self, scores: Callable[..., Array], *more: Array) -> Array:
        """One of the scores of `masks`."""
        arguments = (self.whole, self.images, self.activations, *more)
        return scores(*arguments, target=self.target, group=self.masked, shift=self.shift)

    @property
    def group_gains(self) -> Float[Array, "b g"]:
        """What Group-CAM's masks are worth."""
        arguments = (self.whole, self.images, self.groups)
        return group_gains(*arguments, target=self.target, group=self.masked, shift=self.shift)


class Need(NamedTuple):
    """A field of `Inputs`.

    Attributes:
        make: it, of a batch at a stage.
        costly: it takes many runs of the network an image, so that a method that needs it shares its pass over the
            network with no other.
        masks: it masks images, for which it matters where the stage's cells look.
    """

    make: Callable[[Stage], Array]
    costly: bool
    masks: bool = False


NEEDS: dict[str, Need] = {
    "gradients": Need(lambda at: at_least_float32(at.gradients), costly=False),
    "curvature": Need(lambda at: at_least_float32(curvature(at.suffix, at.activations, at.target)), costly=False),
    "noisy_gradients": Need(lambda at: at_least_float32(at.noisy_gradients), costly=False),
    "score": Need(lambda at: at.scores, costly=False),
    "ablated_scores": Need(lambda at: at.ablated(jnp.zeros_like(at.activations[:, 0, 0])), costly=True),
    "pgc_ablated_scores": Need(lambda at: at.ablated(jax.vmap(pgc_ablation)(at.activations)), costly=True),
    "position_scores": Need(lambda at: at.of_positions, costly=True),
    "masked_scores": Need(lambda at: at.under_masks(masked_scores), costly=True, masks=True),
    "noisy_masked_scores": Need(lambda at: at.under_masks(noisy_masked_scores, at.keys[:, 0]), costly=True, masks=True),
    "integrated_masked_scores": Need(lambda at: at.under_masks(integrated_masked_scores), costly=True, masks=True),
    "groups": Need(lambda at: at.groups, costly=False),
    "group_gains": Need(lambda at: at.group_gains, costly=True, masks=True),
    "optimised_weights": Need(
        lambda at: optimised_weights(at.whole, at.images, at.activations, at.target, at.shift), costly=True, masks=True
    ),
    "key": Need(lambda at: at.keys, costly=False),
}
"""What the engine can provide, by the field of `Inputs` that it fills."""


def without_taps(variables: Variables) -> Variables:
    """The variables less what `init` sowed and perturbed beside them, which has the shape of its own images."""
    return {name: values for name, values in variables.items() if name not in ("intermediates", "perturbations")}


def gather(
    network: Network,
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
    registered: bool = False,
) -> tuple[Float[Array, "b outputs"], dict[str, Inputs]]:
    """The logits, and the inputs of the methods at each stage: those of `Inputs` with a leading axis of images.

    Args:
        network: the classifier; it is run with `train=False`.
        variables: its "params" and "batch_stats".
        images: its input.
        target: one for each image.
        identities: one integer for each image, from which its random keys follow.
        stages: which stages and inner taps.
        needs: which inputs beside the activations.
        seeds: how many keys each image has.
        chunk: how many ablated or masked inputs are held at once at most, or one for each image.
        platform: what the program is compiled for.
        registered: draw masks on the images where the stage's cells look.
    """
    # Where the score is linear in A, its gradient gives the ablated scores, and the network is not run.
    linear = [stage for stage in stages if stage == network.linear_after and needs & ABLATED]
    differentiated = stages if "gradients" in needs else linear
    logits, activations, gradients = tapped(
        network, variables, images, target, stages=stages, differentiated=differentiated
    )
    scores = scored(logits, target)
    keys_of = jax.vmap(sample_keys, in_axes=(0, None, None))
    noisy: dict[str, Array] = {}
    if "noisy_gradients" in needs:
        keys = keys_of(identities, OF_THE_IMAGE, NOISY_IMAGES)
        noisy = noisy_gradients(network, variables, images, target, keys=keys, stages=stages)
    whole = partial(network.apply, variables, train=False)
    masked = _each(chunk, images_at_once(images, platform), len(images))

    def of_stage(name: str) -> Inputs:
        a = activations[name]
        # A stage's number is its place among the stages, whether or not the network has inner taps.
        number = (*network.stages, *network.taps).index(name)
        suffix = partial(whole, after=name)
        pointwise = name in network.pointwise_after and name != network.local_stage
        affine, rest = _parts(whole, name) if pointwise else (lambda a: a, suffix)
        stage = Stage(
            images=images,
            target=target,
            activations=a,
            gradients=gradients.get(name, jnp.zeros(0)),  # of which nothing is made where it is not needed
            noisy_gradients=noisy.get(name, jnp.zeros(0)),
            scores=scores,
            aside=scores - scored(suffix(a), target) if network.local_stage else jnp.zeros_like(scores),
            keys=keys_of(identities, number, seeds),
            whole=whole,
            suffix=suffix,
            affine=affine,
            rest=rest,
            linear=name in linear,
            shift=shift(network, images.shape[1] / a.shape[1]) if registered else 0.0,
            masked=masked,
            changed=_each(chunk, outputs_at_once(a, platform), len(images)),
        )
        return Inputs(at_least_float32(a), **{need: NEEDS[need].make(stage) for need in NEEDS if need in needs})

    return logits, {stage: of_stage(stage) for stage in stages}


def tapped(
    network: Network,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    target: AnyTarget,
    *,
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
    network: Network,
    variables: Variables,
    images: Float[Array, "b height width channels"],
    target: AnyTarget,
    *,
    keys: Key[Array, "b n"],
    stages: Sequence[str],
) -> dict[str, Float[Array, "b n h w k"]]:
    """ds/dA of the stages for each image with normal noise of standard deviation 0.3, n times (torch-cam 0.5.0)."""

    def once(keys: Key[Array, " b"]) -> dict[str, Float[Array, "b h w k"]]:
        noise = jax.vmap(partial(jax.random.normal, shape=images.shape[1:], dtype=images.dtype))(keys)
        return tapped(
            network, variables, images + NOISE_OF_IMAGES * noise, target, stages=stages, differentiated=stages
        )[2]

    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), jax.lax.map(once, keys.T))


def _each(chunk: int, best: int, images: int) -> int:
    """How many changed copies of each image go through the network at once: of all, `chunk` or the `best` at most."""
    return max(1, min(chunk, best) // images)


def _parts(whole: Callable[..., Array], stage: str) -> tuple[Forward, Forward]:
    """What follows a stage of `pointwise_after`, divided where it is no longer affine in each position's channels."""
    return partial(whole, after=stage, until=f"{stage}/affine"), partial(whole, after=f"{stage}/affine")


def _of(values: Mapping[str, Any], stages: Sequence[str]) -> dict[str, Any]:
    """The values of these stages: what nobody asked for is not kept."""
    return {stage: values[stage] for stage in stages}
