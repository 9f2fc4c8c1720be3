"""The max-pool of a ResNet's stem, and how a local head pools what it finds at each position."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.models.convolution import windows
from hemojax.precision import at_least_float32

PADDING = ((1, 1), (1, 1))
SHARPNESS = 5.0  # r of `log_mean_exp`: from the mean, at 0, to the maximum
SHARE = 1 / 32  # of the positions in `top_mean`: 18 of 24 x 24
# (row of the window, offset of the window): the windows that see an even row, and those that see an odd one
SEEN_BY = (((1, 0),), ((2, 0), (0, 1)))


@jax.custom_vjp
def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """3x3 maximum with stride 2 and padding 1 (torch.nn.MaxPool2d(3, 2, 1)).

    The first of equal values takes the gradient, as in torch. On a CPU the backward pass has a form of its own: XLA's
    (select and scatter) is several times slower, a sixth of a ResNet-18's training step.
    """
    return _xla_max_pool(x)


def _xla_max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    return nn.max_pool(x, (3, 3), (2, 2), PADDING)


def _xla_cotangent(x: Float[Array, "b h w c"], dy: Float[Array, "b h2 w2 c"]) -> Float[Array, "b h w c"]:
    return jax.vjp(_xla_max_pool, x)[1](dy)[0]


def _gathered_cotangent(x: Float[Array, "b h w c"], dy: Float[Array, "b h2 w2 c"]) -> Float[Array, "b h w c"]:
    """Each position gathers from the windows that see it; even and odd rows and columns are computed apart."""
    best, winner = jnp.full_like(dy, -jnp.inf), jnp.full(dy.shape, -1, jnp.int8)
    for tap, window in enumerate(windows(x, 3, 2, PADDING, -jnp.inf)):
        winner = jnp.where(window > best, jnp.int8(tap), winner)
        best = jnp.maximum(window, best)
    batch, rows, columns, channels = dy.shape
    winner, dy = (jnp.pad(a, ((0, 0), (0, 1), (0, 1), (0, 0))) for a in (winner, dy))

    def gathered(row_parity: int, column_parity: int) -> Float[Array, "b h2 w2 c"]:
        total = jnp.zeros((), dy.dtype)
        for i, down in SEEN_BY[row_parity]:
            for j, right in SEEN_BY[column_parity]:
                seen = (slice(None), slice(down, down + rows), slice(right, right + columns))
                total += jnp.where(winner[seen] == 3 * i + j, dy[seen], 0)
        return total

    phases = jnp.stack([jnp.stack([gathered(p, q) for q in (0, 1)], axis=3) for p in (0, 1)], axis=2)
    return phases.reshape(batch, 2 * rows, 2 * columns, channels)[:, : x.shape[1], : x.shape[2]]


def _forward(x):
    return max_pool(x), x


def _backward(x, dy):
    return (jax.lax.platform_dependent(x, dy, cpu=_gathered_cotangent, default=_xla_cotangent),)


max_pool.defvjp(_forward, _backward)


def log_mean_exp(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """log(mean(exp(r x))) / r over the positions (Pinheiro and Collobert 2015, arXiv:1411.6228, equation 1)."""
    x = at_least_float32(x)
    count = x.shape[1] * x.shape[2]
    return (jax.nn.logsumexp(SHARPNESS * x, axis=(1, 2)) - jnp.log(count)) / SHARPNESS


def top_mean(x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
    """The mean of each channel over the SHARE of the positions where it is largest, one at least."""
    positions = jnp.moveaxis(at_least_float32(x).reshape(x.shape[0], -1, x.shape[3]), 1, 2)
    return jax.lax.top_k(positions, max(1, round(SHARE * positions.shape[2])))[0].mean(2)


LOCAL_POOLINGS = {"lse": log_mean_exp, "topk": top_mean}
