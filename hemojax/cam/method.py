"""What a class activation map method is, and what the engine gives it.

A method is a pure function of ONE image; `hemojax.cam.engine` computes its inputs in batches and vmaps it. Throughout,
`A` (h, w, k) are the activations of a stage, `s` the target's score and `G` = ds/dA.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

NOT_NEEDED: Any = None


class Inputs(NamedTuple):
    """What the engine knows about one image at one stage; what no chosen method needs is None.

    Attributes:
        activations: A, the stage's output.
        gradients: G = ds/dA.
        curvature: H A, the product of H = d2s/dA2 with A.
        noisy_gradients: ds/dA of the image with noise, n times.
        score: s, one raw logit with its sign.
        ablated_scores: s_k, the score after channel k of A was set to zero.
        pgc_ablated_scores: the same after channel k was set to what PGC sets it to (see `perturbation.pgc_ablation`).
        position_scores: the score with nothing but one position's surroundings of A.
        masked_scores: the score of the image times channel k of A, upsampled and scaled to [0, 1].
        noisy_masked_scores: the same with noise on the masks, the mean of many.
        integrated_masked_scores: the same with growing masks, their mean.
        groups: masks, the weighted sums of groups of channels.
        group_gains: the score of the image inside each of these masks and blurred outside, less that of it blurred.
        optimised_weights: those of the channels whose sum, as a mask of the image, raises the score most.
        key: the sample's own random key.
    """

    activations: Float[Array, "h w k"]
    gradients: Float[Array, "h w k"] = NOT_NEEDED
    curvature: Float[Array, "h w k"] = NOT_NEEDED
    noisy_gradients: Float[Array, "n h w k"] = NOT_NEEDED
    score: Float[Array, ""] = NOT_NEEDED
    ablated_scores: Float[Array, " k"] = NOT_NEEDED
    pgc_ablated_scores: Float[Array, " k"] = NOT_NEEDED
    position_scores: Float[Array, "h w"] = NOT_NEEDED
    masked_scores: Float[Array, " k"] = NOT_NEEDED
    noisy_masked_scores: Float[Array, " k"] = NOT_NEEDED
    integrated_masked_scores: Float[Array, " k"] = NOT_NEEDED
    groups: Float[Array, "h w g"] = NOT_NEEDED
    group_gains: Float[Array, " g"] = NOT_NEEDED
    optimised_weights: Float[Array, " k"] = NOT_NEEDED
    key: Key[Array, ""] = NOT_NEEDED


class Method(NamedTuple):
    """A method and what it needs beside the activations.

    Attributes:
        needs: names of fields of `Inputs`, those that the engine then computes.
        fn: gives the raw map of one image, before any post-processing.
        contributions: what each channel adds to the map, where that is a sum over channels (see `additive`).
        linear: defined only where the network goes on with a mean over the positions and a linear layer.
    """

    needs: frozenset[str]
    fn: Callable[[Inputs], Float[Array, "h w"]]
    contributions: Callable[[Inputs], Float[Array, "h w k"]] | None = None
    linear: bool = False


def additive(contributions: Callable[[Inputs], Float[Array, "h w k"]], *needs: str, linear: bool = False) -> Method:
    """The method whose raw map is the sum of these contributions over the channels."""
    return Method(frozenset(needs), lambda inputs: jnp.sum(contributions(inputs), axis=-1), contributions, linear)
