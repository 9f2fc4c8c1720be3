import jax
import numpy as np
import pytest

from hemojax import models
from hemojax.models.resnet import ResNet
from hemojax.speed import networks

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize(
    ("network", "size", "gmac"),  # torchvision's documentation, which counts squeeze-excitation and linear layers too
    [("resnet50", 224, 4.09), ("efficientnet_v2_s", 384, 8.37)],
)
def test_work_of_the_layers_is_the_published_one(network, size, gmac):
    flop = sum(layer.flop * times for layer, times in networks.layers(network, size).items())
    assert flop / 2e9 == pytest.approx(gmac, rel=0.01)


def test_every_workload_runs(monkeypatch):
    monkeypatch.setitem(models.MODELS, "small", lambda outputs, **options: ResNet(outputs, depths=(1, 1), **options))
    (forward,), (gradients,), (training,) = (
        networks.network("small", workload, batch=2, size=32, dtype="float32") for workload in networks.WORKLOADS
    )
    assert forward().shape == (2, 1)
    _, activations, gradients = gradients()
    assert set(activations) == set(gradients) == {"stem", "stage1", "stage2"}
    assert all(np.abs(gradient).max() > 0 for gradient in jax.tree.leaves(gradients))
    first = training()
    assert min(training() for _ in range(5)) < first


def test_layers_run_on_their_own_shapes():
    found = list(networks.layers("efficientnet_v2_s", 32))
    depthwise = next(layer for layer in found if layer.groups > 1)
    assert depthwise.name == "depthwise 3x3 256->256 /2 @4"
    (output,) = (part() for part in networks.layer_forwards([depthwise], 2, "float32", 2))
    assert output.shape == (2, 2, 2, 256)
