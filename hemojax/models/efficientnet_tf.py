"""EfficientNets that pad as TensorFlow does: timm's `tf_` networks and EfficientNet-Lite0.

Arithmetic and variables are those of `efficientnet`; their state dicts have other names.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hemojax.models.efficientnet import EfficientNet, StageSpec

# EfficientNetV2-B3: the table of the paper's base network, 1.2 times as wide (in multiples of 8), 1.4 times as deep
BASE_3 = (
    StageSpec(True, 1, 1, 16, 2),
    StageSpec(True, 4, 2, 40, 3),
    StageSpec(True, 4, 2, 56, 3),
    StageSpec(False, 4, 2, 112, 5),
    StageSpec(False, 6, 1, 136, 7),
    StageSpec(False, 6, 2, 232, 12),
)
# EfficientNet-B0: table 1 of Tan and Le 2019 (arXiv:1905.11946)
LITE_0 = (
    StageSpec(False, 1, 1, 16, 1),
    StageSpec(False, 6, 2, 24, 2),
    StageSpec(False, 6, 2, 40, 2, size=5),
    StageSpec(False, 6, 2, 80, 3),
    StageSpec(False, 6, 1, 112, 3, size=5),
    StageSpec(False, 6, 2, 192, 4, size=5),
    StageSpec(False, 6, 1, 320, 1),
)

# The layers of a block, by their places in torchvision's
TIMM_PLAIN = {"0.0": "conv", "0.1": "bn1"}
TIMM_FUSED = {"0.0": "conv_exp", "0.1": "bn1", "1.0": "conv_pwl", "1.1": "bn2"}
TIMM_MBCONV = {
    "0.0": "conv_pw",
    "0.1": "bn1",
    "1.0": "conv_dw",
    "1.1": "bn2",
    "2.fc1": "se.conv_reduce",
    "2.fc2": "se.conv_expand",
    "3.0": "conv_pwl",
    "3.1": "bn3",
}
LITE_MBCONV = {
    "0.0": "_expand_conv",
    "0.1": "_bn0",
    "1.0": "_depthwise_conv",
    "1.1": "_bn1",
    "3.0": "_project_conv",
    "3.1": "_bn2",
}


class TimmEfficientNet(EfficientNet):
    """timm's `tf_efficientnetv2_*`, whose weights come from TensorFlow."""

    same: bool = True

    @nn.nowrap
    def torch_name(self, path: tuple[str, ...]) -> str:
        """Name of a variable in timm's state dict, see `StagedNetwork.torch_name`."""
        *modules, leaf = super().torch_name(path).split(".")
        match modules:
            case ["features", stage, block, "block", *layer]:
                spec = self.table[int(stage) - 1]
                names = TIMM_MBCONV if not spec.fused else TIMM_FUSED if spec.expansion > 1 else TIMM_PLAIN
                return f"blocks.{int(stage) - 1}.{block}.{names['.'.join(layer)]}.{leaf}"
            case ["features", stage, layer]:
                names = {"0": "conv_stem", "1": "bn1"} if stage == "0" else {"0": "conv_head", "1": "bn2"}
                return f"{names[layer]}.{leaf}"
        return f"classifier.{leaf}"


def relu6(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Limits x to 0 and 6, with no gradient at either end, as in torch."""
    return jnp.where(x >= 6, 6, jax.nn.relu(x))


class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite (TensorFlow's, 2020): no squeeze-excitation, ReLU6; names of `efficientnet_lite_pytorch`."""

    table: tuple[StageSpec, ...] = LITE_0
    stem: int = 32
    same: bool = True
    squeeze: bool = False
    activation: Callable[[Array], Array] = relu6

    @nn.nowrap
    def torch_name(self, path: tuple[str, ...]) -> str:
        """Name of a variable in that package's state dict, see `StagedNetwork.torch_name`."""
        *modules, leaf = super().torch_name(path).split(".")
        match modules:
            case ["features", stage, block, "block", *layer]:
                before = sum(spec.depth for spec in self.table[: int(stage) - 1])
                return f"_blocks.{before + int(block)}.{LITE_MBCONV['.'.join(layer)]}.{leaf}"
            case ["features", stage, layer]:
                names = {"0": "_conv_stem", "1": "_bn0"} if stage == "0" else {"0": "_conv_head", "1": "_bn1"}
                return f"{names[layer]}.{leaf}"
        return f"_fc.{leaf}"
