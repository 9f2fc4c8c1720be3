import numpy as np
import pytest

from hemojax.data import hounsfield


def test_brain_window():
    hu = np.array([[-1000, 0, 20], [40, 80, 2000]], np.int16)
    np.testing.assert_allclose(hounsfield.apply_window(hu, (40.0, 80.0)), [[0, 0, 0.25], [0.5, 1, 1]], atol=1e-7)


def test_windowing_comes_before_resizing():
    hu = np.zeros((8, 8), np.int16)
    hu[:, 4:] = 2000
    image = hounsfield.grey(hu, 4, ((40.0, 80.0),), per_slice_minmax=False)[..., 0]
    # The edge lies between two result pixels; had HU been averaged first, its low side would be white as well.
    assert image[:, 1].max() < 0.3
    assert image[:, 2].min() > 0.7


def test_several_windows_are_channels():
    hu = np.full((4, 4), 60, np.int16)
    image = hounsfield.grey(hu, 4, ((40.0, 80.0), (80.0, 200.0), (40.0, 380.0)), per_slice_minmax=False)
    np.testing.assert_allclose(image[0, 0], [0.75, 0.4, 0.5 + 20 / 380], atol=1e-6)
    assert hounsfield.channels(1) == 3
    assert hounsfield.normalise(image[..., :2], "imagenet").shape == (4, 4, 2)


def test_per_slice_minmax_has_256_steps():
    rng = np.random.default_rng(0)
    image = hounsfield.grey(rng.integers(20, 60, (8, 8)).astype(np.int16), 8, ((40.0, 80.0),), per_slice_minmax=True)
    assert image.min() == 0
    assert image.max() == 1
    np.testing.assert_allclose(image * 255, np.round(image * 255), atol=1e-4)
    constant = hounsfield.grey(np.full((4, 4), 30, np.int16), 4, ((40.0, 80.0),), per_slice_minmax=True)
    assert np.isfinite(constant).all()


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (7, 7)])
def test_crop_undoes_pad(shape):
    image = np.arange(shape[0] * shape[1]).reshape(shape)
    square = hounsfield.pad_square(image, -1.0)
    assert square.shape == (max(shape), max(shape))
    np.testing.assert_array_equal(hounsfield.crop_square(square, shape), image)


def test_normalisation_is_that_of_imagenet():
    image = np.full((2, 2, 1), 0.485, np.float32)
    np.testing.assert_allclose(hounsfield.normalise(image, "imagenet")[0, 0, 0], 0, atol=1e-7)
    np.testing.assert_allclose(hounsfield.normalise(image, "imagenet")[0, 0, 1], (0.485 - 0.456) / 0.224, rtol=1e-5)


@pytest.mark.parametrize(("channels", "result"), [(1, 3), (2, 2), (3, 3)])
def test_tensorflows_normalisation_treats_channels_alike(channels, result):
    grey = np.array([0, 127 / 255, 1], np.float32).reshape(1, 3, 1)
    found = hounsfield.normalise(np.repeat(grey, channels, axis=-1).repeat(3, axis=0), "tensorflow")
    assert found.dtype == np.float32
    assert found.shape == (3, 3, result)
    for channel in np.moveaxis(found, -1, 0):
        np.testing.assert_allclose(channel[0], [-127 / 128, 0, 1], atol=1e-6)


def test_air_stays_zero_where_asked():
    image = np.zeros((2, 2, 1), np.float32)
    image[0, 0] = 1
    found = hounsfield.normalise(image, "air_zero")
    assert found.shape == (2, 2, 3)
    assert not found[0, 1].any()
    np.testing.assert_allclose(found[0, 0], 1 / np.array([0.229, 0.224, 0.225]), rtol=1e-6)


def test_mask_resizing_takes_the_pixel_under_the_centre():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:4] = True
    half = hounsfield.resize_mask(mask, 3)
    assert half.tolist() == [[False] * 3, [False, True, False], [False] * 3]
    double = hounsfield.resize_mask(mask, 12)
    assert double.sum() == 4 * mask.sum()
    np.testing.assert_array_equal(double[4:8, 4:8], True)
