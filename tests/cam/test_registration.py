"""Where cells lie, by the support of their gradient; and maps drawn there, by scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from hemojax.cam import postprocess, registration
from hemojax.models.efficientnet import EfficientNet, StageSpec
from hemojax.models.resnet import ResNet

TABLE = (StageSpec(True, 3, 1, 8, 1), StageSpec(True, 3, 2, 8, 2), StageSpec(True, 3, 2, 8, 1))


@pytest.mark.parametrize(
    ("network", "stages"),
    [
        (ResNet(1, depths=(1, 1)), ("stem", "stage1", "stage2")),
        (ResNet(1, depths=(1, 2), bottleneck=True), ("stage1", "stage2")),
        (EfficientNet(1, table=TABLE, stem=8, head=8), ("stage1", "stage2", "stage3")),
    ],
)
def test_a_registered_cell_lies_in_the_middle_of_what_it_sees(network, stages):
    side = 96
    x = jax.random.normal(jax.random.key(0), (1, side, side, 3))
    variables = jax.jit(network.init)(jax.random.key(1), x)
    assert network.symmetric_padding
    for stage in stages:
        maps = jax.eval_shape(lambda x, stage=stage: network.apply(variables, x, until=stage), x)
        cells = maps.shape[1]
        stride, at = side // cells, cells // 2

        def score(x, stage=stage, at=at):
            return jnp.square(network.apply(variables, x, until=stage)[0, at, at]).sum()

        seen = np.argwhere(np.abs(jax.jit(jax.grad(score))(x)[0]).max(-1) > 0)
        middle = (seen.min(0) + seen.max(0)) / 2
        drawn = stride * at + (stride - 1) / 2 + stride * registration.shift(network, stride)
        # A maximum or a ReLU may leave a pixel on one side without a gradient.
        np.testing.assert_allclose(middle, drawn, atol=1.0, err_msg=stage)
        assert abs(registration.shift(network, stride)) == (stride - 1) / (2 * stride)


def test_networks_that_pad_on_one_side_stay_where_half_pixel_centres_have_them():
    assert registration.shift(EfficientNet(1, table=TABLE, same=True), 8) == 0


@pytest.mark.parametrize("shift", [-0.5, -0.375, -0.25])
@pytest.mark.parametrize(("cells", "size"), [((6, 6), (24, 24)), ((3, 5), (21, 40)), ((8, 8), (12, 12))])
def test_a_shifted_map_is_scipys(shift, cells, size):
    heat = np.random.default_rng(0).random(cells)
    at = [(np.arange(n) + 0.5) * c / n - 0.5 - shift for n, c in zip(size, cells, strict=True)]
    expected = ndimage.map_coordinates(heat, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest")
    with jax.enable_x64():
        found = postprocess.resize(jnp.asarray(heat), size, shift)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_a_shift_nothing_changes():
    heat = jnp.asarray(np.random.default_rng(0).random((4, 4)), jnp.float32)
    np.testing.assert_array_equal(postprocess.resize(heat, (16, 16), 0.0), postprocess.resize(heat, (16, 16)))
    nearly = postprocess.resize(heat, (16, 16), -1e-7)
    np.testing.assert_allclose(nearly, postprocess.resize(heat, (16, 16)), atol=1e-5)
