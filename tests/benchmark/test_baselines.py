import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.morphology import convex_hull_image

from hemojax.benchmark import baselines

SIDE = 128
ROW, COLUMN = np.indices((SIDE, SIDE))
RADIUS = np.hypot(ROW - 60, COLUMN - 64)
INSIDE = RADIUS < 36
BLEED = np.hypot(ROW - 55, COLUMN - 75) < 8


def head(brain=30.0, bone=1000.0, air=-1000.0):
    """A round head: scalp, skull, brain, a bleed of 70 HU, and a thin head holder below."""
    hu = np.full((SIDE, SIDE), air)
    hu[RADIUS < 46] = 40
    hu[RADIUS < 42] = bone
    hu[INSIDE] = brain
    hu[BLEED] = 70
    hu[118:120] = bone
    return hu


@pytest.mark.parametrize("window", [(-1024, 3000), (-20, 100), (0, 80)])
def test_the_mask_is_what_the_skull_encloses_in_any_window(window):
    assert (baselines.intracranial_mask(np.clip(head(), *window)) == INSIDE).mean() > 0.995


def test_whole_numbers_will_do():
    np.testing.assert_array_equal(
        baselines.intracranial_mask(head().astype(np.int16)), baselines.intracranial_mask(head())
    )


@pytest.mark.parametrize("hu", [np.full((32, 32), -1000.0), np.full((32, 32), 40.0), np.full((32, 32), 100.0)])
def test_without_a_skull_every_map_is_empty(hu):
    assert not baselines.intracranial_mask(hu).any()
    assert not baselines.hu_threshold_map(hu).any()
    assert not baselines.whole_brain_map(hu).any()


def test_bright_specks_alone_are_no_skull():
    hu = np.full((64, 64), 0.0)
    hu[10, 10] = hu[50, 50] = 300
    assert not baselines.intracranial_mask(hu).any()


@pytest.mark.parametrize("width", [3, 7, 40])
def test_an_open_skull_is_closed(width):
    opened = (abs(ROW - 60) < width / 2) & (COLUMN > 64) & (RADIUS >= 36) & (RADIUS < 42)
    hu = np.where(opened, 40, head())
    found = baselines.intracranial_mask(hu)
    assert (found & INSIDE).sum() > 0.98 * INSIDE.sum()
    assert (found & ~INSIDE).sum() < 0.1 * INSIDE.sum()


def test_a_speck_of_saturated_blood_stays_inside_and_an_air_cell_does_not():
    hu = np.clip(head(), 0, 80)
    hu[60, 50:52] = 80
    hu[70:82, 50:70] = 80
    hu[72:80, 52:68] = 0
    found = baselines.intracranial_mask(hu)
    assert found[60, 50:52].all()
    assert not found[72:80, 52:68].any()


def test_the_hu_map_is_hu_over_100_inside_and_0_along_the_bone():
    heat = baselines.hu_threshold_map(head())
    assert heat.dtype == np.float32
    assert heat[60, 40] == pytest.approx(0.3, abs=1e-3)
    assert heat[55, 75] == pytest.approx(0.7, abs=1e-3)
    assert heat.max() < 0.701  # bone does not shine in
    assert not heat[RADIUS >= 35].any()
    np.testing.assert_array_equal((heat > 0.5) & ~BLEED, False)
    assert ((heat > 0.5) & BLEED).sum() > 0.9 * BLEED.sum()


def test_the_whole_brain_is_one_inside():
    heat = baselines.whole_brain_map(head())
    np.testing.assert_array_equal(heat, baselines.intracranial_mask(head()))
    assert heat.dtype == np.float32


def test_turning_the_head_turns_the_maps():
    hu = head()
    np.testing.assert_array_equal(baselines.intracranial_mask(hu.T), baselines.intracranial_mask(hu).T)
    np.testing.assert_allclose(baselines.hu_threshold_map(hu[::-1]), baselines.hu_threshold_map(hu)[::-1], atol=1e-6)


def test_the_mean_mask():
    masks = np.zeros((4, 2, 2), bool)
    masks[:, 0, 0], masks[:2, 0, 1], masks[:1, 1, 0] = True, True, True
    np.testing.assert_allclose(baselines.mean_mask_map(masks), [[1, 0.5], [0.25, 0]])
    masks[:, 1, 1] = masks[:2, 1, 0] = True  # nothing is 0 any more: the least often becomes 0
    np.testing.assert_allclose(baselines.mean_mask_map(masks), [[1, 0], [0, 1]])
    assert not baselines.mean_mask_map(np.ones((2, 3, 3), bool)).any()


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(bool, (9, 8)).filter(np.any))
def test_the_convex_hull_is_scikit_images(mask):
    ours, theirs = baselines._convex_hull(mask), convex_hull_image(mask)
    # Ours spans the pixels' corners, theirs the middles of their edges: it may be wider, but by less than a pixel.
    assert ours[theirs].all()
    assert ndimage.binary_dilation(theirs, np.ones((3, 3)))[ours].all()
