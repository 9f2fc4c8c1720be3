"""Insertion, deletion and change of confidence, by hand and by plain numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from hemojax import compilation
from hemojax.metrics import faithfulness

compiled = partial(jax.jit, compiler_options=compilation.options("cpu"))
IMAGE = jnp.array([[8, 4], [2, 1]], np.float32)[..., None]
VALUE = jnp.zeros(1)


def total(images):
    return jnp.sum(images, axis=(1, 2, 3))


def test_deletion_by_hand():
    # 15, then without 8, 4, 2 and 1: 7, 3, 1, 0
    best = faithfulness.deletion(total, IMAGE, jnp.array([[0.9, 0.5], [0.2, 0.1]]), VALUE, 4)
    assert best == (15 / 2 + 7 + 3 + 1 + 0 / 2) / 4
    # in the other order: 14, 12, 8, 0
    worst = faithfulness.deletion(total, IMAGE, jnp.array([[0.1, 0.2], [0.5, 0.9]]), VALUE, 4)
    assert worst == (15 / 2 + 14 + 12 + 8 + 0 / 2) / 4
    # two pixels a step, to a value of their own
    assert (
        faithfulness.deletion(total, IMAGE, jnp.array([[0.9, 0.5], [0.2, 0.1]]), VALUE + 1, 2) == (15 / 2 + 5 + 2) / 2
    )


def test_insertion_by_hand():
    start = jnp.full_like(IMAGE, 3)
    # 12, then 8, 4, 2, 1 in the place of a 3 each: 17, 18, 17, 15
    found = faithfulness.insertion(total, IMAGE, jnp.array([[0.9, 0.5], [0.2, 0.1]]), start, 4)
    assert found == (12 / 2 + 17 + 18 + 17 + 15 / 2) / 4


def test_equal_pixels_go_in_row_order():
    ranks = faithfulness.ranks(jnp.array([[0.0, 0.5, 0.0], [0.5, 1.0, 0.0]]))
    np.testing.assert_array_equal(ranks, [[3, 1, 4], [2, 0, 5]])


def test_curves_are_numpys_for_many_maps():
    rng = np.random.default_rng(0)
    images, heats = rng.random((2, 7, 9, 3)).astype(np.float32), rng.random((2, 7, 9)).astype(np.float32)
    weights, value, steps = rng.normal(size=(7, 9, 3)).astype(np.float32), jnp.array([0.1, -0.2, 0.3]), 5

    def score(images):
        return jax.nn.sigmoid(jnp.sum(images * weights, axis=(1, 2, 3)))

    start = np.asarray(jax.vmap(partial(faithfulness.blurred, sigma=2.0))(images))
    deleted = compiled(jax.vmap(lambda i, h: faithfulness.deletion(score, i, h, value, steps)))(images, heats)
    inserted = compiled(jax.vmap(lambda i, h, s: faithfulness.insertion(score, i, h, s, steps)))(images, heats, start)
    for n in range(2):
        order = np.argsort(-heats[n].ravel())
        curves = {"deleted": [], "inserted": []}
        for step in range(steps + 1):
            hottest = np.zeros(63, bool)
            hottest[order[: 63 * step // steps]] = True
            hottest = hottest.reshape(7, 9, 1)
            curves["deleted"].append(np.where(hottest, value, images[n]))
            curves["inserted"].append(np.where(hottest, images[n], start[n]))
        for found, curve in ((deleted, curves["deleted"]), (inserted, curves["inserted"])):
            scores = 1 / (1 + np.exp(-np.sum(np.stack(curve).astype(np.float64) * weights, axis=(1, 2, 3))))
            np.testing.assert_allclose(found[n], np.trapezoid(scores, dx=1 / steps), rtol=1e-5)


def test_change_of_confidence_by_hand():
    def confidence(images):
        return total(images) / 20

    heat = jnp.array([[0.5, 0.0], [0.0, 1.0]])
    lost = faithfulness.confidence_change(confidence, IMAGE, heat, VALUE)  # 15 becomes 5
    np.testing.assert_allclose(lost, (10 / 15, 0), rtol=1e-6)
    # black is -6, so that the image becomes 1, -6, -6, 1
    lost = faithfulness.confidence_change(confidence, IMAGE, heat, VALUE - 6)
    np.testing.assert_allclose(lost, (25 / 15, 0), rtol=1e-6)
    gained = faithfulness.confidence_change(confidence, -IMAGE + 5, heat, VALUE)  # 5 becomes 2.5
    np.testing.assert_allclose(gained, (0.5, 0), rtol=1e-6)
    gained = faithfulness.confidence_change(confidence, -IMAGE + 5, jnp.array([[0.0, 1.0], [1.0, 1.0]]), VALUE)
    np.testing.assert_allclose(gained, (0, 1), rtol=1e-6)  # 5 becomes 8
    nothing = faithfulness.confidence_change(lambda images: 0 * total(images), IMAGE, heat, VALUE)
    np.testing.assert_array_equal(nothing, (0, 0))


def test_blurring_is_scipys():
    image = np.random.default_rng(0).random((11, 17, 2)).astype(np.float32)
    expected = ndimage.gaussian_filter(image.astype(np.float64), (3, 3, 0), mode="mirror")
    np.testing.assert_allclose(faithfulness.blurred(jnp.asarray(image), 3.0), expected, atol=1e-6)
