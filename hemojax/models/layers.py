"""Convolution, batch norm and the other layers, with torchvision's arithmetic and initial values."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, UInt32

# torch.nn.init.kaiming_normal_(mode="fan_out"): a normal distribution that is not truncated
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def symmetric_uniform(
    key: Key[Array, ""] | UInt32[Array, "2"], shape: tuple[int, ...], dtype: DTypeLike, *, bound: float
) -> Float[Array, "..."]:
    """Initial values from U(-bound, bound)."""
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s ci co"], stride: int, groups: int
) -> Float[Array, "b h2 w2 co"]:
    """2-D convolution with the padding (s - 1) / 2 of an odd kernel size s, as torchvision pads."""
    size = kernel.shape[0]
    if size == 1 and groups == 1:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    if groups == x.shape[-1] and kernel.shape[2] == 1:
        return depthwise(x, kernel, stride)
    if x.shape[-1] <= 4 and size == 3:
        return im2col(x, kernel, stride)
    return lax_convolution(x, kernel, stride, groups)

def im2col(x,k,s):
    p=k.shape[0]//2; n=k.shape[0]
    b,h,w,c=x.shape; ho,wo=(h-1)//s+1,(w-1)//s+1
    xp=jnp.pad(x,((0,0),(p,p),(p,p),(0,0)))
    c=jnp.concatenate([xp[:,i:i+s*(ho-1)+1:s,j:j+s*(wo-1)+1:s] for i in range(n) for j in range(n)],-1)
    return c@k.reshape(-1,k.shape[-1])

def lax_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s ci co"], stride: int, groups: int
) -> Float[Array, "b h2 w2 co"]:
    """The convolution as XLA's own operation."""
    padding = (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x, kernel, stride):
    return shifted(x, kernel, stride)

def shifted(x,k,s):
    p=k.shape[0]//2; n=k.shape[0]
    b,h,w,c=x.shape; ho,wo=(h-1)//s+1,(w-1)//s+1
    xp=jnp.pad(x,((0,0),(p,p),(p,p),(0,0)))
    return sum(xp[:,i:i+s*(ho-1)+1:s,j:j+s*(wo-1)+1:s]*k[i,j,0] for i in range(n) for j in range(n))

def dfwd(x,k,s): return shifted(x,k,s),(x,k)
def dbwd(s,res,dy):
    x,k=res
    p=k.shape[0]//2; n=k.shape[0]
    b,h,w,c=x.shape; ho,wo=dy.shape[1:3]
    dx=jax.vjp(lambda x:shifted(x,k,s),x)[1](dy)[0]
    xp=jnp.pad(x,((0,0),(p,p),(p,p),(0,0)))
    out=[]
    for i in range(n):
        for j in range(n):
            out.append(sum(xp[:,s*r+i,j:j+s*(wo-1)+1:s]*dy[:,r] for r in range(ho)))
    o=jnp.stack(out).reshape(n*n,b*wo,c)
    dk=jnp.einsum('tn,tnc->tc',jnp.ones((n*n,b*wo),x.dtype),o).reshape(n,n,1,c)
    return dx,dk
depthwise.defvjp(dfwd,dbwd)


class Conv(nn.Module):
    """Convolution without a bias unless `use_bias`; `groups` is 1 or, for a depthwise one, the number of channels."""

    features: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    use_bias: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 co"]:
        """Convolves x."""
        param_dtype = jnp.promote_types(jnp.float32, self.dtype)
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", kaiming_fan_out, shape, param_dtype)
        y = convolution(x, kernel.astype(self.dtype), self.stride, self.groups)
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
        dtype = jnp.promote_types(jnp.float32, self.dtype)
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        if train:
            mean, var, count = batch_statistics(x.astype(dtype), self.axis_name)
            if not self.is_initializing():
                running_mean.value = 0.9 * running_mean.value + 0.1 * mean
                running_var.value = 0.9 * running_var.value + 0.1 * var * (count / (count - 1))
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


def batch_statistics(
    x: Float[Array, "b h w c"], axis_name: str | None
) -> tuple[Float[Array, "c"], Float[Array, "c"], int]:
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


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """3x3 maximum with stride 2 and padding 1 (torch.nn.MaxPool2d(3, 2, 1))."""
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
