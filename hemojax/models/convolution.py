"""2-D convolution: the form that is fastest on the platform it is compiled for.

On a GPU or TPU every convolution is XLA's own. On a CPU, XLA's depthwise convolution is 20 to 80 times slower than nine
shifted multiply-adds, and its convolution of an image with few channels several times slower than a matrix product of
patches; the forms here replace those two. A 1x1 convolution is a matrix product everywhere.

The platform is chosen when a program is lowered (`jax.lax.platform_dependent`). Forward and backward choose each for
themselves, inside a `custom_vjp`: differentiated as a whole, the choice would keep the residuals of both branches.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

FEW_CHANNELS = 4  # an image's; from 24 channels on, XLA's convolution is the faster form on a CPU


def convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s ci co"], stride: int = 1
) -> Float[Array, "b h2 w2 co"]:
    """Convolution with the padding (s - 1) / 2 of an odd kernel size s, as torchvision pads.

    Args:
        x: input (NHWC).
        kernel: weights (HWIO); `ci` is c, or 1 for a depthwise convolution of co = c channels.
        stride: of both axes.
    """
    size, _, inputs, outputs = kernel.shape
    if inputs < x.shape[-1] and not (inputs == 1 and outputs == x.shape[-1]):
        raise ValueError(f"a kernel of shape {kernel.shape} does not fit {x.shape[-1]} channels")
    if size == 1 and inputs == x.shape[-1]:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    if inputs < x.shape[-1]:
        return _by_platform(x, kernel, stride, depthwise_shifted, depthwise_shifted_vjp)
    if inputs <= FEW_CHANNELS and size == 3:
        return _by_platform(x, kernel, stride, patches_product, partial(_vjp, patches_product))
    return xla_convolution(x, kernel, stride)


def xla_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s ci co"], stride: int
) -> Float[Array, "b h2 w2 co"]:
    """The convolution as XLA's own operation."""
    padding = (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def patches_product(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s c co"], stride: int
) -> Float[Array, "b h2 w2 co"]:
    """The convolution as a matrix product of the patches of x."""
    patches = jnp.concatenate(_windows(x, kernel.shape[0], stride), axis=-1)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def depthwise_shifted(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s 1 c"], stride: int
) -> Float[Array, "b h2 w2 c"]:
    """The depthwise convolution as a sum of shifted products, which XLA fuses into one loop."""
    taps = kernel.reshape(-1, kernel.shape[-1])
    return sum(window * tap for window, tap in zip(_windows(x, kernel.shape[0], stride), taps, strict=True))


def depthwise_shifted_vjp(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s 1 c"], dy: Float[Array, "b h2 w2 c"], stride: int
) -> tuple[Float[Array, "b h w c"], Float[Array, "s s 1 c"]]:
    """Cotangents of x and of the kernel for the cotangent dy of `depthwise_shifted`.

    JAX's own transposes of the shifted form are right but slow when fused: up to 15 times here.
    """
    size, (height, width), (rows, columns) = kernel.shape[0], x.shape[1:3], dy.shape[1:3]
    low = size - 1 - (size - 1) // 2
    high = [n + size - 1 - low - (stride * (m - 1) + 1) for n, m in ((height, rows), (width, columns))]
    padding = [(0, 0, 0), (low, high[0], stride - 1), (low, high[1], stride - 1), (0, 0, 0)]
    spread = jax.lax.pad(dy, jnp.zeros((), dy.dtype), padding)
    taps = kernel[::-1, ::-1].reshape(-1, kernel.shape[-1])
    corners = [(i, j) for i in range(size) for j in range(size)]
    dx = sum(spread[:, i : i + height, j : j + width] * tap for (i, j), tap in zip(corners, taps, strict=True))

    # the sum over rows is written out: it then runs along whole rows, in vector registers
    products = [sum(window[:, row] * dy[:, row] for row in range(rows)) for window in _windows(x, size, stride)]
    return dx, jnp.stack(products).sum((1, 2)).reshape(kernel.shape)


def _windows(x: Float[Array, "b h w c"], size: int, stride: int) -> list[Float[Array, "b h2 w2 c"]]:
    """The padded x as each tap of a kernel sees it, in the order of the kernel's rows and columns."""
    padding = (size - 1) // 2
    rows, columns = ((n - 1) // stride + 1 for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    starts = range(size)
    ends = [stride * (n - 1) + 1 for n in (rows, columns)]
    return [x[:, i : i + ends[0] : stride, j : j + ends[1] : stride] for i in starts for j in starts]


def _vjp(
    form: Callable[..., Array],
    x: Float[Array, "..."],
    kernel: Float[Array, "..."],
    dy: Float[Array, "..."],
    stride: int,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """JAX's own cotangents of x and of the kernel for the cotangent dy of a form of the convolution."""
    return jax.vjp(partial(form, stride=stride), x, kernel)[1](dy)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _by_platform(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "s s ci co"],
    stride: int,
    cpu: Callable[..., Array],
    cpu_vjp: Callable[..., tuple[Array, Array]],
) -> Float[Array, "b h2 w2 co"]:
    """`cpu` where that is the platform, otherwise `xla_convolution`."""
    return jax.lax.platform_dependent(
        x, kernel, cpu=partial(cpu, stride=stride), default=partial(xla_convolution, stride=stride)
    )


def _forward(x, kernel, stride, cpu, cpu_vjp):
    return _by_platform(x, kernel, stride, cpu, cpu_vjp), (x, kernel)


def _backward(stride, cpu, cpu_vjp, residuals, dy):
    cpu_form = partial(cpu_vjp, stride=stride)
    return jax.lax.platform_dependent(
        *residuals, dy, cpu=cpu_form, default=partial(_vjp, xla_convolution, stride=stride)
    )


_by_platform.defvjp(_forward, _backward)
