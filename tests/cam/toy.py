"""A staged network small enough to be checked by brute force."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Toy(nn.Module):
    """Three stages of convolution and SiLU (hence signed), each halving the image; then pooling and a dense layer."""

    widths: tuple[int, ...] = (5, 6, 7)
    outputs: int = 3
    stages: tuple[str, ...] = ("stage1", "stage2", "stage3")

    @nn.compact
    def __call__(self, x, train=False, after=None, until=None):
        first = 0 if after is None else self.stages.index(after) + 1
        for name, width in list(zip(self.stages, self.widths, strict=True))[first:]:
            x = nn.silu(
                nn.Conv(width, (3, 3), strides=2, padding=1, name=f"conv_{name}", dtype=x.dtype, param_dtype=x.dtype)(x)
            )
            self.sow("intermediates", name, x, reduce_fn=lambda old, new: new, init_fn=lambda: None)
            x = self.perturb(name, x)
            if name == until:
                return x
        return nn.Dense(self.outputs, name="dense", dtype=x.dtype, param_dtype=x.dtype)(jnp.tanh(x.mean(axis=(1, 2))))


def variables(network, seed=0, size=16, dtype=jnp.float32):
    made = network.init(jax.random.key(seed), jnp.zeros((1, size, size, 3), dtype))["params"]
    # Biases start at zero, which would hide a forgotten bias.
    return {
        "params": jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape, p.dtype), made)
    }


def images(batch, seed=1, size=16, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), (batch, size, size, 3), dtype)
