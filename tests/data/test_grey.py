"""Grey slices are made once, and again when what they depend on has changed; a full disk is said in a line."""

import errno
import os

import numpy as np
import pytest
from data.folders import generic

from hemojax.config import defaults
from hemojax.data import grey, records
from hemojax.data.datasets import LAYOUTS
from hemojax.data.labels import BHSD_SUBTYPES
from hemojax.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = generic(tmp_path_factory.mktemp("set"), cases=6)
    folder = tmp_path_factory.mktemp("work") / "records"
    records.prepare(
        folder, LAYOUTS["generic"](root, BHSD_SUBTYPES), dict.fromkeys(("train", "validation", "test"), 1.0), {}
    )
    return folder


def options(size=16, **changed):
    data = defaults().data
    data.size = size
    data.update(changed)
    return data


def test_made_once_and_anew_with_other_options(folder):
    grey.prepare(folder, options())
    first = (folder / "grey.npy").stat()
    assert grey.open_file(folder).shape == (24, 16, 16, 1)
    grey.prepare(folder, options())
    assert (folder / "grey.npy").stat().st_mtime_ns == first.st_mtime_ns
    grey.prepare(folder, options(windows=((40.0, 80.0), (80.0, 200.0))))
    assert grey.open_file(folder).shape == (24, 16, 16, 2)
    before = np.array(grey.open_file(folder))
    grey.prepare(folder, options(windows=((40.0, 80.0), (80.0, 200.0)), per_slice_minmax=True))
    assert not np.array_equal(before, grey.open_file(folder))


def test_splits_follow_one_another(folder):
    sizes = [len(records.read_index(folder, split)) for split in ("train", "validation", "test")]
    assert grey.first_places(folder) == {"train": 0, "validation": sizes[0], "test": sizes[0] + sizes[1]}
    assert grey.places(folder, ["test", "train"], np.array([1, 2])).tolist() == [sum(sizes[:2]) + 1, 2]


def test_a_stopped_preparation_goes_on_and_is_never_taken_for_a_finished_one(folder, monkeypatch):
    grey.prepare(folder, options(size=8))
    whole = np.array(grey.open_file(folder))
    grey.prepare(folder, options())
    made, from_hu = [], grey.from_hu

    def stopping(hu, data):
        made.append(data.size)
        if len(made) > 20:
            raise KeyboardInterrupt
        return from_hu(hu, data)

    monkeypatch.setattr(grey, "BLOCK", 8)
    monkeypatch.setattr(grey, "from_hu", stopping)
    with pytest.raises(KeyboardInterrupt):
        grey.prepare(folder, options(size=8))
    assert not (folder / "grey.json").exists()
    made.clear()
    grey.prepare(folder, options(size=8))
    assert len(made) == 24 - 16  # of which two blocks were there
    np.testing.assert_array_equal(grey.open_file(folder), whole)
    assert not list(folder.glob("*unfinished*"))


def test_a_full_disk_is_said(folder, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"no room for the grey slices, 0\.0 GB \(No space left on device\)"):
        grey.prepare(folder, options(size=12))


def test_beside_a_slice_its_mirror_image_and_how_much_brighter_it_is():
    row, column = np.indices((64, 64)) - 31.5
    radius = np.hypot(row / 22, (column - 1.5) / 27)
    healthy = np.where(radius < 1, np.where(radius < 0.9, 0.4, 1.0), 0.0)
    healthy[np.hypot(abs(row) - 6, column) < 3] = 0.1  # ventricles
    bleed = np.hypot(row - 11, column - 6) < 4
    image = np.stack([np.where(bleed, 0.9, healthy), np.where(bleed, 0.5, healthy / 2)], axis=-1).astype(np.float32)
    planes = grey.with_mirror_image(image)
    assert planes.shape == (64, 64, 6)
    np.testing.assert_array_equal(planes[..., :2], image)
    inside = radius < 0.85  # at the skull a small part of a pixel makes much
    np.testing.assert_allclose(planes[..., 2:4][inside], image[::-1][inside], atol=0.15)
    assert np.abs(planes[..., 2:4] - image[::-1])[inside].mean() < 0.01
    np.testing.assert_allclose(planes[..., 4:][bleed].mean(0), [0.5, 0.3], atol=0.02)
    assert planes[..., 4:][inside & ~bleed].mean() < 0.01


def test_mirror_images_are_kept_with_their_slices(folder):
    data = options(mirror_channels=True)
    grey.prepare(folder, data)
    assert grey.open_file(folder).shape == (24, 16, 16, 3) == (24, 16, 16, grey.planes(data))
    expected = grey.from_hu(records.data_source(folder, "train")[1]["hu"], data)
    np.testing.assert_array_equal(grey.from_levels(grey.open_file(folder)[1]), expected)
    grey.prepare(folder, options())
    assert grey.open_file(folder).shape == (24, 16, 16, 1)
