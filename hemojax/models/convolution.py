"""2-D convolution: the form that is fastest on the platform it is compiled for.

On a GPU or TPU every convolution is XLA's own. On a CPU three of its convolutions are slow, and are replaced here:
the depthwise one (20 to 80 times slower than nine shifted multiply-adds), the one of an image (5 times slower than a
matrix product of its patches), and the kernel's cotangent where the input is wide and of few channels (2 times). A 1x1
convolution is a matrix product everywhere.

The platform is chosen when a program is lowered (`jax.lax.platform_dependent`). Forward and backward choose each for
themselves, inside a `custom_vjp`: differentiated as a whole, the choice would keep the residuals of both branches.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

IMAGE_CHANNELS = 4  # up to this many, patches are also the faster form of the forward pass
FEW_CHANNELS = 48  # up to this many, patches are the faster form of the kernel's cotangent


def convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s ci co"], stride: int = 1
) -> Float[Array, "b h2 w2 co"]:
    """Convolution with the padding (s - 1) / 2 of an odd kernel size s, as torchvision pads.

    Args:
        x: input (NHWC).
        kernel: weights (HWIO); `ci` is c, or 1 for a depthwise convolution of co = c channels.
        stride: of both axes.

    Raises:
        ValueError: the kernel fits neither way.
    """
    size, _, inputs, outputs = kernel.shape
    if inputs != x.shape[-1]:
        if (inputs, outputs) != (1, x.shape[-1]):
            raise ValueError(f"a kernel of shape {kernel.shape} does not fit {x.shape[-1]} channels")
        return _by_platform(x, kernel, stride, depthwise_shifted, depthwise_shifted_vjp)
    if size == 1:
        x = x[:, ::stride, ::stride]  # as matrices: on a CPU the backward pass is then faster by a fifth
        return (x.reshape(-1, inputs) @ kernel[0, 0]).reshape(*x.shape[:3], outputs)
    if size == 3 and inputs <= FEW_CHANNELS:
        form = patches_product if inputs <= IMAGE_CHANNELS else xla_convolution
        return _by_platform(x, kernel, stride, form, patches_vjp)
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
    patches = jnp.concatenate(windows(x, kernel.shape[0], stride), axis=-1)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def patches_vjp(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s c co"], dy: Float[Array, "b h2 w2 co"], stride: int
) -> tuple[Float[Array, "b h w c"], Float[Array, "s s c co"]]:
    """Cotangents of x (by XLA) and of the kernel (image by image, so that the patches of one stay in cache)."""
    _, x_pullback = jax.vjp(lambda x: xla_convolution(x, kernel, stride), x)
    rows = jnp.zeros((kernel[..., 0].size, kernel.shape[-1]), kernel.dtype)

    def add_image(total, image):
        x, dy = image
        patches = jnp.concatenate(windows(x[None], kernel.shape[0], stride), axis=-1)
        return total + jnp.tensordot(patches[0], dy, ((0, 1), (0, 1))), None

    return x_pullback(dy)[0], jax.lax.scan(add_image, rows, (x, dy))[0].reshape(kernel.shape)


def depthwise_shifted(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s 1 c"], stride: int
) -> Float[Array, "b h2 w2 c"]:
    """The depthwise convolution as a sum of shifted products, which XLA fuses into one loop."""
    taps = kernel.reshape(-1, kernel.shape[-1])
    return sum(window * tap for window, tap in zip(windows(x, kernel.shape[0], stride), taps, strict=True))


def depthwise_shifted_vjp(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s 1 c"], dy: Float[Array, "b h2 w2 c"], stride: int
) -> tuple[Float[Array, "b h w c"], Float[Array, "s s 1 c"]]:
    """Cotangents of x and of the kernel, where JAX's own of the shifted form are up to 15 times slower."""
    size, (height, width) = kernel.shape[0], x.shape[1:3]
    low = (size - 1) // 2
    padding = [
        (low, n + low - 1 - stride * (m - 1), stride - 1) for n, m in zip(x.shape[1:3], dy.shape[1:3], strict=True)
    ]
    zero = jnp.zeros((), dy.dtype)
    spread = jax.lax.pad(dy, zero, [(0, 0, 0), *padding, (0, 0, 0)])
    flipped = kernel[::-1, ::-1, 0]
    taps = [(i, j) for i in range(size) for j in range(size)]
    dx = sum((spread[:, i : i + height, j : j + width] * flipped[i, j] for i, j in taps), zero)

    # the sum over rows is written out: it then runs along whole rows, in vector registers
    rows = range(dy.shape[1])
    products = [sum(window[:, row] * dy[:, row] for row in rows) for window in windows(x, size, stride)]
    return dx, jnp.stack(products).sum((1, 2)).reshape(kernel.shape)


def windows(
    x: Float[Array, "b h w c"], size: int, stride: int, padding_value: float = 0.0
) -> list[Float[Array, "b h2 w2 c"]]:
    """The padded x as each tap of a kernel sees it, in the order of the kernel's rows and columns."""
    padding = (size - 1) // 2
    height, width = (stride * ((n - 1) // stride) + 1 for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=padding_value)
    return [x[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _by_platform(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "s s ci co"],
    stride: int,
    cpu: Callable[..., Array],
    cpu_vjp: Callable[..., tuple[Array, Array]],
) -> Float[Array, "b h2 w2 co"]:
    """The convolution, as `cpu` with the cotangents `cpu_vjp` on a CPU and as `xla_convolution` elsewhere."""
    xla = partial(xla_convolution, stride=stride)
    return jax.lax.platform_dependent(x, kernel, cpu=partial(cpu, stride=stride), default=xla)


def _forward(x, kernel, stride, cpu, cpu_vjp):
    return _by_platform(x, kernel, stride, cpu, cpu_vjp), (x, kernel)


def _backward(stride, cpu, cpu_vjp, residuals, dy):
    def xla_vjp(x, kernel, dy):
        return jax.vjp(partial(xla_convolution, stride=stride), x, kernel)[1](dy)

    return jax.lax.platform_dependent(*residuals, dy, cpu=partial(cpu_vjp, stride=stride), default=xla_vjp)


_by_platform.defvjp(_forward, _backward)
