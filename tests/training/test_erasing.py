"""What is erased, how it is filled, and what is then asked of the network."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hemojax import devices, models
from hemojax.config import defaults
from hemojax.data.loader import Batch
from hemojax.models.resnet import ResNet
from hemojax.models.staged import StagedNetwork
from hemojax.run import create_network
from hemojax.training import erasing, loop, state, step

LIMITS = (0.0, 1.0)
ROW, COLUMN = np.indices((64, 64))


class Bright(StagedNetwork):
    """Two logits: how much the left half, and the right, is brighter than 0.5. The stage has cells of 4 pixels."""

    bias: float = -5.0
    stages = ("stage1", "stage2")

    def run_link(self, name, x, train):
        if name == "stage2":
            return x
        x = jnp.where(x < 1, x, 0)  # no bone
        cells = x[..., :1].reshape(len(x), x.shape[1] // 4, 4, x.shape[2] // 4, 4, 1).mean((2, 4))
        return jax.nn.relu(cells - 0.5)

    def classify(self, x, train):
        half = x.shape[2] // 2
        return 10 * jnp.stack([x[:, :, :half].sum((1, 2, 3)), x[:, :, half:].sum((1, 2, 3))], axis=-1) + self.bias


def head(*bleeds):
    """A slice of tissue at 0.4 inside of bone, with bleeds (8 x 8) at these corners."""
    image = np.full((64, 64, 1), 0.4, np.float32)
    image[:4] = image[-4:] = image[:, :4] = image[:, -4:] = 1
    for row, column in bleeds:
        image[row : row + 8, column : column + 8] = 0.9
        image[row + 3, column + 3] = 1  # as white as bone
    return image


def test_the_place_of_what_the_network_calls_positive_is_filled_and_called_negative():
    bleeds = [[(8, 8)], [], [(40, 12)], []]
    images, labels = jnp.stack([head(*at) for at in bleeds]), jnp.array([[1.0, 0], [0, 0], [1, 0], [0, 0]])
    run = jax.jit(partial(erasing.with_copies, Bright(2), {}, share=0.75, stage="stage1", limits=LIMITS))
    image, asked, weight = run(images, labels)
    assert image.shape == (7, 64, 64, 1)
    np.testing.assert_array_equal(image[:4], images)
    np.testing.assert_array_equal(asked[:4], labels)
    np.testing.assert_array_equal(weight[:4], 1)
    # The positives come first: the first loses its own bleed, the second the place of the first one's.
    np.testing.assert_allclose(image[4], head(), atol=1e-6)
    np.testing.assert_allclose(image[5], head((40, 12)), atol=1e-6)
    np.testing.assert_array_equal(asked[4:], [[0, 0], [1, 0], [0, 0]])
    sure = jax.nn.sigmoid(Bright(2).apply({}, images[:1]))[0, 0]
    assert sure > 0.9
    np.testing.assert_allclose(weight[4:], [[sure, 1], [1, 1], [1, 1]], rtol=1e-5)


def test_a_slice_that_is_not_called_hardly_counts_when_it_is_filled():
    faint = head()
    faint[8:12, 8:12] = 0.51
    run = jax.jit(partial(erasing.with_copies, Bright(2), {}, share=0.5, stage="stage1", limits=LIMITS))
    weight = run(jnp.stack([faint, head()]), jnp.array([[1.0, 0], [0, 0]])).weight
    assert weight[2, 0] < 0.01
    assert weight[2, 1] == 1


def test_a_slice_without_a_map_does_not_count():
    run = jax.jit(partial(erasing.with_copies, Bright(2, bias=9.0), {}, share=0.5, stage="stage1", limits=LIMITS))
    copies = run(jnp.stack([head(), head()]), jnp.array([[1.0, 0], [0, 0]]))
    np.testing.assert_array_equal(copies.image[2], head())
    assert copies.weight[2, 0] == 0


@pytest.mark.parametrize("side", [64, 50])
def test_a_fill_goes_on_as_its_surroundings_do(side):
    row, column = np.indices((side, side)) / side
    slope = np.float32(0.2 + 0.4 * row + 0.2 * column)[None, ..., None]
    place = (np.hypot(row - 0.5, column - 0.4) < 0.15)[None]
    filled = jax.jit(partial(erasing.fill, limits=LIMITS))(jnp.where(place[..., None], 0.95, slope), place)
    np.testing.assert_array_equal(filled[~place], slope[~place])
    assert np.abs(filled - slope).max() < 0.08
    assert np.abs(filled - slope)[place].mean() < 0.04


def test_bone_is_neither_filled_nor_spread():
    image, place = head()[None], np.zeros((1, 64, 64), bool)
    place[:, :20, :20] = True  # over the bone
    filled = jax.jit(partial(erasing.fill, limits=LIMITS))(jnp.asarray(image), place)
    np.testing.assert_allclose(filled, image, atol=1e-6)
    nothing = jnp.ones((1, 8, 8, 1))
    np.testing.assert_array_equal(erasing.fill(nothing, jnp.ones((1, 8, 8), bool), LIMITS), nothing)


def test_a_step_learns_from_the_copies(monkeypatch):
    config = defaults()
    config.model.name = "small"
    config.train.update(erasing=0.5, erasing_stage="stage1")
    monkeypatch.setitem(models.MODELS, "small", lambda **options: ResNet(depths=(1,), **options))
    variables = state.initialise(create_network(config), 32, 3, jax.random.key(0))
    optimiser = optax.sgd(0.1)
    levels = jnp.asarray(np.random.default_rng(0).integers(0, 65536, (1, 4, 32, 32, 1)), jnp.uint16)
    batch = Batch(levels, jnp.array([[[1.0], [0], [1], [0]]]), jnp.arange(4)[None])
    erase, seen = loop.eraser(config), []

    def noted(variables, image, labels):
        seen.append(erase(variables, image, labels))
        return seen[-1]._replace(weight=seen[-1].weight.at[:4].set(0.0).at[4:].set(2.0))

    run = step.build(
        create_network(config, devices.AXIS),
        optimiser,
        positive_weight=jnp.zeros(1),
        key=jax.random.key(1),
        inputs=loop.training_inputs(config, 1),
        erase=noted,
    )
    _, metrics = run(state.create(variables, optimiser), batch)
    assert seen[0].image.shape == (6, 32, 32, 3)
    # Of six slices the two copies count alone; one is asked to be negative, the other is positive and weighs nothing.
    assert 0 < metrics["loss"] < 1
    assert metrics["gradient_norm"] > 0


@pytest.mark.parametrize(
    ("normalisation", "air"), [("imagenet", -0.485 / 0.229), ("air_zero", 0), ("tensorflow", -127 / 128)]
)
def test_soft_tissue_lies_between_air_and_bone(normalisation, air):
    config = defaults()
    assert loop.eraser(config) is None
    config.data.normalisation = normalisation
    config.train.update(erasing=0.5, erasing_stage="stage1")
    low, high = loop.eraser(config).keywords["limits"]
    assert low == pytest.approx(air, abs=1e-6)
    assert high == pytest.approx(1 if normalisation == "tensorflow" else air + 1 / 0.229, abs=1e-6)
