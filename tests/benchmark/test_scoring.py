"""Counts of whole batches against counting one map at a time with numpy and scikit-image."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from skimage import filters, measure, transform
from sklearn import metrics as sklearn_metrics

from hemojax.benchmark import box_scoring, scoring
from hemojax.benchmark.stored_maps import MapBatch
from hemojax.config import defaults
from hemojax.metrics.overlap import THRESHOLDS

SIZE = 24
NAMES = (("gradcam", 0), ("randomcam", 0), ("randomcam", 1))


@pytest.fixture(scope="module")
def config():
    config = defaults()
    config.eval.size = SIZE
    with config.unlocked():
        config.data.masks = {"core": (1,), "lesion": (1, 2)}
    return config


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    heats = rng.random((4, len(NAMES), 6, 6)).astype(np.float32)
    rows = pd.DataFrame({"case": ["a", "a", "b", "c"], "slice": [3, 4, 0, 9], "lesion": [True, True, True, False]})
    rows = rows.assign(patient=rows["case"], split=["validation"] * 3 + ["test"])
    return MapBatch("stage2", NAMES, rows, heats)


@pytest.fixture(scope="module")
def masks():
    masks = np.zeros((4, 2, SIZE, SIZE), bool)  # the fourth slice is a false positive
    masks[:3, 1, 4:12, 6:17] = True
    masks[:2, 0, 5:9, 8:12] = True  # the third slice has no core
    masks[1, 1, 20:22, 2:5] = True
    return masks


def full(heat):
    """The map on the grid, by scikit-image: bilinear with half-pixel centres, then min-max."""
    large = transform.resize(heat.astype(np.float64), (SIZE, SIZE), order=1, mode="edge", anti_aliasing=False)
    large -= large.min()
    return large / (1e-7 + large.max())


PLACES = ["a3", "a4", "b0", "c9"]


@pytest.fixture(scope="module")
def first(config, batch, masks):
    sums = {}
    return scoring.pixels(config, batch, masks=masks, sums=sums), scoring.curve_table(config, sums)


def cases(table, config, batch, masks):
    """Each row, with its map on the grid and its mask."""
    for row in table.itertuples():
        i = PLACES.index(f"{row.case}{row.slice}")
        heat = full(batch.heats[i, NAMES.index((row.method, row.seed))])
        yield row, heat, masks[i, list(config.data.masks).index(row.mask)]


def confusion(predicted, mask):
    return (predicted & mask).sum(), (predicted & ~mask).sum(), (~predicted & mask).sum()


def test_pixel_counts(config, batch, masks, first):
    table = first[0].counts
    # A slice without the core has no row for it; a false positive has one for every mask.
    assert len(table) == (2 + 3 + 2) * len(NAMES) * len(THRESHOLDS)
    assert not ((table["case"] == "b") & (table["mask"] == "core")).any()
    assert table["seed"].dtype == np.int16
    differing = 0
    for row, heat, mask in cases(table, config, batch, masks):
        # The two interpolations differ in the last bits, which may move a pixel that lies on a threshold.
        differing += confusion(heat > row.threshold, mask) != (row.tp, row.fp, row.fn)
    assert differing <= 3


def test_what_is_said_of_maps_without_a_threshold(config, batch, masks, first):
    table = first[0].maps
    assert len(table) == (2 + 3 + 2) * len(NAMES)
    for row, heat, mask in cases(table, config, batch, masks):
        if row.case == "c":
            assert pd.isna([row.pointing, row.pointing_near, row.energy, row.rank, row.auroc, row.ap]).all()
            continue
        truth, value = mask.ravel(), heat.ravel()
        assert row.pointing == mask[np.unravel_index(heat.argmax(), heat.shape)]
        hottest = np.argsort(value)[::-1][: mask.sum()]
        assert row.energy == pytest.approx(value[truth].sum() / value.sum(), abs=1e-5)
        assert row.rank == pytest.approx(truth[hottest].mean(), abs=1e-6)
        # 1,024 levels of 576 pixels.
        assert row.auroc == pytest.approx(sklearn_metrics.roc_auc_score(truth, value), abs=2e-3)
        assert row.ap == pytest.approx(sklearn_metrics.average_precision_score(truth, value), abs=2e-2)
        assert row.otsu == pytest.approx(filters.threshold_otsu(heat), abs=1e-2)


def test_curves_of_a_patient(config, batch, masks, first):
    table = first[1]
    assert len(table) == 3 * len(NAMES)  # core and lesion of patient a, lesion of b
    for row in table.itertuples():
        k, m = NAMES.index((row.method, row.seed)), list(config.data.masks).index(row.mask)
        slices = [i for i, place in enumerate(PLACES) if place[0] == row.patient]
        inside = np.concatenate([full(batch.heats[i, k])[masks[i, m]] for i in slices])
        assert row.inside.sum() == len(inside)
        assert row.outside.sum() == len(slices) * SIZE**2 - len(inside)
        at_least = [row.inside[level:].sum() for level in (256, 512, 768)]
        np.testing.assert_allclose(at_least, [(inside >= value).sum() for value in (0.25, 0.5, 0.75)], atol=1)


def test_boxes(config, batch, masks, first):
    best = pd.DataFrame(
        [("stage2", m, s, k, t) for (m, s), t in zip(NAMES, THRESHOLDS[[6, 31, 40]], strict=True) for k in ("core",)],
        columns=["stage", "method", "seed", "mask", "threshold"],
    )
    at_thresholds, at_otsu = box_scoring.boxes_of(config, batch, masks=masks, best=best, otsu=first[0].otsu)
    counts = box_scoring.merge(first[0].counts, at_thresholds)
    boxed = counts[counts["box_tp"].notna()]
    assert len(boxed) == (2 + 3 + 2) * len(NAMES) * 11 + (2 + 1) * 2  # THRESHOLDS[40] is one of the 11 anyway
    maps = pd.concat([first[0].maps, at_otsu], axis=1)
    for table, threshold, prefix in ((boxed, "threshold", ""), (maps, "otsu", "otsu_")):
        differing = 0
        for row, heat, mask in cases(table, config, batch, masks):
            predicted = heat > getattr(row, threshold)
            expected = confusion(filled(predicted), filled(mask))
            differing += expected != tuple(getattr(row, f"{prefix}box_{name}") for name in ("tp", "fp", "fn"))
            assert pd.isna(getattr(row, f"{prefix}box_best")) == (row.case == "c")
            if prefix:
                assert confusion(predicted, mask) == pytest.approx((row.otsu_tp, row.otsu_fp, row.otsu_fn), abs=1)
        assert differing <= 3


def test_batches_and_flips_change_no_count(config, batch, masks, first):
    best = box_scoring.best_thresholds(first[0].counts)

    def both(batch, masks):
        pixels = scoring.pixels(config, batch, masks=masks, sums={})
        at_thresholds, at_otsu = box_scoring.boxes_of(config, batch, masks=masks, best=best, otsu=pixels.otsu)
        return box_scoring.merge(pixels.counts, at_thresholds), pd.concat([pixels.maps, at_otsu], axis=1)

    # Maps on the grid already, as interpolation may round another way when it is flipped.
    at_size = np.stack([[full(heat) for heat in of_slice] for of_slice in batch.heats]).astype(np.float32)
    batch = dataclasses.replace(batch, heats=at_size, baseline=True)
    whole = both(batch, masks)
    parts = [(slice(0, 1), 1), (slice(1, 4), -1)]
    split = [
        both(
            dataclasses.replace(batch, rows=batch.rows.iloc[at], heats=batch.heats[at, :, ::flip]),
            masks[at, :, ::flip],
        )
        for at, flip in parts
    ]
    for table, pieces in zip(whole, zip(*split, strict=True), strict=True):
        pd.testing.assert_frame_equal(table, pd.concat(pieces, ignore_index=True), rtol=1e-6)


def filled(mask):
    boxes = np.zeros_like(mask)
    for region in measure.regionprops(measure.label(mask, connectivity=2)):
        i0, j0, i1, j1 = region.bbox
        boxes[i0:i1, j0:j1] = True
    return boxes
