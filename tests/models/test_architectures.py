from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from hemojax.errors import UserError
from hemojax.models import create
from hemojax.models.efficientnet import SMALL, EfficientNet, StageSpec
from hemojax.models.efficientnet_tf import relu6
from hemojax.models.layers import StochasticDepth
from hemojax.models.resnet import ResNet

pytestmark = pytest.mark.end_to_end


@cache
def shapes(name, **options):
    network = create(name, 1000, **options)
    return jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 96, 75, 3), jnp.float32))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "parameters"),  # as torchvision and timm document them, and of EfficientNet-Lite0 its package's
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("efficientnet_v2_s", 21_458_488),
        ("efficientnet_v2_m", 54_139_356),
        ("efficientnet_v2_l", 118_515_272),
        ("tf_efficientnetv2_s", 21_458_488),
        ("tf_efficientnetv2_b3", 14_358_406),
        ("efficientnet_lite0", 4_652_008),
    ],
)
def test_parameter_counts_are_the_published_ones(name, parameters):
    assert count(shapes(name)["params"]) == parameters


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet18", {"stem": (24, 19, 64), "stage1": (24, 19, 64), "stage2": (12, 10, 128),
                      "stage3": (6, 5, 256), "stage4": (3, 3, 512)}),
        ("resnet50", {"stem": (24, 19, 64), "stage1": (24, 19, 256), "stage2": (12, 10, 512),
                      "stage3": (6, 5, 1024), "stage4": (3, 3, 2048)}),
        ("efficientnet_v2_s", {"stem": (48, 38, 24), "stage1": (48, 38, 24), "stage1/expand": (24, 19, 96),
                               "stage2": (24, 19, 48), "stage2/expand": (12, 10, 192),
                               "stage3": (12, 10, 64), "stage3/expand": (12, 10, 256),
                               "stage4": (6, 5, 128), "stage4/expand": (6, 5, 768),
                               "stage5": (6, 5, 160), "stage5/expand": (6, 5, 960),
                               "stage6": (3, 3, 256), "head": (3, 3, 1280)}),
        ("tf_efficientnetv2_b3", {"stem": (48, 38, 40), "stage1": (48, 38, 16), "stage1/expand": (24, 19, 64),
                                  "stage2": (24, 19, 40), "stage2/expand": (12, 10, 160),
                                  "stage3": (12, 10, 56), "stage3/expand": (12, 10, 224),
                                  "stage4": (6, 5, 112), "stage4/expand": (6, 5, 672),
                                  "stage5": (6, 5, 136), "stage5/expand": (6, 5, 816),
                                  "stage6": (3, 3, 232), "head": (3, 3, 1536)}),
        ("efficientnet_lite0", {"stem": (48, 38, 32), "stage1": (48, 38, 16), "stage1/expand": (48, 38, 96),
                                "stage2": (24, 19, 24), "stage2/expand": (24, 19, 144),
                                "stage3": (12, 10, 40), "stage3/expand": (12, 10, 240),
                                "stage4": (6, 5, 80), "stage4/expand": (6, 5, 480),
                                "stage5": (6, 5, 112), "stage5/expand": (6, 5, 672),
                                "stage6": (3, 3, 192), "stage6/expand": (3, 3, 1152),
                                "stage7": (3, 3, 320), "head": (3, 3, 1280)}),
    ],
)  # fmt: skip
def test_shapes_of_stages_and_inner_taps(name, stages):
    assert create(name, 1).links == tuple(stages)
    assert {stage: leaf.shape[1:] for stage, leaf in shapes(name)["perturbations"].items()} == stages


@pytest.mark.parametrize(
    ("name", "path", "tensor"),
    [
        ("resnet18", ("layer1_0", "downsample_1", "mean"), "layer1.0.downsample.1.running_mean"),
        ("efficientnet_v2_s", ("features_4_0", "block_2", "fc1", "kernel"), "features.4.0.block.2.fc1.weight"),
        ("efficientnet_v2_s", ("features_4_0_block_0", "1", "scale"), "features.4.0.block.0.1.weight"),
        ("tf_efficientnetv2_s", ("features_0", "0", "kernel"), "conv_stem.weight"),
        ("tf_efficientnetv2_s", ("features_2_0_block_0", "0", "kernel"), "blocks.1.0.conv_exp.weight"),
        ("tf_efficientnetv2_s", ("features_4_0_block_0", "1", "var"), "blocks.3.0.bn1.running_var"),
        ("tf_efficientnetv2_s", ("features_1_1", "block_0", "0", "kernel"), "blocks.0.1.conv.weight"),
        ("tf_efficientnetv2_s", ("features_2_0", "block_1", "1", "var"), "blocks.1.0.bn2.running_var"),
        ("tf_efficientnetv2_s", ("features_4_5", "block_2", "fc2", "bias"), "blocks.3.5.se.conv_expand.bias"),
        ("tf_efficientnetv2_s", ("features_7", "1", "scale"), "bn2.weight"),
        ("tf_efficientnetv2_s", ("classifier_1", "bias"), "classifier.bias"),
        ("efficientnet_lite0", ("features_0", "1", "scale"), "_bn0.weight"),
        ("efficientnet_lite0", ("features_3_1", "block_1", "0", "kernel"), "_blocks.4._depthwise_conv.weight"),
        ("efficientnet_lite0", ("features_3_0_block_0", "1", "bias"), "_blocks.3._bn0.bias"),
        ("efficientnet_lite0", ("features_8", "0", "kernel"), "_conv_head.weight"),
        ("efficientnet_lite0", ("classifier_1", "kernel"), "_fc.weight"),
    ],
)
def test_tensors_have_the_names_of_the_torch_libraries(name, path, tensor):
    assert create(name, 1).torch_name(path) == tensor


