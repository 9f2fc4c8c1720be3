"""Networks by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

from hemojax.errors import UserError, check_name
from hemojax.models.efficientnet import LARGE, MEDIUM, SMALL, EfficientNet
from hemojax.models.efficientnet_tf import BASE_3, EfficientNetLite, TimmEfficientNet
from hemojax.models.pooling import LOCAL_POOLINGS
from hemojax.models.resnet import ResNet
from hemojax.models.staged import StagedNetwork

MODELS: dict[str, Callable[..., StagedNetwork]] = {
    "resnet18": partial(ResNet, depths=(2, 2, 2, 2)),
    "resnet34": partial(ResNet, depths=(3, 4, 6, 3)),
    "resnet50": partial(ResNet, depths=(3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(ResNet, depths=(3, 4, 23, 3), bottleneck=True),
    "efficientnet_v2_s": partial(EfficientNet, table=SMALL),
    "efficientnet_v2_m": partial(EfficientNet, table=MEDIUM, dropout=0.3),
    "efficientnet_v2_l": partial(EfficientNet, table=LARGE, stem=32, dropout=0.4),
    "tf_efficientnetv2_s": partial(TimmEfficientNet, table=SMALL),
    "tf_efficientnetv2_b3": partial(TimmEfficientNet, table=BASE_3, stem=40, head=1536, dropout=0.3),
    "efficientnet_lite0": EfficientNetLite,
}


def create(name: str, outputs: int, **options: Any) -> StagedNetwork:
    """Makes the network `name` of `MODELS` with `outputs` logits.

    Args:
        name: a key of `MODELS`.
        outputs: number of logits.
        **options: the network's attributes: `dtype`, `axis_name`, `local_stage` and `local_pooling`; for EfficientNets
            also `dropout` and `stochastic_depth`.

    Raises:
        UserError: a name is unknown, or the network has no such option.
    """
    check_name(name, MODELS, "network")
    try:
        network = MODELS[name](outputs=outputs, **options)
    except TypeError as error:
        raise UserError(f"network {name}: {error}") from error
    if network.local_stage:
        check_name(network.local_stage, network.links[:-1], "stage of a local head")
        check_name(network.local_pooling, LOCAL_POOLINGS, "local pooling")
    return network
