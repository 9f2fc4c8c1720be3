"""AblationCAM and ScoreCAM against loops that ablate or mask one channel of one image at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import Toy, compiled, images, variables

from hemojax.cam import METHODS, Inputs, Target
from hemojax.cam.inputs import ablated_scores, masked_scores
from hemojax.cam.perturbation import pgc_ablation

BATCH = 3
NETWORK = Toy()
VARIABLES = variables(NETWORK)
IMAGES = images(BATCH)
TARGET = Target(jnp.array([0, 2, 1]), jnp.array([1.0, -1.0, 1.0]))


def scored(logits, image):
    return TARGET.sign[image] * logits[0, TARGET.label[image]]


def activations(stage):
    return compiled(NETWORK, until=stage)(VARIABLES, IMAGES)


@pytest.mark.parametrize(("stage", "group"), [("stage1", 2), ("stage2", 4), ("stage3", 100)])
def test_ablated_scores_are_those_of_a_loop(stage, group):
    a = activations(stage)
    channels = a.shape[-1]
    values = -jnp.arange(BATCH * channels, dtype=jnp.float32).reshape(BATCH, channels)
    scores = jax.jit(lambda a: ablated_scores(NETWORK, VARIABLES, stage, a, values, TARGET, group))
    found, suffix = scores(a), compiled(NETWORK, after=stage)
    expected = np.zeros((BATCH, channels))
    for image, channel in np.ndindex(BATCH, channels):
        ablated = np.array(a[image : image + 1])
        ablated[..., channel] = values[image, channel]
        expected[image, channel] = scored(suffix(VARIABLES, ablated), image)
    assert np.ptp(expected, axis=1).min() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


def half_pixel(values, height, width):
    """Bilinear interpolation of (h, w) with half-pixel centres, one pixel at a time."""
    h, w = values.shape
    out = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        y = np.clip((i + 0.5) * h / height - 0.5, 0, h - 1)
        x = np.clip((j + 0.5) * w / width - 0.5, 0, w - 1)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
        top = values[y0, x0] * (1 - (x - x0)) + values[y0, x1] * (x - x0)
        bottom = values[y1, x0] * (1 - (x - x0)) + values[y1, x1] * (x - x0)
        out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


@pytest.mark.parametrize(("stage", "group"), [("stage1", 2), ("stage3", 3)])
def test_masked_scores_are_those_of_a_loop(stage, group):
    a = activations(stage)
    found = jax.jit(lambda a: masked_scores(NETWORK, VARIABLES, IMAGES, a, TARGET, group))(a)
    channels = a.shape[-1]
    masked = np.zeros((BATCH, channels, *IMAGES.shape[1:]), np.float32)
    for image, channel in np.ndindex(BATCH, channels):
        mask = half_pixel(np.asarray(a[image, ..., channel]), *IMAGES.shape[1:3])
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
        masked[image, channel] = IMAGES[image] * mask[..., None]
    whole = compiled(NETWORK)
    expected = np.array([[scored(whole(VARIABLES, x[None]), i) for x in one] for i, one in enumerate(masked)])
    assert np.ptp(expected, axis=1).min() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_masks_of_dead_channels_hide_everything():
    dead = jnp.zeros((BATCH, 4, 6, 2)).at[..., 1].set(3.0)
    found = jax.jit(lambda a: masked_scores(NETWORK, VARIABLES, IMAGES, a, TARGET, 8))(dead)
    black = compiled(NETWORK)(VARIABLES, jnp.zeros_like(IMAGES[:1]))
    expected = [[scored(black, image)] * 2 for image in range(BATCH)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def inputs(score, scores, name):
    a = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), jnp.float32)
    return Inputs(a, score=jnp.float32(score))._replace(**{name: jnp.asarray(scores, jnp.float32)})


@pytest.mark.parametrize("score", [2.0, -2.0, 0.0])
def test_ablationcam_rewards_channels_without_which_the_score_falls(score):
    falls = np.array([1.0, -0.5, 0.0, 3.0])
    given = inputs(score, score - falls, "ablated_scores")
    expected = np.asarray(given.activations) @ (falls / (abs(score) or 1))
    np.testing.assert_allclose(METHODS["ablationcam"].fn(given), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("score", [2.0, -2.0])
def test_ablationcam_pgc_divides_by_the_score_itself(score):
    given = inputs(score, [1.0, -0.5, 0.0, 3.0], "pgc_ablated_scores")
    expected = np.asarray(given.activations) @ ((score - np.array([1.0, -0.5, 0.0, 3.0])) / score)
    np.testing.assert_allclose(METHODS["ablationcam_pgc"].fn(given), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rectified", [False, True])
def test_pgc_ablation_is_what_its_loop_writes(rectified):
    a = np.random.default_rng(4).normal(size=(3, 3, 40)).astype(np.float32)
    a = np.maximum(a, 0) if rectified else a
    expected = np.zeros(40, np.float32)
    for first in (0, 32):
        batch = np.repeat(a[None], min(32, 40 - first), axis=0)
        for n in range(len(batch)):
            expected[first + n] = 0 if batch.min() == 0 else batch.min() - np.float32(1e7)
            batch[n, :, :, first + n] = expected[first + n]
    np.testing.assert_allclose(pgc_ablation(jnp.asarray(a)), expected, rtol=1e-6)


def test_scorecam_weighs_by_softmax():
    scores = np.array([1.0, 2.0, -1.0, 500.0])  # a naive exponential would overflow
    given = inputs(0.0, scores, "masked_scores")
    np.testing.assert_allclose(METHODS["scorecam"].fn(given), given.activations[..., 3], rtol=1e-5)
    given = inputs(0.0, [0.0, 0.0, 0.0, np.log(2)], "masked_scores")
    expected = np.asarray(given.activations) @ np.array([0.2, 0.2, 0.2, 0.4])
    np.testing.assert_allclose(METHODS["scorecam"].fn(given), expected, rtol=1e-5)


def test_memory_follows_the_group_and_not_the_number_of_channels():
    wide = jax.ShapeDtypeStruct((1, 8, 12, 5 * 64), jnp.float32)
    network = Toy(widths=(5 * 64, 2, 2))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), IMAGES))["params"]
    target = Target(jnp.array([0]), jnp.array([1.0]))

    def temporary(group):
        def scores(params, a):
            zeros = jnp.zeros((1, a.shape[-1]))
            return ablated_scores(network, {"params": params}, "stage1", a, zeros, target, group)

        return jax.jit(scores).lower(shapes, wide).compile().memory_analysis().temp_size_in_bytes

    one = 8 * 12 * 5 * 64 * 4
    assert temporary(4) < 12 * one  # the 320 ablated inputs would be 320
