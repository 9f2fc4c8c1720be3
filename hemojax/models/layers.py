"""Convolution, batch norm and the other layers, with torchvision's arithmetic and initial values."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, UInt32

from hemojax.models.convolution import convolution
from hemojax.precision import wide

# torch.nn.init.kaiming_normal_(mode="fan_out"): a normal distribution that is not truncated
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def symmetric_uniform(
    key: Key[Array, ""] | UInt32[Array, "2"], shape: tuple[int, ...], dtype: DTypeLike, *, bound: float
) -> Float[Array, "..."]:
    """Initial values from U(-bound, bound)."""
    return jax.random.uniform(key, shape, dtype, -bound, bound)


class Conv(nn.Module):
    """Convolution without a bias unless `use_bias`; `groups` is 1 or, for a depthwise one, the number of channels.

    It pads as torchvision does, or with `same` as TensorFlow (see `convolution`).
    """

    features: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    use_bias: bool = False
    same: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 co"]:
        """Convolves x."""
        param_dtype = wide(self.dtype)
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", kaiming_fan_out, shape, param_dtype)
        y = convolution(x, kernel.astype(self.dtype), self.stride, self.same)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,), param_dtype).astype(self.dtype)
        return y


class BatchNorm(nn.Module):
    """Batch norm by torch's rule.

    In training, x is normalised with the batch's biased variance, and the running variance learns the unbiased one:
    running = 0.9 * running + 0.1 * batch (torch.nn.BatchNorm2d, momentum 0.1). Statistics are at least float32.

    Attributes:
        epsilon: added to the variance.
        dtype: dtype of the output.
        axis_name: mapped axis whose devices share their statistics in training, or None.
    """

    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Normalises x over all axes but the last."""
        dtype = wide(self.dtype)
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        if train:
            mean, var, count = batch_statistics(x.astype(dtype), self.axis_name)
            if not self.is_initializing():
                running_mean.value = 0.9 * running_mean.value + 0.1 * mean
                running_var.value = 0.9 * running_var.value + 0.1 * var * (count / max(count - 1, 1))
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


def batch_statistics(
    x: Float[Array, "b h w c"], axis_name: str | None
) -> tuple[Float[Array, " c"], Float[Array, " c"], int]:
    """Mean and biased variance over all axes but the last, and over the mapped axis if named; and how many values."""
    axes = (0, 1, 2)
    mean, square = x.mean(axes), jnp.square(x).mean(axes)
    count = x.size // x.shape[-1]
    if axis_name is not None:
        mean, square = jax.lax.pmean((mean, square), axis_name)
        count *= jax.lax.axis_size(axis_name)
    return mean, jnp.maximum(square - jnp.square(mean), 0), count


class StochasticDepth(nn.Module):
    """Drops whole samples with probability `rate` and divides the others by 1 - rate (torchvision's "row" mode)."""

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Drops samples of x in training; otherwise returns x."""
        if not train or self.rate == 0:
            return x
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, (x.shape[0], 1, 1, 1))
        return jnp.where(keep, x / (1 - self.rate), 0)
