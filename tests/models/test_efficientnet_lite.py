"""EfficientNet-Lite0 against the PyTorch package it comes from, on random weights and on ImageNet's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import peer, pictures
from models.peer import torch

from hemojax import models
from hemojax.models import pretrained

pytestmark = pytest.mark.peers
package = pytest.importorskip(
    "efficientnet_lite_pytorch", reason="needs requirements-compare.txt (efficientnet-lite-pytorch)"
)
STAGE_ENDS = (0, 2, 4, 7, 10, 14, 15)
create = partial(models.create, "efficientnet_lite0")


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    # without an image size it pads each image by its own, as TensorFlow does
    return peer.randomised(package.EfficientNet.from_name("efficientnet-lite0", num_classes=3, image_size=None))


def modules_of(network):
    """The modules that end our stages; one activation ends both stem and head."""
    return [network._swish, *(network._blocks[i] for i in STAGE_ENDS)]


def after_taps(network):
    """The modules behind our inner taps; a block's one activation follows its depthwise convolution too."""
    return [network._blocks[i + 1]._depthwise_conv for i in STAGE_ENDS[:-1]]


@pytest.mark.parametrize("shape", [(64, 64), (75, 97), (224, 224)])
def test_logits_and_every_stage_with_its_gradient(theirs, shape):
    peer.assert_float64_agrees(theirs, modules_of, partial(create, 3), peer.random_images(*shape), after_taps)


def test_float32_is_as_exact(theirs):
    peer.assert_float32_is_as_exact(theirs, partial(create, 3), peer.random_images(96, 75, 4))


def test_imagenet_weights_give_the_same_logits():
    network = create(1000)
    path = pretrained.locate("imagenet", "efficientnet_lite0")
    theirs = package.EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    images = np.stack([pictures.whole(name) for name in pictures.LABELS])
    logits = jax.jit(network.apply)(peer.variables_of(theirs, network), jnp.array(images))
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert peer.largest_difference(np.asarray(logits), expected) < 1e-4
