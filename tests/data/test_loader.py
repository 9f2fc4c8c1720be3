"""Batches: shuffled anew each epoch and the same when started again; ordered, padded and masked for evaluation."""

import numpy as np
import pytest
from data.folders import generic

from configs import base
from hemojax.data import loader, records
from hemojax.data.case import BHSD_SUBTYPES
from hemojax.data.datasets import LAYOUTS

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = generic(tmp_path_factory.mktemp("set"), cases=10)
    folder = tmp_path_factory.mktemp("work") / "records"
    fractions = {"train": 0.5, "validation": 0.25, "test": 0.25}
    records.prepare(folder, LAYOUTS["generic"](root, BHSD_SUBTYPES), fractions, {})
    return folder


@pytest.fixture(scope="module")
def data():
    config = base.get_config().data
    config.size = SIZE
    return config


def plain(data):
    """The config without augmentation, so that an image tells which slice it is."""
    data = data.copy_and_resolve_references()
    data.augmentation.flip_i = data.augmentation.flip_j = data.augmentation.affine = 0.0
    return data


def test_an_epoch_shows_every_slice_once_in_another_order(folder, data):
    slices = len(records.read_index(folder, "train"))
    batch = 4
    assert slices % batch == 0
    per_epoch = loader.batches_an_epoch(folder, batch)
    assert per_epoch == slices // batch
    batches = list(loader.train_batches(folder, plain(data), batch, seed=1, start=0, stop=2 * per_epoch))
    images = np.concatenate([b["image"] for b in batches]).reshape(2, slices, -1)
    orders = [[image.tobytes() for image in epoch] for epoch in images]
    assert len(set(orders[0])) == slices
    assert set(orders[0]) == set(orders[1])
    assert orders[0] != orders[1]


def test_training_goes_on_where_it_stopped(folder, data):
    whole = list(loader.train_batches(folder, data, 3, seed=5, start=0, stop=12))
    rest = list(loader.train_batches(folder, data, 3, seed=5, start=7, stop=12))
    assert len(whole) == 12
    for a, b in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["labels"], b["labels"])


def test_augmentation_differs_from_epoch_to_epoch(folder, data):
    per_epoch = loader.batches_an_epoch(folder, 4)
    batches = list(loader.train_batches(folder, data, 4, seed=1, start=0, stop=2 * per_epoch))
    images = [image.tobytes() for b in batches for image in b["image"]]
    assert len(set(images)) > 1.5 * len(images) / 2


def test_evaluation_is_ordered_and_padded(folder, data):
    rows = np.array([5, 1, 2], np.int32)
    (batch,) = loader.evaluation_batches(folder, "test", rows, data, 4)
    assert batch["record"].tolist() == [5, 1, 2, 5]
    assert batch["valid"].tolist() == [True, True, True, False]
    source = records.data_source(folder, "test")
    for image, row in zip(batch["image"], batch["record"], strict=True):
        assert image.shape == (SIZE, SIZE, 3)
        expected = np.clip(source[int(row)]["hu"] / 80, 0, 1).mean()
        assert image[..., 0].mean() * 0.229 + 0.485 == pytest.approx(expected, abs=0.01)


def test_mask_resizing_takes_the_pixel_under_the_centre():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:4] = True
    half = loader.resize_mask(mask, 3)
    assert half.tolist() == [[False] * 3, [False, True, False], [False] * 3]
    double = loader.resize_mask(mask, 12)
    assert double.sum() == 4 * mask.sum()
    np.testing.assert_array_equal(double[4:8, 4:8], True)
