"""The networks against torchvision's, in float64 on random weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from hemojax.models import create, pretrained
from hemojax.models.efficientnet_v2 import EfficientNetV2, StageSpec
from hemojax.models.resnet import ResNet

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch", reason="needs requirements-compare.txt (torch)")
torchvision = pytest.importorskip("torchvision", reason="needs requirements-compare.txt (torchvision)")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs requirements-compare.txt (torch)")


def torch_network(name):
    """Torchvision's network in float64, with random batch statistics."""
    torch.manual_seed(0)
    network = getattr(torchvision.models, name)(num_classes=3).double().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network


def stage_modules(network):
    """Torchvision's modules behind the stages, in order."""
    if isinstance(network, torchvision.models.ResNet):
        return [network.maxpool, network.layer1, network.layer2, network.layer3, network.layer4]
    return list(network.features)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_v2_s"])
def test_logits_and_every_stage(name, tmp_path):
    theirs = torch_network(name)
    outputs = []
    for module in stage_modules(theirs):
        module.register_forward_hook(lambda module, inputs, output: outputs.append(output.permute(0, 2, 3, 1).numpy()))
    x = torch.randn(1, 3, 96, 75, dtype=torch.float64)
    with torch.inference_mode():
        expected_logits = theirs(x).numpy()
    save_file(
        {key: np.ascontiguousarray(value) for key, value in theirs.state_dict().items()}, tmp_path / "w.safetensors"
    )

    with jax.enable_x64(True):
        network = create(name, 3, dtype=jnp.float64)
        images = jnp.asarray(x.permute(0, 2, 3, 1).numpy())
        shapes = jax.eval_shape(network.init, jax.random.key(0), images)
        shapes = {collection: shapes[collection] for collection in ("params", "batch_stats")}
        variables = pretrained.load(tmp_path / "w.safetensors", network, shapes)
        apply = jax.jit(lambda variables, x: network.apply(variables, x, mutable=["intermediates"]))
        logits, tapped = jax.tree.map(np.asarray, apply(variables, images))
    assert np.abs(logits - expected_logits).max() < 1e-8 * np.abs(expected_logits).max()
    for stage, expected in zip(network.stages, outputs, strict=True):
        assert np.abs(tapped["intermediates"][stage] - expected).max() < 1e-8 * np.abs(expected).max(), stage


# A stage of each kind of block, strided and not
TABLE = (StageSpec(True, 1, 1, 16, 1), StageSpec(True, 4, 2, 24, 2), StageSpec(False, 4, 2, 32, 2))


def small_efficientnet():
    """Torchvision's EfficientNetV2 with the stages of TABLE."""
    efficientnet = torchvision.models.efficientnet
    inputs = [TABLE[0].features, *(spec.features for spec in TABLE)]
    rows = [
        (efficientnet.FusedMBConvConfig if spec.fused else efficientnet.MBConvConfig)(
            spec.expansion, 3, spec.stride, before, spec.features, spec.depth
        )
        for spec, before in zip(TABLE, inputs, strict=False)
    ]
    norm = partial(torch.nn.BatchNorm2d, eps=1e-3)
    return torchvision.models.EfficientNet(rows, dropout=0.2, last_channel=1280, num_classes=3, norm_layer=norm)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ResNet, lambda: torchvision.models.resnet18(num_classes=3)),
        (partial(EfficientNetV2, table=TABLE), small_efficientnet),
    ],
)
def test_exported_weights_give_torchvision_the_same_logits(ours, theirs, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, 64, 75, 3))
    path = tmp_path / "weights.safetensors"
    with jax.enable_x64(True):
        network = ours(3, dtype=jnp.float64)
        shapes = jax.eval_shape(network.init, jax.random.key(0), images)
        shapes = {collection: shapes[collection] for collection in ("params", "batch_stats")}
        # Positive variances, and kernels small enough for the values to stay in range.
        variables = jax.tree.map(
            lambda leaf: (
                rng.uniform(0.5, 1.5, leaf.shape)
                if leaf.ndim == 1
                else rng.standard_normal(leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5
            ),
            shapes,
        )
        pretrained.save(path, network, variables)
        logits = np.asarray(jax.jit(network.apply)(variables, images))
    peer = theirs().double().eval()
    peer.load_state_dict(safetensors_torch.load_file(path), strict=True)
    with torch.inference_mode():
        expected = peer(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.abs(logits - expected).max() < 1e-8 * np.abs(expected).max()
