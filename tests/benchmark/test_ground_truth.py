"""Which slices are explained, and what is true of them, on records of two small scans."""

import numpy as np
import pandas as pd
import pytest
from data.folders import generic

from hemojax import results
from hemojax.benchmark import full_maps, ground_truth, scan_volumes
from hemojax.benchmark.explained import Explained, explained_slices
from hemojax.benchmark.stored_maps import MapBatch
from hemojax.config import defaults
from hemojax.data import records
from hemojax.data.datasets import LAYOUTS
from hemojax.data.labels import BHSD_SUBTYPES
from hemojax.run import Run

SIZE = 12  # half of the scans' 24 pixels of 0.5 x 0.5 x 5 mm


@pytest.fixture(scope="module")
def config():
    config = defaults()
    config.eval.size = SIZE
    with config.unlocked():
        config.data.masks = {"core": (2,), "other": (7,)}
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = generic(tmp_path_factory.mktemp("set"), cases=6, clean=(5,))
    folder = tmp_path_factory.mktemp("work") / "records"
    fractions = {"train": 0.4, "validation": 0.3, "test": 0.3}
    records.prepare(folder, LAYOUTS["generic"](root, BHSD_SUBTYPES), fractions, {})
    return folder


@pytest.fixture(scope="module")
def logits(folder):
    """The classifier calls the first and the second slice of every scan positive; blood is in the second and third."""
    index = pd.concat([records.read_index(folder, split) for split in ("validation", "test")])
    return index[["case", "slice"]].assign(label="any", logit=np.where(index["slice"] < 2, 1.0, -1.0))


@pytest.fixture(scope="module")
def run(config, folder):
    return Run(config, folder.parent)


@pytest.fixture(scope="module")
def slices(run, logits):
    return explained_slices(run, logits)


def test_lesions_and_false_positives_are_explained(slices):
    for _, rows in slices.groupby("case"):
        assert rows["slice"].tolist() == [0, 1, 2]
        assert rows["lesion"].tolist() == [False, True, True]
    assert slices["split"].tolist() == sorted(slices["split"], reverse=True)


def test_a_positive_slice_without_a_mask_is_not_explained(config, folder, logits):
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.data.masks = {"other": (7,)}  # nothing is drawn then, and of 1 and 2 the label is positive
    slices = explained_slices(Run(config, folder.parent), logits)
    assert set(slices["slice"]) == {0}
    assert not slices["lesion"].any()


def test_the_table_of_lesions(run, slices, logits, tmp_path):
    table = ground_truth.lesions(run, Explained(slices, logits), ground_truth.Slices(run))
    results.write_table(tmp_path / "lesions.parquet", table)
    assert len(table) == 2 * len(slices)
    for row in table.itertuples():
        drawn = row.mask == "core" and row.slice > 0
        # Rows 5 to 8 and columns 6 to 11 of the scan: every other pixel counts.
        assert row.area == (6 if drawn else 0)
        assert row.area_mm2 == pytest.approx(row.area * 1.0 * 1.0)
        assert row.subtypes == ("IPH" if row.slice > 0 else "")
        assert row.truth == (row.slice > 0)
        assert row.called == (row.slice < 2)


def test_volumes_of_whole_scans(run, slices, logits, monkeypatch, tmp_path):
    # One map that is the mask, moved by a pixel, and 0.25 elsewhere.
    of_slice = ground_truth.Slices(run)

    def batches(*_):
        for start in range(0, len(slices), 2):
            rows = slices.iloc[start : start + 2]
            cores = [of_slice.masks(row.split, row.record)[0] for row in rows.itertuples()]
            heats = np.stack([np.where(np.roll(core, 1, axis=1), 1, 0.25) for core in cores]).astype(np.float32)
            yield MapBatch("-", (("moved", 0), ("other", 0)), rows, np.stack([heats, 0 * heats], axis=1), True)

    monkeypatch.setattr(full_maps, "batches", batches)
    cells = [("core", "-", "moved", 0.5), ("core", "-", "other", 0.5), ("other", "-", "moved", 0.25)]
    cells = pd.DataFrame(cells, columns=["mask", "stage", "method", "threshold"])
    table = scan_volumes.measure(run, Explained(slices, logits), cells=cells)
    results.write_table(tmp_path / "volumes.parquet", table)
    cases = slices.loc[slices["split"] == "test", "case"].unique()
    assert len(table) == 3 * len(cases)
    for row in table.itertuples():
        volume = 2 * 6 * 1.0 * 1.0 * 5 / 1000  # two slices of 6 pixels of 1 x 1 x 5 mm
        assert row.predicted_ml == pytest.approx(volume if row.method == "moved" else 0)
        assert row.true_ml == pytest.approx(volume if row.mask == "core" else 0)
        if row.method == "moved" and row.mask == "core":
            assert row.hd95 == pytest.approx(1.0)
        else:
            assert np.isnan(row.hd95)


def test_a_scan_without_a_voxel_size_has_no_volume(run, slices, logits, monkeypatch):
    unknown = slices.assign(spacing_k=np.nan)
    heats = np.ones((len(slices), 1, SIZE, SIZE), np.float32)
    monkeypatch.setattr(full_maps, "batches", lambda *_: [MapBatch("-", (("all", 0),), unknown, heats, True)])
    cells = pd.DataFrame([("core", "-", "all", 0.5)], columns=["mask", "stage", "method", "threshold"])
    table = scan_volumes.measure(run, Explained(unknown, logits), cells=cells)
    assert table[["hd95", "predicted_ml", "true_ml"]].isna().all(axis=None)


def test_the_spacing_of_the_grid(slices):
    row = next(slices.itertuples())
    assert ground_truth.spacing(row, SIZE) == (1.0, 1.0, 5.0)
