"""EfficientNetV2-S (Tan and Le 2021, arXiv:2104.00298) with torchvision's arithmetic and names."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hemojax.models.layers import BatchNorm, Conv, StochasticDepth, symmetric_uniform
from hemojax.models.staged import StagedNetwork


class StageSpec(NamedTuple):
    """One row of the architecture's table: a run of equal blocks, the first of which may stride."""

    fused: bool
    expansion: int
    stride: int
    features: int
    depth: int


HEAD_FEATURES = 1280
# Table 4 of the paper, as torchvision has it
SMALL = (
    StageSpec(True, 1, 1, 24, 2),
    StageSpec(True, 4, 2, 48, 4),
    StageSpec(True, 4, 2, 64, 4),
    StageSpec(False, 4, 2, 128, 6),
    StageSpec(False, 6, 1, 160, 9),
    StageSpec(False, 6, 2, 256, 15),
)


class ConvNorm(nn.Module):
    """Convolution, batch norm (epsilon 1e-3) and, unless `linear`, SiLU; torchvision's Conv2dNormActivation."""

    features: int
    size: int
    stride: int = 1
    groups: int = 1
    linear: bool = False
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Runs the layers."""
        x = Conv(self.features, self.size, self.stride, self.groups, dtype=self.dtype, name="0")(x)
        x = BatchNorm(1e-3, self.dtype, self.axis_name, name="1")(x, train)
        return x if self.linear else jax.nn.silu(x)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from the means of all channels."""

    squeezed: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the gates."""
        gate = x.mean((1, 2), keepdims=True)
        gate = jax.nn.silu(Conv(self.squeezed, 1, use_bias=True, dtype=self.dtype, name="fc1")(gate))
        gate = Conv(x.shape[-1], 1, use_bias=True, dtype=self.dtype, name="fc2")(gate)
        return x * jax.nn.sigmoid(gate)


class Block(nn.Module):
    """MBConv, or FusedMBConv where `fused`: the 1x1 expansion and the depthwise 3x3 are then one dense 3x3."""

    fused: bool
    expansion: int
    stride: int
    features: int
    drop_rate: float
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Runs the block."""
        layer = partial(ConvNorm, dtype=self.dtype, axis_name=self.axis_name)
        inputs = x.shape[-1]
        wide = inputs * self.expansion
        if self.fused and self.expansion == 1:
            y = layer(self.features, 3, self.stride, name="block_0")(x, train)
        elif self.fused:
            y = layer(wide, 3, self.stride, name="block_0")(x, train)
            y = layer(self.features, 1, linear=True, name="block_1")(y, train)
        else:
            y = layer(wide, 1, name="block_0")(x, train)
            y = layer(wide, 3, self.stride, groups=wide, name="block_1")(y, train)
            y = SqueezeExcitation(max(1, inputs // 4), self.dtype, name="block_2")(y)
            y = layer(self.features, 1, linear=True, name="block_3")(y, train)
        if self.stride != 1 or inputs != self.features:
            return y
        return x + StochasticDepth(self.drop_rate, name="stochastic_depth")(y, train)


class EfficientNetV2(StagedNetwork):
    """EfficientNetV2: stem, stage1 to stage6 and head, which are torchvision's `features[0]` to `features[7]`.

    Attributes:
        table: the stages between stem and head; the stem is as wide as the first.
        dropout: rate before the classifier.
        stochastic_depth: rate that the blocks approach, linearly from 0 at the first one.
    """

    table: tuple[StageSpec, ...] = SMALL
    dropout: float = 0.2
    stochastic_depth: float = 0.2

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, first to last."""
        return ("stem", *(f"stage{i}" for i in range(1, len(self.table) + 1)), "head")

    @property
    def aliases(self) -> dict[str, str]:
        """Stages by the modules that end them: torchvision's `features[0]` to the head, timm's `blocks[0]` on."""
        torchvision = {f"features[{i}]": stage for i, stage in enumerate(self.stages)}
        return torchvision | {f"blocks[{i}]": stage for i, stage in enumerate(self.stages[1:-1])}

    def run_stage(self, name: str, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Output of one stage."""
        layer = partial(ConvNorm, dtype=self.dtype, axis_name=self.axis_name)
        stage = self.stages.index(name)
        if name == "stem":
            return layer(self.table[0].features, 3, 2, name="features_0")(x, train)
        if name == "head":
            return layer(HEAD_FEATURES, 1, name=f"features_{stage}")(x, train)
        spec = self.table[stage - 1]
        blocks_before, blocks = sum(s.depth for s in self.table[: stage - 1]), sum(s.depth for s in self.table)
        for i in range(spec.depth):
            rate = self.stochastic_depth * (blocks_before + i) / blocks
            stride = spec.stride if i == 0 else 1
            block = Block(
                spec.fused,
                spec.expansion,
                stride,
                spec.features,
                rate,
                self.dtype,
                self.axis_name,
                name=f"features_{stage}_{i}",
            )
            x = block(x, train)
        return x

    def classify(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b outputs"]:
        """Mean over the positions, dropout and a linear layer."""
        x = nn.Dropout(self.dropout, deterministic=not train)(x.mean((1, 2)))
        uniform = partial(symmetric_uniform, bound=self.outputs**-0.5)
        dense = partial(nn.Dense, dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=uniform)
        return dense(self.outputs, name="classifier_1")(x)
