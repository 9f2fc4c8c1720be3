"""The networks against timm's, on random weights."""

from functools import partial

import pytest
from models import peer
from models.peer import torch

from hemojax import models

pytestmark = pytest.mark.peers
timm = pytest.importorskip("timm", reason="needs requirements-compare.txt (timm)")


def their_network(name):
    torch.manual_seed(0)
    return peer.randomised(timm.create_model(name, num_classes=3))


def modules_of(network):
    """The modules that end our stages and inner taps; timm's batch norms end in the activation."""
    if isinstance(network, timm.models.ResNet):
        return [network.maxpool, network.layer1, network.layer2, network.layer3, network.layer4]
    return [network.bn1, *network.blocks, *(stage[0].bn1 for stage in network.blocks[1:]), network.bn2]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (75, 97)),
        ("resnet50", (64, 64)),
        ("tf_efficientnetv2_s", (64, 64)),
        ("tf_efficientnetv2_s", (75, 97)),
        ("tf_efficientnetv2_b3", (64, 64)),
        ("tf_efficientnetv2_b3", (224, 224)),
        ("tf_efficientnetv2_b3", (75, 97)),
    ],
)
def test_logits_and_every_stage_with_its_gradient(name, shape):
    create = partial(models.create, name, 3)
    peer.assert_float64_agrees(their_network(name), modules_of, create, peer.random_images(*shape))


def test_float32_is_as_exact():
    name = "tf_efficientnetv2_b3"
    create = partial(models.create, name, 3)
    peer.assert_float32_is_as_exact(their_network(name), create, peer.random_images(96, 75, 4))
