"""Batches: shuffled anew each epoch and the same when started again; ordered and filled up; from memory or the file."""

import jax
import numpy as np
import pytest
from data.folders import generic

from hemojax.config import defaults
from hemojax.data import grey, loader, records
from hemojax.data.datasets import LAYOUTS
from hemojax.data.labels import BHSD_SUBTYPES

SIZE = 32
LABELS = ("any",)


@pytest.fixture(scope="module")
def data():
    config = defaults().data
    config.size = SIZE
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    root = generic(tmp_path_factory.mktemp("set"), cases=10)
    folder = tmp_path_factory.mktemp("work") / "records"
    fractions = {"train": 0.5, "validation": 0.25, "test": 0.25}
    records.prepare(folder, LAYOUTS["generic"](root, BHSD_SUBTYPES), fractions, {})
    grey.prepare(folder, data)
    return folder


@pytest.fixture(scope="module", params=[0, 2**40], ids=["from the file", "from memory"])
def reader(folder, request):
    reader = loader.Reader(folder, share=0.5, memory=request.param)
    assert reader.on_device == (request.param > 0)
    return reader


def test_grey_slices_are_those_of_the_records(folder, data, reader):
    for split in ("train", "validation", "test"):
        source = records.data_source(folder, split)
        places = grey.places(folder, [split] * len(source), np.arange(len(source)))
        expected = np.stack([grey.from_hu(source[n]["hu"], data) for n in range(len(source))])
        np.testing.assert_array_equal(grey.from_levels(reader(places)), expected)


def test_an_epoch_shows_every_slice_once_in_another_order(folder, reader):
    slices = len(records.read_index(folder, "train"))
    batch = 4
    assert slices % batch == 0
    per_epoch = loader.batches_an_epoch(folder, batch)
    assert per_epoch == slices // batch
    batches = list(loader.train_batches(reader, labels=LABELS, batch_size=batch, seed=1, start=0, stop=2 * per_epoch))
    orders = np.concatenate([b.record.ravel() for b in batches]).reshape(2, slices)
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(slices))
    assert not np.array_equal(*orders)
    source, truth = records.data_source(folder, "train"), records.read_index(folder, "train")["any"].to_numpy()
    for b in batches:
        assert b.levels.shape == (jax.local_device_count(), batch, SIZE, SIZE, 1)
        np.testing.assert_array_equal(b.labels[..., 0], truth[np.asarray(b.record)])
    first = int(batches[0].record[0, 0])
    mean = np.clip(source[first]["hu"] / 80, 0, 1).mean()
    assert grey.from_levels(np.asarray(batches[0].levels[0, 0])).mean() == pytest.approx(mean, abs=0.01)


def test_training_goes_on_where_it_stopped(reader):
    whole = list(loader.train_batches(reader, labels=LABELS, batch_size=3, seed=5, start=0, stop=12))
    rest = list(loader.train_batches(reader, labels=LABELS, batch_size=3, seed=5, start=7, stop=12))
    assert len(whole) == 12
    for a, b in zip(whole[7:], rest, strict=True):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)


def test_another_seed_is_another_order(reader):
    first, second = (
        next(loader.train_batches(reader, labels=LABELS, batch_size=4, seed=n, start=0, stop=1)) for n in (0, 1)
    )
    assert not np.array_equal(first.record, second.record)


def test_weights_say_how_often_a_slice_is_drawn(folder, reader):
    slices = len(records.read_index(folder, "train"))
    weights = np.random.default_rng(0).random(slices) ** 3
    weights[3] = 0
    batches = list(
        loader.train_batches(reader, labels=LABELS, batch_size=4, seed=1, start=0, stop=slices // 4, weights=weights)
    )
    record = np.concatenate([batch.record.ravel() for batch in batches])
    assert len(set(record)) == slices  # so that a slice that is drawn again is changed in another way
    times, expected = np.bincount(record % slices, minlength=slices), slices * weights / weights.sum()
    assert ((np.floor(expected) <= times) & (times <= np.ceil(expected))).all()
    assert times.max() > 1
    assert np.argsort(record % slices).tolist() != list(range(slices))
    plain = reader(grey.places(folder, ["train"] * slices, np.arange(slices)))
    truth = records.read_index(folder, "train")["any"].to_numpy()
    for batch in batches:
        rows = np.asarray(batch.record)[0] % slices
        np.testing.assert_array_equal(batch.levels[0], np.asarray(plain)[rows])
        np.testing.assert_array_equal(batch.labels[0, :, 0], truth[rows])


def test_hosts_divide_an_epoch(folder, reader, monkeypatch):
    slices, seen = len(records.read_index(folder, "train")), []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for host in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        per_epoch = loader.batches_an_epoch(folder, 2)
        batches = loader.train_batches(reader, labels=LABELS, batch_size=2, seed=3, start=per_epoch, stop=2 * per_epoch)
        seen.append(np.concatenate([b.record.ravel() for b in batches]))
    assert not set(seen[0]) & set(seen[1])
    assert len(set(seen[0]) | set(seen[1])) == sum(map(len, seen)) > slices - 4


def test_inputs_are_ordered_normalised_and_filled_up(folder, reader):
    rows = np.array([5, 1, 2])
    places = grey.places(folder, ["test"] * 3, rows)
    ((images, real),) = loader.input_batches(reader, places, normalisation="imagenet", batch_size=4)
    assert real == 3
    assert images.shape == (4, SIZE, SIZE, 3)
    np.testing.assert_array_equal(images[3], images[0])
    source = records.data_source(folder, "test")
    for image, row in zip(images, rows, strict=False):
        expected = np.clip(source[int(row)]["hu"] / 80, 0, 1).mean()
        assert float(image[..., 0].mean()) * 0.229 + 0.485 == pytest.approx(expected, abs=0.01)
