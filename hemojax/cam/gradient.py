"""Methods that weigh the activations A by the gradients G = ds/dA; the arithmetic is pytorch-grad-cam's (PGC 1.5.7)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.cam.method import Inputs, weighted_sum


def gradcam(inputs: Inputs) -> Float[Array, "h w"]:
    """GradCAM: sum_k w_k A_k with w_k = mean_hw G_k (Selvaraju et al. 2017, equations 1 and 2)."""
    return weighted_sum(inputs.activations, jnp.mean(inputs.gradients, axis=(0, 1)))


def hirescam(inputs: Inputs) -> Float[Array, "h w"]:
    """HiResCAM: sum_k G_k * A_k (Draelos and Carin 2020, equation 5)."""
    return jnp.sum(inputs.gradients * inputs.activations, axis=-1)


def gradcam_elementwise(inputs: Inputs) -> Float[Array, "h w"]:
    """GradCAM-ElementWise: sum_k relu(G_k * A_k) (PGC's GradCAMElementWise)."""
    return jnp.sum(jnp.maximum(inputs.gradients * inputs.activations, 0), axis=-1)


def gradcam_plus_plus(inputs: Inputs) -> Float[Array, "h w"]:
    """GradCAM++: sum_k w_k A_k with w_k = sum_hw a_k * relu(G_k) (Chattopadhay et al. 2018, equations 5 and 19).

    a_k = G_k^2 / (2 G_k^2 + (sum_hw A_k) G_k^3 + 1e-6), and 0 where G_k = 0. The 1e-6 is PGC's. The denominator can
    vanish where G_k and sum_hw A_k differ in sign: the quotient is taken as 0 there.
    """
    a, g = inputs.activations, inputs.gradients
    alpha = _quotient(g**2, 2 * g**2 + jnp.sum(a, axis=(0, 1)) * g**3 + 1e-6)
    return weighted_sum(a, jnp.sum(alpha * jnp.maximum(g, 0), axis=(0, 1)))


def xgradcam(inputs: Inputs) -> Float[Array, "h w"]:
    """XGradCAM: sum_k w_k A_k with w_k = sum_hw(G_k * A_k) / (sum_hw A_k + 1e-7) (Fu et al. 2020, equation 8)."""
    a, g = inputs.activations, inputs.gradients
    return weighted_sum(a, _quotient(jnp.sum(g * a, axis=(0, 1)), jnp.sum(a, axis=(0, 1)) + 1e-7))


def layercam(inputs: Inputs) -> Float[Array, "h w"]:
    """LayerCAM: sum_k relu(G_k) * A_k (Jiang et al. 2021, equations 6 and 7)."""
    return jnp.sum(jnp.maximum(inputs.gradients, 0) * inputs.activations, axis=-1)


def shapleycam(inputs: Inputs) -> Float[Array, "h w"]:
    """ShapleyCAM: sum_k w_k A_k with w_k = mean_hw(G_k - (H A)_k / 2), H = d2s/dA2 (Cai 2025, arXiv:2501.06261).

    The second-order Taylor expansion of the score around A, as it is without A's share of a pixel.
    """
    weights = jnp.mean(inputs.gradients - inputs.curvature / 2, axis=(0, 1))
    return weighted_sum(inputs.activations, weights)


def _quotient(numerator: Float[Array, "..."], denominator: Float[Array, "..."]) -> Float[Array, "..."]:
    """Divides, and gives 0 where the denominator is 0."""
    zero = denominator == 0
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))
