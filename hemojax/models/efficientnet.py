"""EfficientNets: EfficientNetV2 (Tan and Le 2021, arXiv:2104.00298) with torchvision's arithmetic and names.

Other libraries' EfficientNets differ in their tables, in how they pad, in the activation and in whether they have
squeeze-excitation: see `efficientnet_tf`.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hemojax.models.layers import BatchNorm, Conv, StochasticDepth, symmetric_uniform
from hemojax.models.staged import StagedNetwork


class StageSpec(NamedTuple):
    """One row of an architecture's table: a run of equal blocks, the first of which may stride.

    `size` is that of the kernels that are not 1x1.
    """

    fused: bool
    expansion: int
    stride: int
    features: int
    depth: int
    size: int = 3


# Table 4 of the paper and those of its code, as torchvision has them
SMALL = (
    StageSpec(True, 1, 1, 24, 2),
    StageSpec(True, 4, 2, 48, 4),
    StageSpec(True, 4, 2, 64, 4),
    StageSpec(False, 4, 2, 128, 6),
    StageSpec(False, 6, 1, 160, 9),
    StageSpec(False, 6, 2, 256, 15),
)
MEDIUM = (
    StageSpec(True, 1, 1, 24, 3),
    StageSpec(True, 4, 2, 48, 5),
    StageSpec(True, 4, 2, 80, 5),
    StageSpec(False, 4, 2, 160, 7),
    StageSpec(False, 6, 1, 176, 14),
    StageSpec(False, 6, 2, 304, 18),
    StageSpec(False, 6, 1, 512, 5),
)
LARGE = (
    StageSpec(True, 1, 1, 32, 4),
    StageSpec(True, 4, 2, 64, 7),
    StageSpec(True, 4, 2, 96, 7),
    StageSpec(False, 4, 2, 192, 10),
    StageSpec(False, 6, 1, 224, 19),
    StageSpec(False, 6, 2, 384, 25),
    StageSpec(False, 6, 1, 640, 7),
)


class ConvNorm(nn.Module):
    """Convolution, batch norm (epsilon 1e-3) and, unless `linear`, the activation."""

    features: int
    size: int
    stride: int = 1
    groups: int = 1
    linear: bool = False
    same: bool = False
    activation: Callable[[Array], Array] = jax.nn.silu
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Runs the layers."""
        conv = Conv(self.features, self.size, self.stride, self.groups, same=self.same, dtype=self.dtype, name="0")
        x = BatchNorm(1e-3, self.dtype, self.axis_name, name="1")(conv(x), train)
        return x if self.linear else self.activation(x)


def expansion(
    spec: StageSpec, inputs: int, stride: int, layer: Callable[..., ConvNorm], name: str = "block_0"
) -> ConvNorm:
    """The first layer of a block that expands, which is also that block's inner tap.

    Args:
        spec: the stage's row of the table.
        inputs: channels of the block's input.
        stride: the block's own; an MBConv leaves it to its depthwise convolution.
        layer: see `Block`.
        name: the layer's own.
    """
    size, stride = (spec.size, stride) if spec.fused else (1, 1)
    return layer(inputs * spec.expansion, size, stride, name=name)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed, in the dtype of x, from the means of all channels."""

    squeezed: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Applies the gates."""
        conv = partial(Conv, size=1, use_bias=True, dtype=x.dtype)
        gate = jax.nn.silu(conv(self.squeezed, name="fc1")(x.mean((1, 2), keepdims=True)))
        return x * jax.nn.sigmoid(conv(x.shape[-1], name="fc2")(gate))


