import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data import pillow_augmentation
from ml_collections import ConfigDict
from scipy import ndimage, stats

from hemojax.data import augmentation

STILL = {"flip_i": 0.0, "flip_j": 0.0, "affine": 0.0, "shift": 0.1, "scale": 0.25, "rotate": 20.0}
SIZE = 40


def pictures(number, windows=2):
    rng = np.random.default_rng(0)
    values = rng.random((number, SIZE, SIZE, windows)).astype(np.float32)
    return ndimage.gaussian_filter(values, (0, 1, 1, 0))


def changes(number, options):
    keys = jax.random.split(jax.random.key(0), number)
    return jax.jit(jax.vmap(lambda key: augmentation.draw(key, options)))(keys)


def test_same_law_as_pillow_on_the_same_random_numbers():
    images = pictures(64)
    drawn = changes(64, ConfigDict(STILL | {"flip_i": 0.5, "flip_j": 0.5, "affine": 0.7}))
    ours = np.asarray(jax.jit(jax.vmap(augmentation.apply))(images, drawn))
    kinds = set()
    for n, image in enumerate(images):
        change = jax.tree.map(lambda leaf, n=n: np.asarray(leaf[n]), drawn)
        theirs = pillow_augmentation.augmented(image, *change)
        # A pixel whose place is the image's very edge comes from inside of it or not, as float32 or float64 rounds.
        differs = np.abs(ours[n] - theirs) > 1e-5
        assert differs.sum() <= 2, (n, change)
        kinds.add((bool(change.flip_i), bool(change.flip_j), bool(change.moved)))
    assert len(kinds) == 8


def test_flips_go_along_their_axes():
    (image,) = pictures(1)
    for options, expected in (({"flip_i": 1.0}, image[::-1]), ({"flip_j": 1.0}, image[:, ::-1])):
        drawn = augmentation.draw(jax.random.key(0), ConfigDict(STILL | options))
        np.testing.assert_array_equal(augmentation.apply(jnp.asarray(image), drawn), expected)


def test_affine_is_scipys():
    (image,) = pictures(1)
    angle, zoom, shift = 0.2, 1.1, (2.0, -3.0)
    ours = augmentation.transformed(
        jnp.asarray(image), jnp.float32(angle), jnp.float32(zoom), jnp.float32(shift) / SIZE
    )
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    inverse = np.array([[c, -s], [s, c]])
    centre = np.full(2, (SIZE - 1) / 2)
    offset = centre - inverse @ (centre + shift)
    theirs = np.stack([ndimage.affine_transform(image[..., k], inverse, offset, order=1) for k in range(2)], axis=-1)
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-4)


@pytest.mark.parametrize("name", ["flip_i", "flip_j", "moved"])
def test_chances_are_those_asked_for(name):
    drawn = changes(4000, ConfigDict(STILL | {"flip_i": 0.2, "flip_j": 0.5, "affine": 0.8}))
    chance = {"flip_i": 0.2, "flip_j": 0.5, "moved": 0.8}[name]
    assert float(np.mean(getattr(drawn, name))) == pytest.approx(chance, abs=4 * math.sqrt(0.25 / 4000))


def test_affine_changes_are_uniform_and_independent():
    drawn = changes(4000, ConfigDict(STILL | {"affine": 1.0}))
    found = np.stack([np.degrees(drawn.angle) / 20, (drawn.zoom - 1) / 0.25, *(np.asarray(drawn.shift).T / 0.1)])
    for numbers in found:
        assert stats.kstest(numbers, "uniform", (-1, 2)).pvalue > 1e-3
    assert np.abs(np.corrcoef(found) - np.eye(4)).max() < 0.08


def test_a_slice_varies_with_epoch_and_number_and_not_otherwise():
    images = np.repeat(pictures(1), 4, axis=0)
    options = ConfigDict(STILL | {"affine": 1.0})

    def variants(numbers, epoch, seed=0):
        key = jax.random.key(seed)
        return np.asarray(
            augmentation.augment(jnp.asarray(images), jnp.asarray(numbers), jnp.int32(epoch), key, options)
        )

    first = variants([3, 5, 3, 8], 2)
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[[1, 0, 3, 2]], variants([5, 3, 8, 3], 2))  # wherever it is in the batch
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], variants([3, 5, 3, 8], 3)[0])
    assert not np.array_equal(first[0], variants([3, 5, 3, 8], 2, seed=1)[0])
