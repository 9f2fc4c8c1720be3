"""ResNet (He et al. 2016, arXiv:1512.03385), torchvision's version 1.5: a bottleneck strides in its 3x3 convolution."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hemojax.models.layers import BatchNorm, Conv, symmetric_uniform
from hemojax.models.pooling import max_pool
from hemojax.models.staged import StagedNetwork


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck 1x1, 3x3, 1x1 that widens 4 times.

    Attributes:
        width: channels inside the block.
        stride: of the (first) 3x3 convolution.
        bottleneck: which of the two blocks.
        dtype: dtype of the computation.
        axis_name: mapped axis of batch norm.
    """

    width: int
    stride: int
    bottleneck: bool
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Runs the block."""
        conv = partial(Conv, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype, axis_name=self.axis_name)
        if self.bottleneck:
            layers = [(self.width, 1, 1), (self.width, 3, self.stride), (4 * self.width, 1, 1)]
        else:
            layers = [(self.width, 3, self.stride), (self.width, 3, 1)]
        y = x
        for i, (features, size, stride) in enumerate(layers, start=1):
            y = conv(features, size, stride, name=f"conv{i}")(y)
            y = norm(name=f"bn{i}")(y, train)
            y = jax.nn.relu(y) if i < len(layers) else y
        if x.shape != y.shape:
            x = conv(y.shape[-1], 1, self.stride, name="downsample_0")(x)
            x = norm(name="downsample_1")(x, train)
        return jax.nn.relu(x + y)


class ResNet(StagedNetwork):
    """ResNet of any depth; its stages are the stem (with its max-pool) and the groups of blocks.

    Attributes:
        depths: number of blocks of each stage.
        bottleneck: whether the blocks are bottlenecks (ResNet-50 and deeper).
    """

    depths: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False

    @property
    def stages(self) -> tuple[str, ...]:
        """The stem, then stage1 to stage4."""
        return ("stem", *(f"stage{i}" for i in range(1, len(self.depths) + 1)))

    @property
    def linear_after(self) -> str:
        """The last stage."""
        return self.stages[-1]

    @property
    def symmetric_padding(self) -> bool:
        """As torchvision's."""
        return True

    @property
    def aliases(self) -> dict[str, str]:
        """Stages by torchvision's names, layer1 to layer4."""
        return {f"layer{i}": stage for i, stage in enumerate(self.stages) if i > 0}

    def run_link(self, name: str, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Output of one stage."""
        if name == "stem":
            x = Conv(64, 7, 2, dtype=self.dtype, name="conv1")(x)
            x = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name="bn1")(x, train)
            return max_pool(jax.nn.relu(x))
        stage = self.stages.index(name)
        for i in range(self.depths[stage - 1]):
            stride = 2 if i == 0 and stage > 1 else 1
            block = partial(Block, 32 * 2**stage, stride, self.bottleneck, self.dtype, self.axis_name)
            x = block(name=f"layer{stage}_{i}")(x, train)
        return x

    def classify(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b outputs"]:
        """Mean over the positions and a linear layer, with torch's default initial values (1 / sqrt(fan in))."""
        bound = x.shape[-1] ** -0.5
        uniform = partial(symmetric_uniform, bound=bound)
        dense = nn.Dense(
            self.outputs,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=uniform,
            bias_init=uniform,
            name="fc",
        )
        return dense(x.mean((1, 2)))
