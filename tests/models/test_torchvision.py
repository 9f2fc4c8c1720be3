"""The networks against torchvision's, on random weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models import peer
from models.peer import torch

from hemojax import models
from hemojax.models.efficientnet import EfficientNet, StageSpec

pytestmark = pytest.mark.peers
torchvision = pytest.importorskip("torchvision", reason="needs requirements-compare.txt (torchvision)")
efficientnet = torchvision.models.efficientnet
stage_modules = pytest.importorskip("hemojax.speed.networks_torch").stage_modules


def their_network(name):
    torch.manual_seed(0)
    return peer.randomised(getattr(torchvision.models, name)(num_classes=3))


def modules_of(network):
    """The modules that end our stages and inner taps."""
    if isinstance(network, torchvision.models.ResNet):
        return stage_modules(network)
    return [*stage_modules(network), *(stage[0].block[0] for stage in network.features[2:-1])]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (64, 64)),
        ("resnet18", (75, 97)),
        ("resnet18", (384, 384)),
        ("resnet34", (75, 97)),
        ("resnet50", (75, 97)),
        ("resnet50", (224, 224)),
        ("resnet50", (384, 384)),
        ("resnet101", (64, 64)),
        ("efficientnet_v2_s", (75, 97)),
        ("efficientnet_v2_s", (224, 224)),
        ("efficientnet_v2_s", (384, 384)),
        ("efficientnet_v2_m", (64, 64)),
        ("efficientnet_v2_l", (75, 97)),
    ],
)
def test_logits_and_every_stage_with_its_gradient(name, shape):
    create = partial(models.create, name, 3)
    peer.assert_float64_agrees(their_network(name), modules_of, create, peer.random_images(*shape))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_v2_s"])
def test_logits_and_every_stage_with_its_gradient_on_pictures(name):
    create = partial(models.create, name, 3)
    peer.assert_float64_agrees(their_network(name), modules_of, create, peer.pictures())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_v2_s"])
@pytest.mark.parametrize("images", [partial(peer.random_images, 96, 75, 4), peer.pictures], ids=["random", "pictures"])
def test_float32_is_as_exact(name, images):
    peer.assert_float32_is_as_exact(their_network(name), partial(models.create, name, 3), images())


def small_efficientnet():
    """Torchvision's class with one row of each kind, without random layers."""
    rows = [
        efficientnet.FusedMBConvConfig(1, 3, 1, 8, 8, 2),
        efficientnet.FusedMBConvConfig(4, 3, 2, 8, 16, 2),
        efficientnet.MBConvConfig(4, 3, 2, 16, 24, 2),
    ]
    norm = partial(torch.nn.BatchNorm2d, eps=1e-3)
    return efficientnet.EfficientNet(rows, 0.0, 0.0, num_classes=3, norm_layer=norm, last_channel=32)


SMALL_TABLE = (StageSpec(True, 1, 1, 8, 2), StageSpec(True, 4, 2, 16, 2), StageSpec(False, 4, 2, 24, 2))


@pytest.mark.parametrize(
    ("make_theirs", "make_ours"),
    [
        (partial(their_network, "resnet18"), partial(models.create, "resnet18", 3)),
        (
            lambda: peer.randomised(small_efficientnet()),
            partial(EfficientNet, 3, table=SMALL_TABLE, stem=8, head=32, dropout=0.0, stochastic_depth=0.0),
        ),
    ],
)
def test_a_training_step_leaves_the_same_weights_and_statistics(make_theirs, make_ours):
    torch.manual_seed(1)
    theirs, images, wanted = make_theirs().double().train(), peer.random_images(48, 41, 4).double(), [0, 2, 1, 1]
    with jax.enable_x64(True):
        ours = make_ours(dtype=jnp.float64)
        before = peer.variables_of(theirs, ours)

        def loss(params, x):
            given = {**before, "params": params}
            logits, updated = ours.apply(given, x, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.array(wanted)).mean(), updated

        @jax.jit
        def step(params, x):
            gradients, updated = jax.grad(loss, has_aux=True)(params, x)
            return {"params": jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), **updated}

        found = step(before["params"], jnp.asarray(peer.nhwc(images)))
        optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
        torch.nn.functional.cross_entropy(theirs(images), torch.tensor(wanted)).backward()
        optimizer.step()
        expected = peer.variables_of(theirs, ours)
    moved = jax.tree.map(lambda after, start: np.abs(after - start).max(), expected, before)
    apart = jax.tree.map(lambda ours, theirs: np.abs(ours - theirs).max(), found, expected)
    # the median: an offset that the next batch norm takes away does not move
    assert max(jax.tree.leaves(apart)) < 1e-8 * np.median(jax.tree.leaves(moved))
