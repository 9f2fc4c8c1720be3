"""Counts of whole batches against counting one map at a time with numpy and scikit-image."""

import numpy as np
import pandas as pd
import pytest
from skimage import measure, transform

from configs import base
from hemojax.benchmark import explanations, gallery, scoring
from hemojax.benchmark.explanations import MapBatch
from hemojax.metrics.overlap import THRESHOLDS

SIZE = 24
NAMES = (("gradcam", 0), ("randomcam", 0), ("randomcam", 1))


@pytest.fixture(scope="module")
def config():
    config = base.get_config()
    config.eval.size = SIZE
    with config.unlocked():
        config.data.masks = {"core": (1,), "lesion": (1, 2)}
    return config


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    heats = rng.random((3, len(NAMES), 6, 6)).astype(np.float32)
    rows = pd.DataFrame(
        {"case": ["a", "a", "b"], "patient": ["a", "a", "b"], "slice": [3, 4, 0], "split": "validation"}
    )
    return MapBatch("stage2", NAMES, rows, heats)


@pytest.fixture(scope="module")
def masks():
    masks = np.zeros((3, 2, SIZE, SIZE), bool)
    masks[:, 1, 4:12, 6:17] = True
    masks[:2, 0, 5:9, 8:12] = True  # the third slice has no core
    masks[1, 1, 20:22, 2:5] = True
    return masks


def full(heat):
    """The map on the grid, by scikit-image: bilinear with half-pixel centres, then min-max."""
    large = transform.resize(heat.astype(np.float64), (SIZE, SIZE), order=1, mode="edge", anti_aliasing=False)
    large -= large.min()
    return large / (1e-7 + large.max())


def test_pixel_counts(config, batch, masks):
    table = scoring._pixel_rows(config, batch, masks)
    # A slice without the core has no row for it.
    assert len(table) == (2 + 3) * len(NAMES) * len(THRESHOLDS)
    assert not ((table["case"] == "b") & (table["mask"] == "core")).any()
    assert table["seed"].dtype == np.int16
    differing = 0
    for row in table.itertuples():
        i = ["a3", "a4", "b0"].index(f"{row.case}{row.slice}")
        mask = masks[i, list(config.data.masks).index(row.mask)]
        heat = full(batch.heats[i, NAMES.index((row.method, row.seed))])
        predicted = heat > row.threshold
        expected = ((predicted & mask).sum(), (predicted & ~mask).sum(), (~predicted & mask).sum())
        # The two interpolations differ in the last bits, which may move a pixel that lies on a threshold.
        differing += abs(np.array(expected) - (row.tp, row.fp, row.fn)).max() > 0
        assert row.pointing == mask[np.unravel_index(heat.argmax(), heat.shape)]
    assert differing <= 3


def test_boxes_at_half_and_at_the_chosen_threshold(config, batch, masks):
    chosen = pd.DataFrame(
        [
            ("stage2", m, s, k, t)
            for (m, s), t in zip(NAMES, THRESHOLDS[[5, 30, 40]], strict=True)
            for k in ("core", "lesion")
        ],
        columns=["stage", "method", "seed", "mask", "threshold"],
    )
    table = scoring._box_rows(config, batch, masks, chosen)
    assert len(table) == (2 + 3) * len(NAMES) * 2
    for row in table.itertuples():
        i = ["a3", "a4", "b0"].index(f"{row.case}{row.slice}")
        k = NAMES.index((row.method, row.seed))
        assert row.threshold in (np.float32(0.5), THRESHOLDS[[5, 30, 40]][k])
        mask = masks[i, list(config.data.masks).index(row.mask)]
        predicted, truth = (filled(m) for m in (full(batch.heats[i, k]) > row.threshold, mask))
        assert (row.box_tp, row.box_fp, row.box_fn) == (
            (predicted & truth).sum(),
            (predicted & ~truth).sum(),
            (~predicted & truth).sum(),
        )


def filled(mask):
    boxes = np.zeros_like(mask)
    for region in measure.regionprops(measure.label(mask, connectivity=2)):
        i0, j0, i1, j1 = region.bbox
        boxes[i0:i1, j0:j1] = True
    return boxes


def test_a_subset_is_spread_over_each_split():
    slices = pd.DataFrame({"split": ["validation"] * 10 + ["test"] * 3, "slice": [*range(10), *range(3)]})
    chosen = explanations.spread(slices, 4)
    assert chosen["slice"].tolist() == [1, 3, 6, 8, 0, 1, 2]
    assert explanations.spread(slices, 0)["slice"].tolist() == slices["slice"].tolist()


def test_costly_methods_have_a_job_a_stage(config):
    slices = pd.DataFrame({"split": ["validation"] * 3 + ["test"] * 40, "slice": range(43)})
    found = {job.name: job for job in explanations.jobs(config.cam, slices)}
    assert set(found) == {"shared", "scorecam-stage2", *(f"ablationcam-stage{n}" for n in (1, 2, 3, 4))}
    assert len(found["scorecam-stage2"].slices) == 3 + 16
    assert len(found["ablationcam-stage1"].slices) == 43
    assert not {"scorecam", "ablationcam"} & set(found["shared"].methods)


@pytest.mark.parametrize(("slices", "expected"), [(1, 1), (2, 2), (4, 3), (30, 9)])
def test_the_gallery_shows_no_slice_twice(slices, expected):
    counts = pd.DataFrame(
        {"case": "a", "slice": range(slices), "split": "test", "mask": "core", "stage": "s", "method": "m"}
        | {"threshold": np.float32(0.3), "tp": range(slices), "fp": 1, "fn": 1}
    )
    best = {"stage": "s", "method": "m", "threshold": float(np.float32(0.3))}
    picked = gallery._pick(counts, "core", best, 3)
    assert len(picked) == expected
    assert not picked.duplicated(["case", "slice"]).any()
    if slices == 30:
        dice = picked.groupby("kind")["dice"].mean()
        assert dice["best"] > dice["typical"] > dice["worst"]
