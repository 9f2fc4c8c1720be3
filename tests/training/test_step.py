"""The pmapped step: the same gradients on one device and on eight, and a loss that is PyTorch's by definition."""

import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hemojax.training import step

pytestmark = pytest.mark.end_to_end

ONE_AND_EIGHT = """
import functools, json
import jax, jax.numpy as jnp, numpy as np
from hemojax import devices
from hemojax.models.resnet import ResNet
from hemojax.training import state, step

network = ResNet(1, depths=(1, 1), dtype=jnp.float64, axis_name=devices.AXIS)
variables = state.initialise(ResNet(1, depths=(1, 1), dtype=jnp.float64), 32, 3, jax.random.key(0))
import optax
start = state.create(variables, optax.adam(1e-3))
rng = np.random.default_rng(0)
image, labels = rng.normal(size=(16, 32, 32, 3)), rng.integers(0, 2, (16, 1)).astype(float)
found = []
for n in (1, 8):
    gradients = functools.partial(step.gradients, network, positive_weight=jnp.ones(1), key=jax.random.key(1))
    own = jax.devices()[:n]
    run = jax.pmap(gradients, axis_name=devices.AXIS, devices=own, in_axes=(None, 0, 0), out_axes=None)
    divided = [part.reshape(n, 16 // n, *part.shape[1:]) for part in (image, labels)]
    found.append(jax.device_get(run(start, *divided)))
(one, loss_one), (eight, loss_eight) = found
def furthest(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(x - y).max() / np.abs(x).max()) for x, y in pairs)
print(json.dumps({
    "gradients": furthest(one.params, eight.params), "statistics": furthest(one.batch_stats, eight.batch_stats),
    "loss": abs(float(loss_one - loss_eight)), "dtype": str(loss_one.dtype), "devices": jax.device_count(),
    "largest": max(float(np.abs(x).max()) for x in jax.tree.leaves(one.params)),
}))
"""


def test_one_and_eight_devices_give_the_same_gradients():
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        "JAX_ENABLE_X64": "1",
        "JAX_PLATFORMS": "cpu",
    }
    run = subprocess.run(
        [sys.executable, "-c", ONE_AND_EIGHT], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["devices"] == 8
    assert found["dtype"] == "float64"
    assert found["largest"] > 0.01
    assert found["gradients"] < 1e-5
    assert found["statistics"] < 1e-5
    assert found["loss"] < 1e-10


def test_loss_is_weighted_binary_cross_entropy():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 4, (20, 3)), rng.integers(0, 2, (20, 3)).astype(float)
    weight = np.array([1.0, 2.0, 5.0])
    expected = -np.mean(
        weight * labels * np.log(special.expit(logits)) + (1 - labels) * np.log1p(-special.expit(logits))
    )
    assert float(step.loss(*(jnp.float32(a) for a in (logits, labels, weight)))) == pytest.approx(expected, rel=1e-5)


def test_loss_of_a_certain_mistake_is_finite():
    value = step.loss(jnp.array([[-1e4], [1e4]]), jnp.array([[1.0], [0.0]]), jnp.ones(1))
    assert float(value) == pytest.approx(1e4)
