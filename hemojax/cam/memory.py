"""How many images, and how many changed copies of them, the engine takes at once where nobody says."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from hemojax.cam.fullgrad import CONVOLUTIONS, NORMS
from hemojax.network import Network

SHARE = 0.5  # of a device's memory that a program may take; slices and weights are there too
COPIES_OF_A_LAYER = 4  # of the largest that a forward pass holds at a time: input and output, before and after its norm
MOST_IMAGES, MOST_COPIES = 256, 1024  # beyond these a device is busy anyway


class AtOnce(NamedTuple):
    """What the engine takes at once.

    Attributes:
        batch: images of each device.
        chunk: ablated or masked inputs of each device (see `engine.build`).
    """

    batch: int
    chunk: int


ON_A_CPU = AtOnce(16, 64)
"""There the engine divides them further by itself, see `groups`."""


def at_once(network: Network, shape: tuple[int, int, int], memory: int) -> AtOnce:
    """Powers of two for which a program of the engine takes SHARE of a device's memory at most.

    A backward pass keeps what every layer gives, and its cotangent; a forward pass, of changed images, but a few at a
    time. Not counted is what a method holds beside the network: KPCA-CAM a square matrix of a stage's positions.

    Args:
        network: the classifier.
        shape: height, width and channels of an image.
        memory: bytes of each device; 0 for a CPU (see `devices.memory`).
    """
    if not memory:
        return ON_A_CPU
    outputs, room = layer_bytes(network, shape), SHARE * memory
    return AtOnce(
        _power_of_two(room / (2 * sum(outputs)), MOST_IMAGES),
        _power_of_two(room / (COPIES_OF_A_LAYER * max(outputs)), MOST_COPIES),
    )


def layer_bytes(network: Network, shape: tuple[int, int, int]) -> list[int]:
    """Bytes that each convolution and batch norm gives for one image."""
    found: list[int] = []

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = call(*args, **kwargs)
        if isinstance(context.module, (*CONVOLUTIONS, *NORMS)) and context.method_name == "__call__":
            found.append(output.size * output.dtype.itemsize)
        return output

    with nn.intercept_methods(note):
        jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    return found


def _power_of_two(number: float, most: int) -> int:
    """The largest that is neither above the number nor above the most; 1 at least."""
    return min(2 ** math.floor(math.log2(max(number, 1))), most)
