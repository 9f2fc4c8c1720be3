"""Exported weights give PyTorch the same network."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.models import pretrained
from hemojax.models.efficientnet import EfficientNet, StageSpec
from hemojax.models.resnet import ResNet

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch", reason="needs requirements-compare.txt (torch)")
torchvision = pytest.importorskip("torchvision", reason="needs requirements-compare.txt (torchvision)")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs requirements-compare.txt (torch)")

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
        (partial(EfficientNet, table=TABLE, stem=16), small_efficientnet),
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
