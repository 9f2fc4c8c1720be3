"""The networks against torchvision's, in float64 on random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from hemojax.models import create
from hemojax.models.pretrained import load_torchvision

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch", reason="needs requirements-compare.txt (torch)")
torchvision = pytest.importorskip("torchvision", reason="needs requirements-compare.txt (torchvision)")


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
        variables = load_torchvision(tmp_path / "w.safetensors", shapes)
        apply = jax.jit(lambda variables, x: network.apply(variables, x, mutable=["intermediates"]))
        logits, tapped = jax.tree.map(np.asarray, apply(variables, images))
    assert np.abs(logits - expected_logits).max() < 1e-8 * np.abs(expected_logits).max()
    for stage, expected in zip(network.stages, outputs, strict=True):
        assert np.abs(tapped["intermediates"][stage] - expected).max() < 1e-8 * np.abs(expected).max(), stage
