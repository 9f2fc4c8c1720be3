import math

import numpy as np
from ml_collections import ConfigDict
from scipy import ndimage

from hemojax.data import augmentation

STILL = {"flip_i": 0.0, "flip_j": 0.0, "affine": 0.0, "shift": 0.1, "scale": 0.1, "rotate": 15.0}


def picture():
    rng = np.random.default_rng(0)
    return ndimage.gaussian_filter(rng.random((40, 40, 2)).astype(np.float32), (3, 3, 0))


def test_flips_go_along_their_axes():
    image, rng = picture(), np.random.default_rng(0)
    np.testing.assert_array_equal(augmentation.augment(image, rng, ConfigDict(STILL | {"flip_i": 1.0})), image[::-1])
    np.testing.assert_array_equal(augmentation.augment(image, rng, ConfigDict(STILL | {"flip_j": 1.0})), image[:, ::-1])


def test_affine_is_scipys():
    image, angle, zoom, shift = picture(), 0.2, 1.1, (2.0, -3.0)
    ours = augmentation.affine(image, angle, zoom, shift)
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    inverse = np.array([[c, -s], [s, c]])
    centre = np.full(2, (40 - 1) / 2)
    offset = centre - inverse @ (centre + shift)
    theirs = np.stack([ndimage.affine_transform(image[..., k], inverse, offset, order=1) for k in range(2)], axis=-1)
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-3)


def test_same_generator_same_picture():
    options = ConfigDict(STILL | {"affine": 1.0})
    one, two = (augmentation.augment(picture(), np.random.default_rng(3), options) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, augmentation.augment(picture(), np.random.default_rng(4), options))
