"""AblationCAM and ScoreCAM against loops that ablate or mask one channel of one image at a time."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cam.toy import Toy, compiled, images, variables
from scipy import ndimage

from hemojax.cam import METHODS, Inputs, Target, masks
from hemojax.cam.inputs import gather
from hemojax.cam.masks import channel_groups, group_gains, masked_scores, optimised_weights
from hemojax.cam.perturbation import pgc_ablation
from hemojax.cam.scores import ablated_scores, linear_ablated_scores, position_scores
from hemojax.cam.targets import score
from hemojax.models import create
from hemojax.models.efficientnet import EfficientNet, StageSpec

BATCH = 3
NETWORK = Toy()
VARIABLES = variables(NETWORK)
IMAGES = images(BATCH)
TARGET = Target(jnp.array([0, 2, 1]), jnp.array([1.0, -1.0, 1.0]))
WHOLE = partial(NETWORK.apply, VARIABLES)


def suffix_of(network, variables, stage):
    return partial(network.apply, variables, after=stage)


def same(a):
    return a


def scored(logits, image):
    return TARGET.sign[image] * logits[0, TARGET.label[image]]


def activations(stage):
    return compiled(NETWORK, until=stage)(VARIABLES, IMAGES)


@pytest.mark.parametrize(("stage", "group"), [("stage1", 2), ("stage2", 4), ("stage3", 100)])
def test_ablated_scores_are_those_of_a_loop(stage, group):
    a = activations(stage)
    channels = a.shape[-1]
    values = -jnp.arange(BATCH * channels, dtype=jnp.float32).reshape(BATCH, channels)
    scores = jax.jit(
        lambda a: ablated_scores(same, suffix_of(NETWORK, VARIABLES, stage), a, values, target=TARGET, group=group)
    )
    found, suffix = scores(a), compiled(NETWORK, after=stage)
    expected = np.zeros((BATCH, channels))
    for image, channel in np.ndindex(BATCH, channels):
        ablated = np.array(a[image : image + 1])
        ablated[..., channel] = values[image, channel]
        expected[image, channel] = scored(suffix(VARIABLES, ablated), image)
    assert np.ptp(expected, axis=1).min() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.end_to_end
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_ablated_scores_where_the_suffix_begins_pointwise(stage):
    """Behind stage1 an MBConv that expands, behind stage2 the head: one run of these serves all channels."""
    network = EfficientNet(3, table=(StageSpec(True, 1, 2, 6, 1), StageSpec(False, 4, 2, 10, 1)), stem=8, head=12)
    assert network.pointwise_after == ("stage1", "stage2")
    given = jax.jit(network.init)(jax.random.key(0), IMAGES)
    given = {  # strong layers, whose batch norms have offsets
        "params": jax.tree.map(lambda leaf: 3 * leaf, given["params"]),
        "batch_stats": jax.tree.map(lambda leaf: leaf + 0.3, given["batch_stats"]),
    }
    a = network.apply(given, IMAGES, until=stage)
    needs = frozenset({"ablated_scores", "pgc_ablated_scores"})
    identities = jnp.arange(BATCH)
    made = jax.jit(
        partial(
            gather, network, stages=(stage,), needs=needs, seeds=1, chunk=4 * BATCH, platform="cpu", registered=False
        )
    )
    found = made(given, IMAGES, TARGET, identities)[1][stage]
    suffix = jax.jit(suffix_of(network, given, stage))
    pgc = np.stack([pgc_ablation(x) for x in a])
    wanted = {"ablated_scores": np.zeros_like(pgc), "pgc_ablated_scores": pgc}
    for name, values in wanted.items():
        expected = np.zeros_like(values)
        for image, channel in np.ndindex(values.shape):
            ablated = a[image : image + 1].at[..., channel].set(values[image, channel])
            expected[image, channel] = scored(suffix(ablated), image)
        assert np.ptp(expected, axis=1).min() > 1e-3
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def half_pixel(values, height, width, shift=0.0):
    """Bilinear interpolation of (h, w) with half-pixel centres, moved by `shift` cells, one pixel at a time."""
    h, w = values.shape
    out = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        y = np.clip((i + 0.5) * h / height - 0.5 - shift, 0, h - 1)
        x = np.clip((j + 0.5) * w / width - 0.5 - shift, 0, w - 1)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
        top = values[y0, x0] * (1 - (x - x0)) + values[y0, x1] * (x - x0)
        bottom = values[y1, x0] * (1 - (x - x0)) + values[y1, x1] * (x - x0)
        out[i, j] = top * (1 - (y - y0)) + bottom * (y - y0)
    return out


@pytest.mark.parametrize(("stage", "group", "shift"), [("stage1", 2, 0.0), ("stage3", 3, -0.4375)])
def test_masked_scores_are_those_of_a_loop(stage, group, shift):
    a = activations(stage)
    found = jax.jit(lambda a: masked_scores(WHOLE, IMAGES, a, target=TARGET, group=group, shift=shift))(a)
    channels = a.shape[-1]
    masked = np.zeros((BATCH, channels, *IMAGES.shape[1:]), np.float32)
    for image, channel in np.ndindex(BATCH, channels):
        mask = half_pixel(np.asarray(a[image, ..., channel]), *IMAGES.shape[1:3], shift)
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-8)
        masked[image, channel] = IMAGES[image] * mask[..., None]
    whole = compiled(NETWORK)
    expected = np.array([[scored(whole(VARIABLES, x[None]), i) for x in one] for i, one in enumerate(masked)])
    assert np.ptp(expected, axis=1).min() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_registered_masks_are_drawn_where_cells_look():
    needs = frozenset({"masked_scores", "groups", "group_gains", "optimised_weights"})
    options = {"stages": ("stage2",), "needs": needs | {"gradients"}, "seeds": 1, "chunk": 64, "platform": "cpu"}
    made = jax.jit(partial(gather, NETWORK, **options, registered=True))
    found = made(VARIABLES, IMAGES, TARGET, jnp.arange(BATCH))[1]["stage2"]
    shift = -(1 - 1 / 4) / 2  # a stride of 4 pixels, padded alike on both sides
    a, g = found.activations, found.gradients

    @jax.jit
    def expected(a, g):
        groups = channel_groups(a, g, IMAGES.shape[1:3], shift)
        under = {"target": TARGET, "group": 64, "shift": shift}
        scores, gains = masked_scores(WHOLE, IMAGES, a, **under), group_gains(WHOLE, IMAGES, groups, **under)
        return scores, groups, gains, optimised_weights(WHOLE, IMAGES, a, TARGET, shift)

    for name, one in zip(("masked_scores", "groups", "group_gains", "optimised_weights"), expected(a, g), strict=True):
        np.testing.assert_allclose(getattr(found, name), one, rtol=1e-4, atol=1e-5, err_msg=name)


def test_masks_of_dead_channels_hide_everything():
    dead = jnp.zeros((BATCH, 4, 6, 2)).at[..., 1].set(3.0)
    found = jax.jit(lambda a: masked_scores(WHOLE, IMAGES, a, target=TARGET, group=8))(dead)
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
            suffix = suffix_of(network, {"params": params}, "stage1")
            return ablated_scores(same, suffix, a, zeros, target=target, group=group)

        return jax.jit(scores).lower(shapes, wide).compile().memory_analysis().temp_size_in_bytes

    one = 8 * 12 * 5 * 64 * 4
    assert temporary(4) < 12 * one  # the 320 ablated inputs would be 320


def test_ablated_scores_without_a_run_where_the_score_is_linear():
    a = activations("stage3")
    weights = jax.random.normal(jax.random.key(3), (BATCH, a.shape[-1]))
    values = jax.random.normal(jax.random.key(4), (BATCH, a.shape[-1]))
    linear = jax.vmap(lambda a, w: jnp.sum(a.mean((0, 1)) * w) + 0.7)
    gradients = jax.grad(lambda a: linear(a, weights).sum())(a)
    found = linear_ablated_scores(a, gradients, values, linear(a, weights))
    for channel in range(a.shape[-1]):
        ablated = a.at[..., channel].set(values[:, channel, None, None])
        np.testing.assert_allclose(found[:, channel], linear(ablated, weights), atol=1e-5)


@pytest.mark.end_to_end
@pytest.mark.parametrize(("name", "stage"), [("resnet18", "stage4"), ("efficientnet_v2_s", "head")])
def test_the_last_stage_of_each_network_is_linear(name, stage):
    """Its suffix, run on the ablated activations, gives what the closed form does."""
    network = create(name, 3)
    assert network.linear_after == stage
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["perturbations"][stage]
    a = jax.random.normal(jax.random.key(1), (BATCH, *shapes.shape[1:]))
    inputs = {"kernel": jax.random.normal(jax.random.key(2), (a.shape[-1], 3)), "bias": jnp.arange(3.0)}
    given = {"params": {"fc" if name == "resnet18" else "classifier_1": inputs}}

    def total(a):
        logits = network.apply(given, a, after=stage)
        scores = jax.vmap(score)(logits, TARGET)
        return scores.sum(), scores

    gradients, scores = jax.grad(total, has_aux=True)(a)
    values = jnp.ones((BATCH, a.shape[-1]))
    run = ablated_scores(same, suffix_of(network, given, stage), a, values, target=TARGET, group=64)
    np.testing.assert_allclose(linear_ablated_scores(a, gradients, values, scores), run, atol=1e-4)


@pytest.mark.parametrize("group", [1, 5, 100])
def test_position_scores_are_those_of_a_loop(group):
    stage = "stage2"
    a = np.asarray(activations(stage))
    gaussian = np.outer([1, 2, 1], [1, 2, 1]) / 16
    height, width = a.shape[1:3]
    suffix = compiled(NETWORK, after=stage)
    expected = np.zeros((BATCH, height, width))
    for image, row, column in np.ndindex(BATCH, height, width):
        seen = np.zeros((height + 2, width + 2))
        seen[row : row + 3, column : column + 3] = gaussian
        part = a[image : image + 1] * seen[1:-1, 1:-1, None]
        expected[image, row, column] = scored(suffix(VARIABLES, part), image)
    found = jax.jit(lambda a: position_scores(suffix_of(NETWORK, VARIABLES, stage), a, target=TARGET, group=group))(a)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_reciprocam_keeps_the_order_of_negative_scores():
    scores = jnp.array([[-3.0, -2.0], [-5.0, -2.5]])
    found = METHODS["reciprocam"].fn(Inputs(jnp.zeros((2, 2, 1)), position_scores=scores))
    np.testing.assert_allclose(found, [[2, 3], [0, 2.5]])


def test_cfdcam_weighs_by_confidence():
    a = jnp.arange(8.0).reshape(2, 2, 2)
    found = METHODS["cfdcam"].fn(Inputs(a, masked_scores=jnp.array([0.0, np.log(3)])))
    np.testing.assert_allclose(found, 0.5 * a[..., 0] + 0.75 * a[..., 1], rtol=1e-6)


def test_channel_groups_are_those_of_a_loop(monkeypatch):
    """Seven channels in three groups: 3, 3 and 1. What is not above the 70th percentile is left out."""
    monkeypatch.setattr(masks, "GROUPS", 3)
    a = np.asarray(jax.random.normal(jax.random.key(7), (2, 5, 6, 7)))
    g = np.asarray(jax.random.normal(jax.random.key(8), (2, 5, 6, 7)))
    found = channel_groups(jnp.asarray(a), jnp.asarray(g), (20, 24))
    for image, (group, members) in itertools.product(range(2), enumerate([(0, 1, 2), (3, 4, 5), (6,)])):
        weights = g[image].mean((0, 1))
        mask = np.maximum(sum(weights[k] * a[image, :, :, k] for k in members), 0)
        mask = np.where(mask > np.percentile(mask, 70), mask, 0)
        full = half_pixel(mask, 20, 24)
        np.testing.assert_allclose(found[image, :, :, group], mask / full.max(), atol=1e-5)
    assert np.isfinite(channel_groups(jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 4, 4, 3)), (8, 8))).all()


def test_group_gains_are_over_the_blurred_image():
    groups = jax.random.uniform(jax.random.key(9), (BATCH, 4, 6, 2))
    found = jax.jit(lambda x: group_gains(WHOLE, x, groups, target=TARGET, group=64))(IMAGES)
    window = np.exp(-0.5 * (np.arange(-25, 26) / 50) ** 2)
    blurred = np.asarray(IMAGES)
    for axis in (1, 2):
        blurred = ndimage.convolve1d(blurred, window / window.sum(), axis=axis, mode="mirror")
    run = compiled(NETWORK)
    for image, group in np.ndindex(BATCH, 2):
        mask = half_pixel(np.asarray(groups[image, :, :, group]), *IMAGES.shape[1:3])[..., None]
        mixed = mask * np.asarray(IMAGES[image]) + (1 - mask) * blurred[image]
        gain = scored(run(VARIABLES, mixed[None]), image) - scored(run(VARIABLES, blurred[image : image + 1]), image)
        np.testing.assert_allclose(found[image, group], gain, atol=1e-4)


def masked_score(weights, a, image):
    """The score of an image under the weighted sum of its channels."""
    mask = half_pixel(np.einsum("hwk,k->hw", np.asarray(a[image], np.float64), weights), *IMAGES.shape[1:3])
    mask = (mask - mask.min()) / (mask.max() - mask.min())
    return float(scored(compiled(NETWORK)(VARIABLES, IMAGES[image : image + 1] * mask[None, ..., None]), image))


def test_opticam_raises_the_score():
    """Above that of equal weights and of any single channel with which ScoreCAM would begin."""
    a = activations("stage2")
    found = np.asarray(jax.jit(lambda x, a: optimised_weights(WHOLE, x, a, TARGET))(IMAGES, a))
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    equal = np.full(a.shape[-1], 1 / a.shape[-1])
    gains = [masked_score(found[image], a, image) - masked_score(equal, a, image) for image in range(BATCH)]
    assert min(gains) > 0.01, gains
