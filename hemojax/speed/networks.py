"""What is timed of networks and their layers, as hemojax runs it; `networks_torch` runs the same with PyTorch."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32
from ml_collections import ConfigDict

from hemojax import devices, models
from hemojax.cam import inputs, targets
from hemojax.compilation import Program
from hemojax.data import loader
from hemojax.groups import map_groups
from hemojax.models.convolution import convolution, depthwise_shifted, pointwise, xla_convolution
from hemojax.models.layers import Conv
from hemojax.speed.timer import Parts
from hemojax.training import predict, state, step

WORKLOADS = ("forward", "gradients", "training")
"""Logits of a batch; logits, and activation and gradient of every stage; one step of training with Adam."""


class Layer(NamedTuple):
    """A convolution, as far as its cost goes.

    Attributes:
        height, width: of its input, in pixels.
        inputs, outputs: channels.
        size: of its kernel.
        stride: of both axes.
        groups: 1, or the number of channels.
    """

    height: int
    width: int
    inputs: int
    outputs: int
    size: int
    stride: int
    groups: int

    @property
    def name(self) -> str:
        """For tables, e.g. 3x3 64->128 /2 @48."""
        kind = "depthwise " if self.groups > 1 else ""
        stride = f" /{self.stride}" if self.stride > 1 else ""
        return f"{kind}{self.size}x{self.size} {self.inputs}->{self.outputs}{stride} @{self.height}"

    @property
    def flop(self) -> int:
        """Multiplications and additions for one image."""
        return 2 * self.pixels * self.size**2 * self.inputs // self.groups * self.outputs

    @property
    def pixels(self) -> int:
        """Of its output."""
        return -(-self.height // self.stride) * -(-self.width // self.stride)

    def bytes(self, batch: int, dtype: str) -> int:
        """Of its input, output and kernel for so many images, which have to be read or written at least."""
        of_image = self.height * self.width * self.inputs + self.pixels * self.outputs
        kernel = self.size**2 * self.inputs // self.groups * self.outputs
        return (batch * of_image + kernel) * jnp.dtype(dtype).itemsize


def images(batch: int, size: int) -> Float32[np.ndarray, "b s s 3"]:
    """Random images, the same ones for every contender."""
    return np.random.default_rng(0).standard_normal((batch, size, size, 3), np.float32)


def labels(batch: int) -> Float32[np.ndarray, "b 1"]:
    """Every other one is positive."""
    return (np.arange(batch) % 2).astype(np.float32)[:, None]


def layers(network: str, size: int, after: str | None = None) -> dict[Layer, int]:
    """The convolutions of a network on feature maps, and how often each occurs.

    Args:
        network: a key of `models.MODELS`.
        size: side of the image, in pixels.
        after: count what follows this stage alone.
    """
    found: Counter[Layer] = Counter()

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if isinstance(module, Conv) and args[0].shape[1] > 1:
            _, height, width, channels = args[0].shape
            found[Layer(height, width, channels, module.features, module.size, module.stride, module.groups)] += 1
        return call(*args, **kwargs)

    net, x = models.create(network, 1), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    if after is not None:
        x, _ = jax.eval_shape(partial(net.init_with_output, until=after), jax.random.key(0), x)
    with nn.intercept_methods(note):
        jax.eval_shape(partial(net.init, after=after), jax.random.key(0), x)
    return dict(found)


@lru_cache
def flop(network: str, size: int, after: str | None = None) -> int:
    """Multiplications and additions of one image in these layers."""
    return sum(layer.flop * times for layer, times in layers(network, size, after).items())


def layer_forwards(layers: Sequence[Layer], batch: int, dtype: str, repeats: int) -> Parts:
    """Each of these convolutions, compiled, on random input, several times in a row."""

    def part(layer: Layer) -> Callable[[], object]:
        run = Program(lambda x, k: convolution(x, k, layer.stride))
        return repeated(run, operands_of(layer, batch, dtype), repeats)

    return [part(layer) for layer in layers]


FORMS: dict[str, Callable[..., Array]] = {
    "XLA's own": xla_convolution,
    "shifted products": depthwise_shifted,
    "product of matrices": pointwise,
}
"""Of a convolution, by their names in the table; the second of depthwise ones alone, the third of 1x1 ones."""


def forms(layer: Layer) -> tuple[str, ...]:
    """The forms that a layer may take, beside the one that hemojax chooses; none where there is nothing to choose."""
    if layer.groups > 1:
        return ("XLA's own", "shifted products")
    return ("XLA's own", "product of matrices") if layer.size == 1 else ()


def form_forwards(layers: Sequence[Layer], batch: int, dtype: str, repeats: int, form: str) -> Parts:
    """Each of these convolutions in one form ("" for the chosen one), with the batch norm and activation behind it."""

    def part(layer: Layer) -> Callable[[], object]:
        x, kernel = operands_of(layer, batch, dtype)
        half = (layer.size - 1) // 2
        convolve = partial(FORMS[form], padding=((half, half), (half, half))) if form else convolution

        def run(x: Array, kernel: Array, factor: Array) -> Array:
            y = convolve(x, kernel, stride=layer.stride)
            return jax.nn.silu((y * factor + factor).astype(x.dtype))

        return repeated(Program(run), (x, kernel, jnp.ones(layer.outputs)), repeats)

    return [part(layer) for layer in layers]


def operands_of(layer: Layer, batch: int, dtype: str) -> list[Array]:
    """Random input and kernel, on the device."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, layer.height, layer.width, layer.inputs), np.float32)
    shape = (layer.size, layer.size, layer.inputs // layer.groups, layer.outputs)
    return jax.device_put([jnp.asarray(a, dtype) for a in (x, rng.standard_normal(shape, np.float32))])


def repeated(run: Callable[..., object], operands: Sequence[Array], repeats: int) -> Callable[[], object]:
    """Calls the program so often before it waits: on a GPU a layer takes less time than its call on the host."""
    return lambda: jax.block_until_ready([run(*operands) for _ in range(repeats)][-1])


def matmul(size: int, dtype: str) -> Parts:
    """A square matrix product, whose rate stands for the machine's peak."""
    a = jax.device_put(jnp.asarray(np.random.default_rng(0).standard_normal((size, size), np.float32), dtype))
    run = jax.jit(jnp.matmul)
    return [lambda: jax.block_until_ready(run(a, a))]


def copy(size: int) -> Parts:
    """Reading and writing `size` bytes each, whose rate stands for the memory's."""
    a = jnp.zeros(size // 4, jnp.float32)
    run = jax.jit(lambda a: a + 1)
    return [lambda: jax.block_until_ready(run(a))]


def network(name: str, workload: str, batch: int, size: int, dtype: str) -> Parts:
    """The compiled workload on random images.

    Args:
        name: a key of `models.MODELS`.
        workload: one of WORKLOADS.
        batch: images at once.
        size: their side, in pixels.
        dtype: of the computation.
    """
    x, net = images(batch, size), models.create(name, 1, dtype=jnp.dtype(dtype))
    variables = state.initialise(net, size, 3, jax.random.key(0))
    if workload == "training":
        return [_training(name, variables, x, dtype)]
    target = targets.Target(jnp.zeros(batch, jnp.int32), jnp.ones(batch))

    @Program
    def gradients(v: state.Variables, x: Array) -> Any:
        of_group = partial(inputs.tapped, net, v, stages=net.stages, differentiated=net.stages)
        return map_groups(of_group, devices.platform(), x, target)

    run = predict.build(net) if workload == "forward" else gradients
    on_device = devices.replicate(variables), jax.device_put(x)
    return [lambda: jax.block_until_ready(run(*on_device))]


def _training(
    name: str, variables: state.Variables, x: Float32[np.ndarray, "b s s 3"], dtype: str
) -> Callable[[], object]:
    net = models.create(name, 1, dtype=jnp.dtype(dtype), axis_name=devices.AXIS)
    optimiser = state.optimizer(ConfigDict({"optimizer": "adam", "learning_rate": 1e-3}), 1)
    run = step.build(
        net,
        optimiser,
        positive_weight=jnp.ones(1),
        key=jax.random.key(0),
        inputs=lambda levels, record, number: levels,  # `x` is what the network sees
    )
    share = (jax.local_device_count(), -1)
    parts = (x, labels(len(x)), np.arange(len(x), dtype=np.int32))
    batch = loader.Batch(*(jnp.asarray(part.reshape(*share, *part.shape[1:])) for part in parts))
    reached = [devices.replicate(state.create(variables, optimiser))]

    def once() -> object:
        reached[0], metrics = run(reached[0], batch)
        return float(metrics["loss"])

    return once