class Block(nn.Module):
    """MBConv, or FusedMBConv where `spec.fused`: expansion and depthwise convolution are then one dense convolution.

    Where there is nothing to expand, a fused block has no projection and an MBConv no expansion.

    Attributes:
        spec: the stage's row of the table.
        stride: the block's own.
        squeeze: whether an MBConv has squeeze-excitation.
        drop_rate: of its stochastic depth.
        layer: makes a `ConvNorm` of the network's arithmetic.
        expanded: the block's input went through its `expansion` already. Such a block has no residual connection.
    """

    spec: StageSpec
    stride: int
    squeeze: bool
    drop_rate: float
    layer: Callable[..., ConvNorm]
    expanded: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Runs the block."""
        layer, spec = self.layer, self.spec
        inputs = x.shape[-1] // spec.expansion if self.expanded else x.shape[-1]
        wide = inputs * spec.expansion
        y = x
        if spec.expansion > 1 and not self.expanded:
            y = expansion(spec, inputs, self.stride, layer)(y, train)
        if spec.fused and spec.expansion == 1:
            y = layer(spec.features, spec.size, self.stride, name="block_0")(y, train)
        elif spec.fused:
            y = layer(spec.features, 1, linear=True, name="block_1")(y, train)
        else:
            y = layer(wide, spec.size, self.stride, groups=wide, name="block_1")(y, train)
            if self.squeeze:
                y = SqueezeExcitation(max(1, inputs // 4), name="block_2")(y)
            y = layer(spec.features, 1, linear=True, name="block_3")(y, train)
        if self.stride != 1 or inputs != spec.features:
            return y
        return x + StochasticDepth(self.drop_rate, name="stochastic_depth")(y, train)


class EfficientNet(StagedNetwork):
    """An EfficientNet: stem, the table's stages and head, torchvision's `features[0]`, `features[1]` and so on.

    Attributes:
        table: the stages between stem and head.
        stem: channels of the stem.
        head: channels of the head.
        dropout: rate before the classifier.
        stochastic_depth: rate that the blocks approach, linearly from 0 at the first one.
        same: convolutions pad as TensorFlow's do.
        squeeze: blocks that are not fused have squeeze-excitation.
        activation: after every batch norm but a block's last.
    """

    table: tuple[StageSpec, ...] = SMALL
    stem: int = 24
    head: int = 1280
    dropout: float = 0.2
    stochastic_depth: float = 0.2
    same: bool = False
    squeeze: bool = True
    activation: Callable[[Array], Array] = jax.nn.silu

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, first to last."""
        return ("stem", *(f"stage{i}" for i in range(1, len(self.table) + 1)), "head")

    @property
    def taps(self) -> tuple[str, ...]:
        """The expansion by which the next stage begins: the activation behind a stage's output, which is linear.

        There is none where that block does not expand, or where its residual connection goes around the expansion.
        """
        return tuple(
            f"stage{i}/expand"
            for i, (before, spec) in enumerate(pairwise(self.table), 1)
            if spec.expansion > 1 and (spec.stride, spec.features) != (1, before.features)
        )

    @property
    def pointwise_after(self) -> tuple[str, ...]:
        """Where an MBConv's expansion or the head follows, up to its activation."""
        expansions = (f"stage{i}" for i, spec in enumerate(self.table[1:], 1) if not spec.fused)
        return (*(stage for stage in expansions if f"{stage}/expand" in self.taps), self.stages[-2])

    @property
    def symmetric_padding(self) -> bool:
        """As torchvision's; TensorFlow pads on the right and below alone where the stride divides the size."""
        return not self.same

    @property
    def linear_after(self) -> str:
        """The last stage."""
        return self.stages[-1]

    @property
    def aliases(self) -> dict[str, str]:
        """Stages by the modules that end them: torchvision's `features[0]` to the head, timm's `blocks[0]` on."""
        torchvision = {f"features[{i}]": stage for i, stage in enumerate(self.stages)}
        return torchvision | {f"blocks[{i}]": stage for i, stage in enumerate(self.stages[1:-1])}

    def run_link(self, name: str, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 c2"]:
        """Output of one stage or inner tap, or of the affine beginning of the next one."""
        layer = partial(
            ConvNorm, same=self.same, activation=self.activation, dtype=self.dtype, axis_name=self.axis_name
        )
        place, _, inner = name.partition("/")
        stage = self.stages.index(place)
        if name == "stem":
            return layer(self.stem, 3, 2, name="features_0")(x, train)
        if name == "head" or (inner == "expand" and place in self.pointwise_after):
            return self.activation(x)
        if inner:  # the beginning of the next stage
            stage, layer = stage + 1, partial(layer, linear=inner == "affine")
            if stage > len(self.table):
                return layer(self.head, 1, name=f"features_{stage}")(x, train)
            spec = self.table[stage - 1]
            return expansion(spec, x.shape[-1], spec.stride, layer, f"features_{stage}_0_block_0")(x, train)
        spec = self.table[stage - 1]
        before, blocks = sum(s.depth for s in self.table[: stage - 1]), sum(s.depth for s in self.table)
        for i in range(spec.depth):
            stride = spec.stride if i == 0 else 1
            rate = self.stochastic_depth * (before + i) / blocks
            expanded = i == 0 and f"stage{stage - 1}/expand" in self.taps
            x = Block(spec, stride, self.squeeze, rate, layer, expanded, name=f"features_{stage}_{i}")(x, train)
        return x

    def classify(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b outputs"]:
        """Mean over the positions, dropout and a linear layer, with torch's default initial values (1 / sqrt(fan in)).

        Not torchvision's, 1 / sqrt(outputs): close to these for 1,000 outputs, but for one the first logits are in the
        tens, and training takes long to come back from there.
        """
        x = nn.Dropout(self.dropout, deterministic=not train)(x.mean((1, 2)))
        uniform = partial(symmetric_uniform, bound=x.shape[-1] ** -0.5)
        dense = partial(nn.Dense, dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=uniform)
        return dense(self.outputs, name="classifier_1")(x)
