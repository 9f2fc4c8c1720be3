"""What a class activation map method is, and what the engine gives it.

A method is a pure function of ONE image; `hemojax.cam.engine` computes its inputs in batches and vmaps it. Throughout,
`A` (h, w, k) are the activations of a stage, `s` the target's score and `G` = ds/dA.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from hemojax.errors import UserError

NOT_NEEDED: Any = None


class Inputs(NamedTuple):
    """What the engine knows about one image at one stage; what no chosen method needs is None.

    Attributes:
        activations: A, the stage's output.
        gradients: G = ds/dA.
        curvature: H A, the product of H = d2s/dA2 with A.
        score: s, one raw logit with its sign.
        ablated_scores: s_k, the score after channel k of A was set to zero.
        pgc_ablated_scores: the same after channel k was set to what PGC sets it to (see `perturbation.pgc_ablation`).
        masked_scores: the score of the image times channel k of A, upsampled and scaled to [0, 1].
        key: the sample's own random key.
    """

    activations: Float[Array, "h w k"]
    gradients: Float[Array, "h w k"] = NOT_NEEDED
    curvature: Float[Array, "h w k"] = NOT_NEEDED
    score: Float[Array, ""] = NOT_NEEDED
    ablated_scores: Float[Array, " k"] = NOT_NEEDED
    pgc_ablated_scores: Float[Array, " k"] = NOT_NEEDED
    masked_scores: Float[Array, " k"] = NOT_NEEDED
    key: Key[Array, ""] = NOT_NEEDED


class Method(NamedTuple):
    """A method and what it needs beside the activations.

    Attributes:
        needs: names of fields of `Inputs`, those that the engine then computes.
        fn: gives the raw map of one image, before any post-processing.
    """

    needs: frozenset[str]
    fn: Callable[[Inputs], Float[Array, "h w"]]


def weighted_sum(activations: Float[Array, "h w k"], weights: Float[Array, " k"]) -> Float[Array, "h w"]:
    """sum_k w_k A_k, in full precision: GPUs and TPUs round the factors of a product to fewer bits otherwise."""
    return jnp.einsum("hwk,k->hw", activations, weights, precision=jax.lax.Precision.HIGHEST)


def check_name(name: str, known: Sequence[str], kind: str) -> None:
    """Raises UserError, naming the nearest, if `name` is not one of the `known` methods, stages or targets."""
    if name not in known:
        nearest = get_close_matches(name, known, n=1, cutoff=0)[0]
        raise UserError(f"no {kind} {name!r}: did you mean {nearest!r}? There are {', '.join(known)}")
