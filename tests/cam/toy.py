"""A staged network small enough to be checked by brute force."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
from flax import linen as nn


class Toy(nn.Module):
    """Three stages of convolution and activation, each halving the image; then pooling and a dense layer."""

    widths: tuple[int, ...] = (5, 6, 7)
    outputs: int = 3
    activation: str = "silu"
    stages: tuple[str, ...] = ("stage1", "stage2", "stage3")
    taps: tuple[str, ...] = ()
    linear_after: str | None = None  # the tanh is not linear
    pointwise_after: tuple[str, ...] = ()
    symmetric_padding: bool = True
    local_stage: str = ""

    def resolve(self, name):
        return {"last": self.stages[-1]}.get(name, name)

    @nn.compact
    def __call__(self, x, train=False, after=None, until=None):
        first = 0 if after is None else self.stages.index(after) + 1
        for name, width in list(zip(self.stages, self.widths, strict=True))[first:]:
            x = nn.Conv(width, (3, 3), 2, 1, dtype=x.dtype, param_dtype=x.dtype, name=f"conv_{name}")(x)
            x = getattr(nn, self.activation)(x)
            self.sow("intermediates", name, x, reduce_fn=lambda old, new: new, init_fn=lambda: None)
            if self.is_mutable_collection("perturbations") or self.has_variable("perturbations", name):
                x = self.perturb(name, x)
            if name == until:
                return x
        return nn.Dense(self.outputs, dtype=x.dtype, param_dtype=x.dtype, name="dense")(jnp.tanh(x.mean(axis=(1, 2))))


def variables(network, seed=0, gain=3.0):
    """Random parameters, biases among them, large enough for the layers not to be linear."""
    made = jax.jit(network.init)(jax.random.key(seed), jnp.zeros((1, 16, 16, 3)))["params"]
    leaves, structure = jax.tree.flatten(made)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    leaves = [gain * leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return {"params": jax.tree.unflatten(structure, leaves)}


@lru_cache
def compiled(network, after=None, until=None):
    """The network, or the part between two stages, as a jitted function of variables and input."""
    return jax.jit(partial(network.apply, after=after, until=until))


def images(batch, seed=1):
    """Not square, to tell height from width."""
    return jax.random.normal(jax.random.key(seed), (batch, 16, 24, 3))