@pytest.mark.parametrize(
    ("network", "head", "bound"),
    [
        (ResNet(100, depths=(1, 1), bottleneck=True), "fc", 512**-0.5),
        (EfficientNet(100, stem=64, table=(StageSpec(False, 4, 2, 64, 1),)), "classifier_1", 1280**-0.5),
    ],
)
def test_initial_values_are_torchs(network, head, bound):
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    linear = np.asarray(params[head]["kernel"])
    assert 0.99 * bound < np.abs(linear).max() <= bound
    assert linear.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    convolutions = {path: leaf for path, leaf in flatten_dict(params).items() if leaf.ndim == 4 and leaf.size > 2000}
    assert len(convolutions) > 3
    for path, kernel in convolutions.items():
        fan_out = kernel.shape[0] * kernel.shape[1] * kernel.shape[3]
        assert np.std(kernel) == pytest.approx((2 / fan_out) ** 0.5, rel=0.07), path
        assert np.abs(kernel).max() > 3 * np.std(kernel)  # not truncated


@pytest.mark.parametrize("outputs", [1, 6])
def test_the_first_logits_are_small_however_few_there_are(outputs):
    network = EfficientNet(outputs, stem=64, table=(StageSpec(False, 4, 2, 64, 1),))
    x = jax.random.normal(jax.random.key(0), (16, 16, 16, 3))
    variables = jax.jit(network.init)(jax.random.key(1), x)
    logits, _ = network.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)})
    assert 0 < np.abs(logits).max() < 2  # a wrong call costs little


def test_stochastic_depth_grows_linearly_with_the_block():
    network, rates = create("efficientnet_v2_s", 1), []

    def record(next_call, args, kwargs, context):
        if isinstance(context.module, StochasticDepth):
            rates.append(context.module.rate)
        return next_call(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    blocks = sum(stage.depth for stage in SMALL)
    without_residual = {2, 6, 10, 16, 25}  # the first block of a stage that changes stride or width
    expected = [0.2 * block / blocks for block in range(blocks) if block not in without_residual]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize("option", ["dropout", "stochastic_depth"])
def test_each_random_rate_acts_in_training_alone(option):
    table = (StageSpec(True, 1, 1, 4, 2),)
    x = jax.random.normal(jax.random.key(0), (8, 8, 8, 3))
    network = EfficientNet(1, table=table, **{"dropout": 0.0, "stochastic_depth": 0.0, option: 0.5})
    variables = jax.jit(network.init)(jax.random.key(0), x)

    @jax.jit
    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return network.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    assert not np.array_equal(train(1), train(2))
    network.apply(variables, x)  # asks for no random numbers


def test_compute_dtypes():
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    network = create("resnet18", 2, dtype=jnp.bfloat16)
    logits, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), x)
    assert logits.dtype == jnp.bfloat16
    kept = {name: variables[name] for name in ("params", "batch_stats")}
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype("float32")}
    with jax.enable_x64(True):
        network = EfficientNet(2, dtype=jnp.float64, table=SMALL[2:4])
        logits, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), x)
        assert {leaf.dtype for leaf in jax.tree.leaves((logits, variables))} == {jnp.dtype("float64")}


def test_relu6_is_torchs():
    x = jnp.array([-1.0, 0.0, 2.0, 6.0, 7.0, jnp.nan])
    np.testing.assert_array_equal(relu6(x), [0, 0, 2, 6, 6, np.nan])
    np.testing.assert_array_equal(jax.grad(lambda x: relu6(x).sum())(x[:5]), [0, 0, 1, 0, 0])


def test_unknown_names_and_options_are_refused():
    with pytest.raises(UserError, match=r"no network 'vgg': did you mean .* There are resnet18"):
        create("vgg", 1)
    with pytest.raises(UserError, match=r"network resnet18: .*'dropout'"):
        create("resnet18", 1, dropout=0.5)


def test_a_local_head_needs_a_stage_before_the_last():
    assert create("resnet18", 1, local_stage="stage2").local_stage == "stage2"
    for stage in ("stage9", "stage4"):
        with pytest.raises(UserError, match=f"no stage of a local head '{stage}'"):
            create("resnet18", 1, local_stage=stage)
    with pytest.raises(UserError, match="no local pooling 'max'"):
        create("resnet18", 1, local_stage="stage2", local_pooling="max")
