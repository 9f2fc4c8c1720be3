"""Methods that weigh the activations A by the gradients G = ds/dA; the arithmetic is pytorch-grad-cam's (PGC 1.5.7).

Each gives what every channel contributes; the map is the sum over the channels k.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.cam.method import Inputs


def cam(inputs: Inputs) -> Float[Array, "h w k"]:
    """CAM: w_k A_k with w_k the target's weight of channel k in the linear layer (Zhou et al. 2016, equation 2).

    Where nothing but a mean over the positions and that layer follow, w_k = sum_hw G_k (Selvaraju et al. 2017, section
    3.1); elsewhere CAM is not defined, and the engine refuses it.
    """
    return inputs.activations * jnp.sum(inputs.gradients, axis=(0, 1))


def gradcam(inputs: Inputs) -> Float[Array, "h w k"]:
    """GradCAM: w_k A_k with w_k = mean_hw G_k (Selvaraju et al. 2017, equations 1 and 2)."""
    return inputs.activations * jnp.mean(inputs.gradients, axis=(0, 1))


def hirescam(inputs: Inputs) -> Float[Array, "h w k"]:
    """HiResCAM: G_k * A_k (Draelos and Carin 2020, equation 5)."""
    return inputs.gradients * inputs.activations


def gradcam_elementwise(inputs: Inputs) -> Float[Array, "h w k"]:
    """GradCAM-ElementWise: relu(G_k * A_k) (PGC's GradCAMElementWise)."""
    return jnp.maximum(inputs.gradients * inputs.activations, 0)


def gradcam_plus_plus(inputs: Inputs) -> Float[Array, "h w k"]:
    """GradCAM++: w_k A_k with w_k = sum_hw a_k * relu(G_k) (Chattopadhay et al. 2018, equations 5 and 19).

    a_k = G_k^2 / (2 G_k^2 + (sum_hw A_k) G_k^3 + 1e-6), and 0 where G_k = 0. The 1e-6 is PGC's. The denominator can
    vanish where G_k and sum_hw A_k differ in sign: the quotient is taken as 0 there.
    """
    a, g = inputs.activations, inputs.gradients
    alpha = _quotient(g**2, 2 * g**2 + jnp.sum(a, axis=(0, 1)) * g**3 + 1e-6)
    return a * jnp.sum(alpha * jnp.maximum(g, 0), axis=(0, 1))


def smoothgradcam_plus_plus(inputs: Inputs) -> Float[Array, "h w k"]:
    """Smooth GradCAM++: GradCAM++ with each power of G averaged over images with noise (Omeiza et al. 2019, section 3).

    With D_p = mean_n G_n^p: w_k = sum_hw a_k * relu(D_1), a_k = D_2 / (2 D_2 + sum_hw(D_3 A_k) + 1e-8). So far as
    torch-cam 0.5.0: its D_2 for the paper's D_1 in the numerator, as in GradCAM++, and its sum. Unlike it, D_1 is the
    mean, as in the paper; torch-cam takes the last image's alone.
    """
    a, g = inputs.activations, inputs.noisy_gradients
    first, second, third = (jnp.mean(g**power, axis=0) for power in (1, 2, 3))
    alpha = _quotient(second, 2 * second + jnp.sum(third * a, axis=(0, 1)) + 1e-8)
    return a * jnp.sum(alpha * jnp.maximum(first, 0), axis=(0, 1))


def xgradcam(inputs: Inputs) -> Float[Array, "h w k"]:
    """XGradCAM: w_k A_k with w_k = sum_hw(G_k * A_k) / (sum_hw A_k + 1e-7) (Fu et al. 2020, equation 8)."""
    a, g = inputs.activations, inputs.gradients
    return a * _quotient(jnp.sum(g * a, axis=(0, 1)), jnp.sum(a, axis=(0, 1)) + 1e-7)


def layercam(inputs: Inputs) -> Float[Array, "h w k"]:
    """LayerCAM: relu(G_k) * A_k (Jiang et al. 2021, equations 6 and 7)."""
    return jnp.maximum(inputs.gradients, 0) * inputs.activations


def bagcams(inputs: Inputs) -> Float[Array, "h w k"]:
    """BagCAMs: relu(E_k (1 + mean_hw E_k)), E_k = d(log p)/dA_k * A_k (Zhu et al. 2022, arXiv:2207.07818).

    Each position's gradient is a regional classifier, and all of them look at each position. The arithmetic is that of
    the authors' code. p is a sigmoid's probability of the score: d(log p) = (1 - p) ds. The authors' is a softmax's.
    The outer factor 1 - p is left out: it is one number for the whole map, and next to 0 for a sure call.
    """
    evidence = inputs.gradients * inputs.activations
    of_all = jax.nn.sigmoid(-inputs.score) * jnp.mean(evidence, axis=(0, 1))
    return jnp.maximum(evidence * (1 + of_all), 0)


def shapleycam(inputs: Inputs) -> Float[Array, "h w k"]:
    """ShapleyCAM: w_k A_k with w_k = mean_hw(G_k - (H A)_k / 2), H = d2s/dA2 (Cai 2025, arXiv:2501.06261).

    The second-order Taylor expansion of the score around A, as it is without A's share of a pixel.
    """
    return inputs.activations * jnp.mean(inputs.gradients - inputs.curvature / 2, axis=(0, 1))


def _quotient(numerator: Float[Array, "..."], denominator: Float[Array, "..."]) -> Float[Array, "..."]:
    """Divides, and gives 0 where the denominator is 0."""
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))
