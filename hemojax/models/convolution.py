"""2-D convolution: the form that is fastest on the platform it is compiled for.

On a TPU every convolution is XLA's own, and on a GPU every one but the depthwise ones in bfloat16: as shifted
multiply-adds these become one kernel with the batch norm and the activation that follow, and what they would write and
read in between never reaches the memory. On a CPU some of XLA's convolutions are slow, and are replaced here:

- depthwise ones (20 to 80 times slower than shifted multiply-adds);
- 3x3 ones of stride 1 (1.4 to 1.9 times slower than Winograd's form, see `winograd`);
- 3x3 ones of an image (slower than a matrix product of the patches), and of what is smaller than the kernel (up to 80
  times slower);
- the cotangents of inputs (up to 10 times slower than Winograd's form or, where that does not fit, a matrix product).

These figures are XLA's with `compilation.options`: without them, its other convolutions are slow too.

A 1x1 convolution is a matrix product everywhere, but for those that stride: XLA's Triton kernels for matrix products
cannot be fed by a strided slice unless its sides are powers of two, and the compiler aborts (jaxlib 0.10 and 0.11).

The platform is chosen when a program is lowered (`jax.lax.platform_dependent`). Forward and backward choose each for
themselves, inside a `custom_vjp`: differentiated as a whole, the choice would keep the residuals of both branches.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.groups import map_in_groups
from hemojax.models import winograd

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Rows of zeros above and below, columns left and right."""

IMAGE_CHANNELS = 4  # up to this many, patches are the faster form of a 3x3 convolution
PATCH_BYTES = 6 * 2**20  # of a group's patches: enough to share among cores, and not more than a cache holds


def convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s ci co"], stride: int = 1, same: bool = False
) -> Float[Array, "b h2 w2 co"]:
    """Convolution with an odd kernel size s; h2 = ceil(h / stride).

    Args:
        x: input (NHWC).
        kernel: weights (HWIO); `ci` is c, or 1 for a depthwise convolution of co = c channels.
        stride: of both axes.
        same: pad as TensorFlow's "SAME" does, and not by (s - 1) / 2 on every side as torchvision does.

    Raises:
        ValueError: the kernel fits neither way.
    """
    size, _, inputs, outputs = kernel.shape
    half = (size - 1) // 2
    padding = same_padding(x.shape[1:3], size, stride) if same else ((half, half), (half, half))
    if inputs != x.shape[-1]:
        if (inputs, outputs) != (1, x.shape[-1]):
            raise ValueError(f"a kernel of shape {kernel.shape} does not fit {x.shape[-1]} channels")
        return _by_platform(x, kernel, stride, padding, DEPTHWISE if x.dtype.itemsize < 4 else DEPTHWISE_FLOAT32)
    if size == 1 and stride == 1:
        return pointwise(x, kernel, stride, padding)
    if size == 1:
        return _by_platform(x, kernel, stride, padding, POINTWISE)
    return _by_platform(x, kernel, stride, padding, DENSE)


