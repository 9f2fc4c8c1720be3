from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from hemojax.errors import UserError
from hemojax.models import create


@cache
def shapes(name, **options):
    network = create(name, 1000, **options)
    return jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 96, 75, 3), jnp.float32))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "parameters"),  # torchvision's documentation
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("efficientnet_v2_s", 21_458_488),
    ],
)
def test_parameter_counts_are_torchvisions(name, parameters):
    assert count(shapes(name)["params"]) == parameters


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet18", {"stem": (24, 19, 64), "stage1": (24, 19, 64), "stage2": (12, 10, 128),
                      "stage3": (6, 5, 256), "stage4": (3, 3, 512)}),
        ("resnet50", {"stem": (24, 19, 64), "stage1": (24, 19, 256), "stage2": (12, 10, 512),
                      "stage3": (6, 5, 1024), "stage4": (3, 3, 2048)}),
        ("efficientnet_v2_s", {"stem": (48, 38, 24), "stage1": (48, 38, 24), "stage2": (24, 19, 48),
                               "stage3": (12, 10, 64), "stage4": (6, 5, 128), "stage5": (6, 5, 160),
                               "stage6": (3, 3, 256), "head": (3, 3, 1280)}),
    ],
)  # fmt: skip
def test_stage_shapes(name, stages):
    assert create(name, 1).stages == tuple(stages)
    assert {stage: leaf.shape[1:] for stage, leaf in shapes(name)["perturbations"].items()} == stages


@pytest.mark.parametrize(
    ("name", "head", "bound"), [("resnet18", "fc", 512**-0.5), ("efficientnet_v2_s", "classifier_1", 1000**-0.5)]
)
def test_initial_values_are_torchvisions(name, head, bound):
    params = jax.jit(create(name, 1000).init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    linear = np.asarray(params[head]["kernel"])
    assert 0.99 * bound < np.abs(linear).max() <= bound
    assert linear.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    for path, kernel in flatten_dict(params).items():
        if path[-1] == "kernel" and kernel.ndim == 4 and kernel.size > 5000:
            fan_out = kernel.shape[0] * kernel.shape[1] * kernel.shape[3]
            assert np.std(kernel) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), path
            assert np.abs(kernel).max() > 3 * np.std(kernel)  # not truncated


def test_dropout_and_stochastic_depth_only_act_in_training_and_can_be_switched_off():
    x = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))
    variables = jax.jit(create("efficientnet_v2_s", 2).init)(jax.random.key(0), x)

    def train(seed, **options):
        network = create("efficientnet_v2_s", 2, **options)
        rngs = {"dropout": jax.random.key(seed)}
        return network.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    both = jax.jit(lambda: (train(0), train(1), train(0, dropout=0.0, stochastic_depth=0.0)))
    jaxpr = str(jax.make_jaxpr(both)())
    assert jaxpr.count("random_bits") == 2 * (1 + 34)  # dropout, and the 34 residual blocks of rate > 0


def test_compute_dtypes():
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    network = create("resnet18", 2, dtype=jnp.bfloat16)
    logits, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), x)
    assert logits.dtype == jnp.bfloat16
    kept = {name: variables[name] for name in ("params", "batch_stats")}
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype("float32")}
    with jax.enable_x64(True):
        network = create("efficientnet_v2_s", 2, dtype=jnp.float64)
        logits, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), x)
        assert {leaf.dtype for leaf in jax.tree.leaves((logits, variables))} == {jnp.dtype("float64")}


def test_unknown_names_and_options_are_refused():
    with pytest.raises(UserError, match="unknown network 'vgg'; the networks are resnet18"):
        create("vgg", 1)
    with pytest.raises(UserError, match="network resnet18: .*'dropout'"):
        create("resnet18", 1, dropout=0.5)
