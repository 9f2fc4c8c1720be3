import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import random_walker

from hemojax.data import inpainting, midline

ROW, COLUMN = np.indices((96, 96)).astype(np.float64)


def disk(row, column, radius):
    return np.hypot(ROW - row, COLUMN - column) <= radius


def head(noise=0.0):
    """A round head of 30 HU inside bone and air, the same on both sides of column 47.5."""
    hu = np.where(np.hypot(ROW - 48, COLUMN - 47.5) < 40, 1000.0, -1000.0)
    inside = np.hypot(ROW - 48, COLUMN - 47.5) < 36
    hu[inside] = 30 + 6 * np.cos(ROW / 9)[inside]
    noisy = hu + np.random.default_rng(1).normal(0, noise, hu.shape) if noise else hu
    return np.where(inside, noisy, hu)


def test_a_row_of_pixels_is_filled_by_hand():
    values, region = np.array([[10.0, 99, 99, 99, 50]]), np.array([[False, True, True, True, False]])
    np.testing.assert_allclose(inpainting.harmonic_fill(values, region, ~region), [[10, 20, 30, 40, 50]])
    # Through the last pixel nothing flows any more: the first is all that is known.
    known = np.array([[True, False, False, False, False]])
    np.testing.assert_allclose(inpainting.harmonic_fill(values, region, known), [[10, 10, 10, 10, 50]])


def test_a_ramp_is_its_own_fill():
    ramp = 5 + 0.3 * ROW + 0.4 * COLUMN
    region = disk(40, 50, 17) & ~disk(45, 50, 5)
    filled = inpainting.harmonic_fill(np.where(region, 70, ramp), region, ~region)
    np.testing.assert_allclose(filled, ramp, rtol=0, atol=1e-9)


def test_the_harmonic_fill_is_scikit_images_random_walker():
    # With 0 and 1 as the only known values, Laplace's solution is the walker's probability to meet a 1 first; it can
    # neither enter nor leave pixels that are not known (label -1).
    rng = np.random.default_rng(0)
    region = (disk(40, 40, 9) | disk(50, 47, 6))[25:65, 25:65]
    blocked = (disk(30, 45, 8) | disk(46, 38, 3))[25:65, 25:65] & ~(region & ~disk(46, 38, 3)[25:65, 25:65])
    region &= ~blocked
    ones = rng.random(region.shape) < 0.4
    labels = np.where(region, 0, np.where(blocked, -1, np.where(ones, 1, 2)))
    theirs = random_walker(rng.random(region.shape), labels, beta=0, mode="bf", return_full_prob=True)[0]
    ours = inpainting.harmonic_fill(ones.astype(float), region, ~region & ~blocked)
    np.testing.assert_allclose(ours[region], theirs[region], rtol=0, atol=1e-9)


def test_what_touches_nothing_known_takes_the_median():
    region, known = np.zeros((5, 9), bool), np.zeros((5, 9), bool)
    region[2, 2], known[0, 6:9] = True, True
    values = np.where(known, [[0, 0, 0, 0, 0, 0, 20.0, 30, 70]], 99)
    assert inpainting.harmonic_fill(values, region, known)[2, 2] == 30
    np.testing.assert_array_equal(inpainting.harmonic_fill(values, region, ~(region | True)), values)


@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_a_bleed_with_its_rim_vanishes_and_nothing_else_changes(dtype):
    hu, bleed = head(), disk(45, 25, 6)
    bleeding = np.where(bleed, 75, hu)
    bleeding[disk(45, 25, 7) & ~bleed] = 55  # partial volume, outside of the mask
    filled = inpainting.fill_from_surroundings(bleeding.astype(dtype), bleed)
    assert filled.dtype == np.float32
    assert abs(filled - hu)[disk(45, 25, 7)].max() < 3
    far = ~disk(45, 25, 7.5)
    np.testing.assert_array_equal(filled[far], bleeding.astype(dtype).astype(np.float32)[far])


def test_bone_and_air_do_not_leak_into_a_bleed_beside_them():
    hu = head()
    bleed = disk(48, 14, 5) & (np.hypot(ROW - 48, COLUMN - 47.5) < 36)  # along the bone
    filled = inpainting.fill_from_surroundings(np.where(bleed, 75, hu), bleed)
    assert filled[bleed].max() < 37
    assert filled[bleed].min() > 23
    np.testing.assert_array_equal(filled[hu == 1000], 1000)


@pytest.mark.parametrize("width", [0, 0.8])
def test_the_fill_has_the_noise_of_its_surroundings(width):
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal((512, 512)), width)
    hu = 35 + 4 * noise / noise.std()
    mask = np.hypot(*(np.indices(hu.shape) - 256)) < 60
    filled = inpainting.fill_from_surroundings(np.where(mask, 70, hu), mask)
    core = np.s_[226:286, 226:286]  # the smooth part of the fill is about constant there
    assert filled[core].std() == pytest.approx(4, rel=0.1)
    neighbours = np.corrcoef(filled[core][1:].ravel(), filled[core][:-1].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-0.25 / width**2) if width else 0, abs=0.1)


def test_the_noise_is_the_seeds():
    hu, mask = head(noise=3), disk(45, 25, 6)
    one, same, other = (inpainting.fill_from_surroundings(hu, mask, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_an_empty_mask_or_a_slice_of_bone_stays_as_it_is():
    hu, none = head().astype(np.float32), np.zeros((96, 96), bool)
    line = midline.find(hu, 1)
    for slice_, mask in ((hu, none), (np.full((96, 96), 500.0), disk(45, 25, 6))):
        np.testing.assert_array_equal(inpainting.fill_from_surroundings(slice_, mask), slice_)
        np.testing.assert_array_equal(inpainting.fill_from_other_side(slice_, mask, line), slice_)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_symmetric_head_is_restored_by_its_other_side(axis):
    hu, bleed = head(), disk(45, 25, 8)
    hu[disk(45, 25, 3) | disk(45, 70, 3)] = 15  # on both sides, so that the surroundings cannot know it
    whole, bleeding, mask = (x if axis else x.T for x in (hu, np.where(bleed, 75, hu), bleed))
    line = midline.Midline((0.0, 1.0) if axis else (1.0, 0.0), 47.5)
    filled = inpainting.fill_from_other_side(bleeding, mask, line)
    np.testing.assert_allclose(filled, whole, rtol=0, atol=1e-4)


def test_where_both_sides_bleed_the_surroundings_fill():
    hu, mask = head(), disk(45, 25, 6) | disk(45, 70, 6)
    filled = inpainting.fill_from_other_side(np.where(mask, 75, hu), mask, midline.Midline((0.0, 1.0), 47.5))
    np.testing.assert_array_equal(filled, inpainting.fill_from_surroundings(np.where(mask, 75, hu), mask))