def same_padding(shape: tuple[int, ...], size: int, stride: int) -> Padding:
    """TensorFlow's "SAME": as little as gives ceil(n / stride) outputs, the odd one of it below and right.

    It depends on the input's height and width: with stride 2, a 3x3 kernel sees an even axis from its first element on,
    where torchvision's padding begins one before it.
    """
    height, width = (max(stride * ((n - 1) // stride) + size - n, 0) for n in shape)
    return (height // 2, height - height // 2), (width // 2, width - width // 2)


def xla_convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s ci co"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 co"]:
    """The convolution as XLA's own operation."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def xla_vjp(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "s s ci co"],
    dy: Float[Array, "b h2 w2 co"],
    stride: int,
    padding: Padding,
) -> tuple[Float[Array, "b h w c"], Float[Array, "s s ci co"]]:
    """Cotangents of x and of the kernel, of XLA's own operation."""
    return jax.vjp(partial(xla_convolution, stride=stride, padding=padding), x, kernel)[1](dy)


def pointwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "1 1 c co"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 co"]:
    """A 1x1 convolution, which needs no padding, as a product of matrices: the backward pass gains a fifth on a CPU."""
    x = x[:, ::stride, ::stride]
    product = _stored(x.reshape(-1, x.shape[-1])) @ kernel[0, 0]
    return _stored(product).reshape(*x.shape[:3], kernel.shape[-1])


def _stored(rows: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """A matrix, and its cotangent, which a GPU stores before it goes on.

    cuDNN leaves some images with the channels first. XLA moves their transposition into its kernel for the product of
    matrices, whose tiles then have to follow (b, h, w), and finds none unless h and w are powers of two. Stored as
    images they may still lie with the channels first; stored as a matrix of pixels they cannot. An EfficientNetV2-S
    moves 0.2 % more bytes for it (224 pixels, 256 images).
    """
    return jax.lax.platform_dependent(rows, cuda=jax.lax.optimization_barrier, default=lambda rows: rows)


def pointwise_vjp(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "1 1 c co"],
    dy: Float[Array, "b h2 w2 co"],
    stride: int,
    padding: Padding,
) -> tuple[Float[Array, "b h w c"], Float[Array, "1 1 c co"]]:
    """Cotangents of x and of the kernel."""
    return jax.vjp(partial(pointwise, stride=stride, padding=padding), x, kernel)[1](dy)


def dense(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s c co"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 co"]:
    """A convolution across all channels, in the form that is fastest for its shape."""
    if winograd.pays(x, kernel, stride):
        return winograd.convolve(x, kernel)
    smaller_than_kernel = min(x.shape[1:3]) < kernel.shape[0]  # XLA's is up to 80 times slower there
    if smaller_than_kernel or (kernel.shape[0] == 3 and x.shape[-1] <= IMAGE_CHANNELS):
        return patches_product(x, kernel, stride, padding)
    return xla_convolution(x, kernel, stride, padding)


def dense_vjp(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "s s c co"],
    dy: Float[Array, "b h2 w2 co"],
    stride: int,
    padding: Padding,
) -> tuple[Float[Array, "b h w c"], Float[Array, "s s c co"]]:
    """Cotangents of x and, by XLA, of the kernel."""
    _, pullback = jax.vjp(lambda kernel: xla_convolution(x, kernel, stride, padding), kernel)
    if winograd.fits(x, kernel, stride):  # XLA's is up to 10 times slower
        dx = winograd.convolve(dy, kernel[::-1, ::-1].swapaxes(2, 3))  # dy convolved with the kernel turned around
    else:
        dx = product_input_cotangent(kernel, dy, x.shape[1:3], stride, padding)
    return dx, pullback(dy)[0]


def patches_product(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s c co"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 co"]:
    """The convolution as a matrix product of the patches of x."""
    size, _, inputs, outputs = kernel.shape
    height, width = (-(-n // stride) for n in x.shape[1:3])
    taps = kernel.reshape(-1, outputs)

    def product(x: Float[Array, "g h w c"]) -> Float[Array, "g h2 w2 co"]:
        return jnp.concatenate(windows(x, size, stride, padding), axis=-1) @ taps

    image_bytes = height * width * size**2 * inputs * x.dtype.itemsize
    return map_in_groups(product, PATCH_BYTES // image_bytes, x)


def product_input_cotangent(
    kernel: Float[Array, "s s c co"],
    dy: Float[Array, "b h2 w2 co"],
    shape: tuple[int, ...],
    stride: int,
    padding: Padding,
) -> Float[Array, "b h w c"]:
    """Cotangent of x of height and width `shape`: that of its patches, one matrix product, added up where they overlap.

    The rows that taps i, i + stride, ... touch are the rows i of every `stride`; so are the columns. Each of these
    phases is a sum of shifted parts of the product, and all of them interleaved are the cotangent of the padded x.
    """
    size, _, inputs, outputs = kernel.shape
    (top, _), (left, _) = padding
    taps = kernel.reshape(-1, outputs).T
    more = (size - 1) // stride  # rows and columns of a phase beyond those of dy

    def of_group(dy: Float[Array, "g h2 w2 co"]) -> Float[Array, "g h w c"]:
        patches = (dy @ taps).reshape(*dy.shape[:3], size, size, inputs)

        def phase(row: int, column: int) -> Float[Array, "g h3 w3 c"]:
            places = [(i, j) for i in range(row, size, stride) for j in range(column, size, stride)]
            margins = [[(0, 0), *((n // stride, more - n // stride) for n in place), (0, 0)] for place in places]
            zeros = jnp.zeros((len(dy), *(n + more for n in dy.shape[1:3]), inputs), dy.dtype)  # without any tap
            return sum((jnp.pad(patches[..., i, j, :], m) for (i, j), m in zip(places, margins, strict=True)), zeros)

        rows = [jnp.stack([phase(row, column) for column in range(stride)], axis=3) for row in range(stride)]
        padded = jnp.stack(rows, axis=2).reshape(len(dy), *(stride * (n + more) for n in dy.shape[1:3]), inputs)
        missing = (max(0, low + n - m) for low, n, m in zip((top, left), shape, padded.shape[1:3], strict=True))
        padded = jnp.pad(padded, ((0, 0), *((0, n) for n in missing), (0, 0)))  # no patch reaches these
        return padded[:, top : top + shape[0], left : left + shape[1]]

    image_bytes = dy.shape[1] * dy.shape[2] * size**2 * inputs * dy.dtype.itemsize
    return map_in_groups(of_group, PATCH_BYTES // image_bytes, dy)


def depthwise_shifted(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s 1 c"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 c"]:
    """The depthwise convolution as a sum of shifted products, which XLA fuses into one loop."""
    taps = kernel.reshape(-1, kernel.shape[-1])
    return sum(window * tap for window, tap in zip(windows(x, kernel.shape[0], stride, padding), taps, strict=True))


def depthwise_shifted_vjp(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "s s 1 c"],
    dy: Float[Array, "b h2 w2 c"],
    stride: int,
    padding: Padding,
) -> tuple[Float[Array, "b h w c"], Float[Array, "s s 1 c"]]:
    """Cotangents of x and of the kernel, where JAX's own of the shifted form are up to 15 times slower."""
    # the sum over rows is written out: it then runs along whole rows, in vector registers
    rows = range(dy.shape[1])
    taps = windows(x, kernel.shape[0], stride, padding)
    products = [sum(window[:, row] * dy[:, row] for row in rows) for window in taps]
    dx = depthwise_input_cotangent(kernel, dy, x.shape[1:3], stride, padding)
    return dx, jnp.stack(products).sum((1, 2)).reshape(kernel.shape)


def depthwise_summed_vjp(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "s s 1 c"],
    dy: Float[Array, "b h2 w2 c"],
    stride: int,
    padding: Padding,
) -> tuple[Float[Array, "b h w c"], Float[Array, "s s 1 c"]]:
    """The same for a GPU, where one sum over all taps is one kernel that reads x and dy once."""
    taps = jnp.stack(windows(x, kernel.shape[0], stride, padding)).astype(jnp.float32)
    dk = (taps * dy.astype(jnp.float32)).sum((1, 2, 3))
    dx = depthwise_input_cotangent(kernel, dy, x.shape[1:3], stride, padding)
    return dx, dk.reshape(kernel.shape).astype(kernel.dtype)


def depthwise_input_cotangent(
    kernel: Float[Array, "s s 1 c"],
    dy: Float[Array, "b h2 w2 c"],
    shape: tuple[int, ...],
    stride: int,
    padding: Padding,
) -> Float[Array, "b h w c"]:
    """Cotangent of x of height and width `shape`: dy, spread by the stride, under the kernel turned around."""
    size, (height, width) = kernel.shape[0], shape
    around = [
        (size - 1 - low, n + low - 1 - stride * (m - 1), stride - 1)
        for n, m, (low, _) in zip(shape, dy.shape[1:3], padding, strict=True)
    ]
    zero = jnp.zeros((), dy.dtype)
    spread = jax.lax.pad(dy, zero, [(0, 0, 0), *around, (0, 0, 0)])
    flipped = kernel[::-1, ::-1, 0]
    taps = [(i, j) for i in range(size) for j in range(size)]
    return sum((spread[:, i : i + height, j : j + width] * flipped[i, j] for i, j in taps), zero)


def windows(
    x: Float[Array, "b h w c"], size: int, stride: int, padding: Padding, padding_value: float = 0.0
) -> list[Float[Array, "b h2 w2 c"]]:
    """The padded x as each tap of a kernel sees it, in the order of the kernel's rows and columns."""
    height, width = (stride * ((n - 1) // stride) + 1 for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=padding_value)
    return [x[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)]


class Form(NamedTuple):
    """A convolution of x and a kernel, with stride and padding, and both cotangents, given that of the output."""

    forward: Callable[..., Array]
    vjp: Callable[..., tuple[Array, Array]]


class Forms(NamedTuple):
    """The forms that are fastest on a CPU and on an NVIDIA GPU; elsewhere it is XLA's own operation."""

    cpu: Form
    cuda: Form


XLA = Form(xla_convolution, xla_vjp)
SHIFTED = Form(depthwise_shifted, depthwise_shifted_vjp)
DEPTHWISE = Forms(SHIFTED, Form(depthwise_shifted, depthwise_summed_vjp))
DEPTHWISE_FLOAT32 = Forms(SHIFTED, XLA)
POINTWISE = Forms(Form(pointwise, pointwise_vjp), XLA)
DENSE = Forms(Form(dense, dense_vjp), XLA)


@cache
def _traced_once(function: Callable[..., Any], stride: int, padding: Padding) -> Callable[..., Any]:
    """The function, which JAX traces once for operands of the same shapes, however many layers and programs have them.

    Every convolution is traced in the forms of all platforms; a ResNet-18's second program is traced 2.4 times faster.
    """
    return jax.jit(partial(function, stride=stride, padding=padding), inline=True)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _by_platform(
    x: Float[Array, "b h w c"], kernel: Float[Array, "s s ci co"], stride: int, padding: Padding, forms: Forms
) -> Float[Array, "b h2 w2 co"]:
    """The convolution, in the form of the platform that it is lowered for."""
    cpu, cuda, xla = (_traced_once(form.forward, stride, padding) for form in (*forms, XLA))
    return jax.lax.platform_dependent(x, kernel, cpu=cpu, cuda=cuda, default=xla)


def _forward(x, kernel, stride, padding, forms):
    return _by_platform(x, kernel, stride, padding, forms), (x, kernel)


def _backward(stride, padding, forms, residuals, dy):
    cpu, cuda, xla = (_traced_once(form.vjp, stride, padding) for form in (*forms, XLA))
    return jax.lax.platform_dependent(*residuals, dy, cpu=cpu, cuda=cuda, default=xla)


_by_platform.defvjp(_forward, _backward)
