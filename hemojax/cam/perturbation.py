"""Methods that ask what happens to the score without parts of A, or of the image, or with nothing but them.

Where a method weighs the channels it gives what each contributes; the map is the sum over the channels k.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.cam.method import Inputs


def ablationcam(inputs: Inputs) -> Float[Array, "h w k"]:
    """AblationCAM: w_k A_k with w_k = (s - s_k) / |s| (Desai and Ramaswamy 2020, equations 3 and 4).

    The paper divides by s. For s > 0 that is the same; for s < 0 (a false negative explained for its true class) it
    would turn the map around. For s = 0 the weights are s - s_k: their scale means nothing after the min-max.
    """
    score, ablated = inputs.score, inputs.ablated_scores
    return inputs.activations * ((score - ablated) / jnp.where(score == 0, 1, jnp.abs(score)))


def ablationcam_pgc(inputs: Inputs) -> Float[Array, "h w k"]:
    """AblationCAM as PGC 1.5.7 computes it, to reproduce figures that were published with it: (s - s_k) / s.

    Its ablation is not the paper's (see `pgc_ablation`), and for s < 0 its map is turned around.
    """
    weights = (inputs.score - inputs.pgc_ablated_scores) / jnp.where(inputs.score == 0, 1, inputs.score)
    return inputs.activations * weights


def pgc_ablation(activations: Float[Array, "h w k"]) -> Float[Array, " k"]:
    """The value that PGC 1.5.7 sets each channel to: 0 if the least activation is 0, else about -1e7, -2e7, ...

    It means to write the minimum less 1e7, but takes the minimum of the batch of 32 copies that it is changing, so that
    the n-th channel of each batch gets n times 1e7 less than the true minimum.
    """
    number = jnp.arange(activations.shape[-1]) % 32 + 1
    minimum = jnp.min(activations)
    return jnp.where(minimum == 0, 0, minimum - 1e7 * number).astype(activations.dtype)


def reciprocam(inputs: Inputs) -> Float[Array, "h w"]:
    """Recipro-CAM: the score with nothing but a position's surroundings of A (Byun and Lee 2022, arXiv:2209.14074).

    The surroundings are weighed by the paper's 3x3 Gaussian. Its score is a probability, here as everywhere a logit,
    and it scales the scores to [0, 1]; so the least is taken off, lest the ReLU that follows cut the others.
    """
    return inputs.position_scores - jnp.min(inputs.position_scores)


def scorecam(inputs: Inputs) -> Float[Array, "h w k"]:
    """ScoreCAM: w_k A_k with w = softmax_k s(x * M_k) (Wang et al. 2020, equations 5 to 8).

    M_k is A_k, upsampled and scaled to [0, 1]. The paper's baseline score is the same for every k: the softmax
    cancels it.
    """
    return inputs.activations * jax.nn.softmax(inputs.masked_scores)


def cfdcam(inputs: Inputs) -> Float[Array, "h w k"]:
    """Cfd-CAM: w_k A_k with w_k the target's confidence for x * M_k (2023), M_k as in ScoreCAM and no softmax over k.

    The confidence is read as the probability of the signed label, sigmoid(s): labels need not exclude each other.
    """
    return inputs.activations * jax.nn.sigmoid(inputs.masked_scores)


def sscam(inputs: Inputs) -> Float[Array, "h w k"]:
    """SS-CAM: ScoreCAM with noise on its masks: w = softmax_k mean_n s(x * (M_k + noise_n)) (Wang et al. 2020).

    arXiv:2006.14255, the first of its two forms, as torch-cam 0.5.0 has it: 35 samples of standard deviation 2.
    """
    return inputs.activations * jax.nn.softmax(inputs.noisy_masked_scores)


def iscam(inputs: Inputs) -> Float[Array, "h w k"]:
    """IS-CAM: ScoreCAM integrated over growing masks: w = softmax_k mean_n s(c_n x * M_k) (Naidu et al. 2020).

    arXiv:2010.03023. The paper can be read in two ways: here as in torch-cam 0.5.0, c_n = sum_(j <= n) j / N with
    N = 10, so that the last masks go beyond 1.
    """
    return inputs.activations * jax.nn.softmax(inputs.integrated_masked_scores)


def groupcam(inputs: Inputs) -> Float[Array, "h w g"]:
    """Group-CAM: v_g M_g summed over groups g, v_g what the mask M_g gains over the blurred image (Zhang et al. 2021).

    arXiv:2103.13859, equations 1 to 6, with the authors' constants; see `masks.channel_groups`. The gain is that of
    the logit, as everywhere; the authors' code takes that of the probability.
    """
    return inputs.groups * inputs.group_gains


def opticam(inputs: Inputs) -> Float[Array, "h w k"]:
    """Opti-CAM: w_k A_k with w = softmax(u), u such that the masked image scores highest (Zhang et al. 2023).

    arXiv:2301.07002, equations 12 to 15; see `masks.optimised_weights`.
    """
    return inputs.activations * inputs.optimised_weights
