"""`cam.explain`, for a network of a user's own."""

import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cam.toy import Toy, images, variables

from hemojax import cam
from hemojax.errors import UserError
from hemojax.models.staged import StagedNetwork

NETWORK = Toy()
VARIABLES = variables(NETWORK)
IMAGES = images(3)
ROOT = Path(__file__).parents[2]
METHODS_PAGE = ROOT / "docs" / "methods.md"
PAGES = (ROOT / "README.md", METHODS_PAGE)  # in the order in which their examples are read


class Own(StagedNetwork):
    stages = ("stage1", "stage2")
    linear_after = "stage2"

    def run_link(self, name, x, train):
        return nn.relu(nn.Conv(8, (3, 3), 2, name=f"conv_{name}")(x))

    def classify(self, x, train):
        return nn.Dense(self.outputs, name="dense")(x.mean((1, 2)))


def own(outputs):
    network = Own(outputs)
    return network, network.init(jax.random.key(0), IMAGES)


@pytest.mark.end_to_end
def test_a_users_network_with_every_method():
    network, its = own(1)
    found = cam.explain(network, its, IMAGES, methods=(*cam.METHODS, "fullgrad"), stages=("stage2",), seeds=2)
    np.testing.assert_allclose(found.logits, network.apply(its, IMAGES), atol=1e-6)
    assert set(found.maps) == {("stage2", method) for method in cam.METHODS} | {("image", "fullgrad")}
    for (stage, method), maps in found.maps.items():
        assert isinstance(maps, jax.Array)
        size = {"stage2": (4, 6), "image": (16, 24)}[stage]
        assert maps.shape == ((3, 2, *size) if method == "randomcam" else (3, *size))
        assert bool(jnp.isfinite(maps).all())
        assert float(maps.max()) <= 1


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(
    "target",
    [
        "predicted",
        "highest",
        0,
        (0, 0, 0),
        np.zeros(3, int),
        cam.Target(jnp.zeros(3, int), jnp.array([1.0, -1.0, 1.0])),
    ],
)
def test_targets(outputs, target):
    network, its = own(outputs)
    logits = np.asarray(network.apply(its, IMAGES))
    if isinstance(target, str):
        labels = logits.argmax(axis=1)
        signs = np.where(logits.max(axis=1) > 0, 1, -1) if target == "predicted" else np.ones(3)
    else:
        labels, signs = np.zeros(3, int), target.sign if isinstance(target, cam.Target) else np.ones(3)
    expected = cam.build(network, ("hirescam",), ("stage2",))(
        its, IMAGES, cam.Target(jnp.asarray(labels), jnp.asarray(signs, jnp.float32)), jnp.arange(3)
    )
    found = cam.explain(network, its, IMAGES, target=target)
    np.testing.assert_allclose(found.maps["stage2", "hirescam"], expected.maps["stage2", "hirescam"], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": [0, 1]}, "2 targets for 3 images"),
        ({"target": cam.Target(jnp.zeros(3, int), jnp.ones(2))}, "targets for 3 images"),
        ({"target": 3}, "logits 0 to 2"),
        ({"target": [0, -1, 2]}, "logits 0 to 2"),
        ({"target": "predicted class"}, "no target 'predicted class'"),
        ({"methods": ("grad-cam",)}, "did you mean 'gradcam'"),
        ({"identities": np.array([1])}, "1 identities for 3 images"),
        ({"target": cam.Contrast(jnp.zeros((3, 2)))}, "a contrast of shape \\(3, 2\\) for 3 images and 3 logits"),
        ({"methods": ("cam",)}, "method 'cam' needs a mean and a linear layer .* nowhere in this network"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as raised:
        cam.explain(NETWORK, VARIABLES, IMAGES, **{"methods": ("gradcam",)} | options)
    assert "\n" not in str(raised.value)


def test_variables_as_init_leaves_them_serve_any_batch():
    network, its = own(2)
    assert "perturbations" in its
    for run in (
        lambda given: cam.explain(network, given, IMAGES[:2], methods=("gradcam", "ablationcam"), target=1),
        lambda given: cam.build(network, ("gradcam", "ablationcam"), ("stage2",))(
            given, IMAGES[:2], cam.Target(jnp.ones(2, int), jnp.ones(2)), jnp.arange(2)
        ),
    ):
        jax.tree.map(np.testing.assert_array_equal, run(its), run({"params": its["params"]}))


def test_the_same_request_is_compiled_once():
    network, its = own(2)
    options = {"seeds": 10, "chunk": 64, "eigen_smooth": False, "registered": False}
    run = cam.api._program(network, ("gradcam",), ("stage2",), **options)
    for _ in range(2):
        cam.explain(network, its, IMAGES, methods=("gradcam",), target=1)
    assert run._outermost._cache_size() == 1


@pytest.mark.end_to_end
def test_the_examples_of_the_documentation_run():
    names: dict = {}
    for page in PAGES:
        examples = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
        assert examples
        for example in examples:
            exec(example, names)
    assert names["refined"].shape == (1, 64, 64)
    for name in ("heat", "whole", "fused", "drawn"):
        assert names[name].shape == (4, 64, 64)
        assert 0 < float(names[name].max()) <= 1


def test_the_table_of_methods_names_every_method_once():
    rows = METHODS_PAGE.read_text().split("\n## Methods\n\n")[1].split("\n\n")[0]
    assert sorted(re.findall(r"`([\w+]+)`", rows)) == sorted(cam.METHODS)
