"""Methods that weigh the channels of A by what happens to the score without them, or with nothing but them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.cam.method import Inputs, weighted_sum


def ablationcam(inputs: Inputs) -> Float[Array, "h w"]:
    """AblationCAM: sum_k w_k A_k with w_k = (s - s_k) / |s| (Desai and Ramaswamy 2020, equations 3 and 4).

    The paper divides by s. For s > 0 that is the same; for s < 0 (a false negative explained for its true class) it
    would turn the map around. For s = 0 the weights are s - s_k: their scale means nothing after the min-max.
    """
    score, ablated = inputs.score, inputs.ablated_scores
    return weighted_sum(inputs.activations, ((score - ablated) / jnp.where(score == 0, 1, jnp.abs(score))))


def ablationcam_pgc(inputs: Inputs) -> Float[Array, "h w"]:
    """AblationCAM as PGC 1.5.7 computes it, to reproduce figures that were published with it: (s - s_k) / s.

    Its ablation is not the paper's (see `pgc_ablation`), and for s < 0 its map is turned around.
    """
    weights = (inputs.score - inputs.pgc_ablated_scores) / jnp.where(inputs.score == 0, 1, inputs.score)
    return weighted_sum(inputs.activations, weights)


def pgc_ablation(activations: Float[Array, "h w k"]) -> Float[Array, " k"]:
    """The value that PGC 1.5.7 sets each channel to: 0 if the least activation is 0, else about -1e7, -2e7, ...

    It means to write the minimum less 1e7, but takes the minimum of the batch of 32 copies that it is changing, so that
    the n-th channel of each batch gets n times 1e7 less than the true minimum.
    """
    number = jnp.arange(activations.shape[-1]) % 32 + 1
    minimum = jnp.min(activations)
    return jnp.where(minimum == 0, 0, minimum - 1e7 * number).astype(activations.dtype)


def scorecam(inputs: Inputs) -> Float[Array, "h w"]:
    """ScoreCAM: sum_k w_k A_k with w = softmax_k s(x * M_k) (Wang et al. 2020, equations 5 to 8).

    M_k is A_k, upsampled and scaled to [0, 1]. The paper's baseline score is the same for every k: the softmax
    cancels it.
    """
    return weighted_sum(inputs.activations, jax.nn.softmax(inputs.masked_scores))
