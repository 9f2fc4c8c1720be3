"""Methods that look at the activations A alone, whatever the target; the eigen methods are in `eigen`."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.cam.method import Inputs

DEVIATIONS = 2


def fem(inputs: Inputs) -> Float[Array, "h w k"]:
    """FEM: w_k A_k, w_k the share of A_k above its mean + 2 standard deviations (Fuad et al. 2020); summed over k."""
    a = inputs.activations
    strong = a > jnp.mean(a, axis=(0, 1)) + DEVIATIONS * jnp.std(a, axis=(0, 1))
    return a * jnp.mean(strong, axis=(0, 1), dtype=a.dtype)
