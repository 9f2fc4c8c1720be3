"""Fused maps: which are chosen, and what is made of them."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from benchmark import bright_heads
from scipy import stats

from hemojax.benchmark import full_maps, fusion, ground_truth, scoring, stored_maps
from hemojax.benchmark.explained import Explained
from hemojax.cam import postprocess
from hemojax.config import defaults
from hemojax.data import records
from hemojax.run import Run
from hemojax.statistics.summary import RANDOM

SIZE, CELLS = 48, 24


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    config = defaults()
    config.data.size = config.eval.size = SIZE
    config.data.masks = {"lesion": (1, 2)}
    config.cam.update(methods=("gradcam", "layercam", RANDOM), stages=("stage1", "stage2"), batch=2, registration=False)
    config.eval.update(refine=(), fuse=3)
    bright_heads.prepare(workdir / "records")
    return Run(config, workdir)


@pytest.fixture(scope="module")
def explained(run):
    """Slices that bleed. One map is warm on the left of the bleed, another on its right, two elsewhere."""
    index = records.read_index(run.records, "validation"), records.read_index(run.records, "test")
    rows = [part[part["any"] == 1].assign(lesion=True) for part in index]
    rows = pd.concat(rows, ignore_index=True)
    of_slice, rng, heats = ground_truth.Slices(run), np.random.default_rng(0), {}
    masks = np.stack([of_slice.masks(row.split, row.record)[0] for row in rows.itertuples()])
    left = np.zeros_like(masks)
    for mask, part in zip(masks, left, strict=True):
        columns = np.flatnonzero(mask.any(0))
        part[:, : columns[len(columns) // 2]] = True
    for name, where in {"stage1/gradcam": masks & left, "stage2/layercam": masks & ~left}.items():
        heats[name] = where.reshape(len(rows), CELLS, 2, CELLS, 2).mean((2, 4)).astype(np.float32)
    for name in ("stage1/layercam", "stage2/gradcam"):
        heats[name] = rng.random((len(rows), CELLS, CELLS)).astype(np.float32)
    for stage in ("stage1", "stage2"):
        heats[f"{stage}/{RANDOM}"] = masks.reshape(len(rows), 1, CELLS, 2, CELLS, 2).mean((3, 5)).astype(np.float32)
    for start in range(0, len(rows), 2):
        part = {name: maps[start : start + 2] for name, maps in heats.items()}
        stored_maps._write(run.maps / stored_maps.SHARED / f"{start:06d}.npz", part)
    logits = rows[["case", "slice"]].assign(label="any", logit=1.0)
    return Explained(rows, logits)


def test_maps_that_complete_each_other_are_fused(run, explained):
    scores = scoring.score(run, explained)
    chosen = fusion.recipes(run)
    # RandomCAM, which knows the truth here, is no candidate; the mean needs both halves, the product loses both.
    assert {tuple(sorted(cells)) for rule, cells in chosen.items() if rule == "mean"} == {
        (("stage1", "gradcam"), ("stage2", "layercam"))
    }
    counts = scores.counts[scores.counts["split"] == "test"]
    fused = counts[counts["stage"] == fusion.FUSED]
    assert set(fused["method"]) == set(chosen)

    def best_dice(rows):
        pooled = rows.groupby("threshold")[["tp", "fp", "fn"]].sum()
        return (2 * pooled["tp"] / (2 * pooled["tp"] + pooled["fp"] + pooled["fn"])).max()

    halves = [best_dice(counts[(counts["stage"] == s) & (counts["method"] == m)]) for s, m in chosen["mean"]]
    assert best_dice(fused[fused["method"] == "mean"]) > max(halves) + 0.2
    for name in ("maps", "curves"):
        assert (getattr(scores, name)["stage"] == fusion.FUSED).any()


def test_a_fused_map_is_the_rule_of_its_cells(run, explained):
    rules = fusion.recipes(run)
    (first, *_) = full_maps.fused(run, explained)
    assert (first.stage, first.names) == (fusion.FUSED, tuple((rule, 0) for rule in rules))
    singles = {
        (stage, method): [heat for _, _, heat in full_maps.heat_of(run, explained, stage=stage, method=method)]
        for stage, method in rules["mean"]
    }
    expected = np.mean([maps[0] for maps in singles.values()], axis=0)
    (found, *_) = full_maps.each_slice(lambda _, maps: np.asarray(maps), first, SIZE)
    np.testing.assert_allclose(found[list(rules).index("mean")], expected / expected.max(), atol=1e-5)


def test_nothing_is_fused_unless_it_is_asked_for(run, explained):
    config = run.config.copy_and_resolve_references()
    config.eval.fuse = 0
    other = Run(config, run.workdir)
    before = fusion.recipes(run)
    assert before
    scores = scoring.score(other, explained)
    assert not fusion.recipes(other)
    assert not (scores.counts["stage"] == fusion.FUSED).any()


def test_costly_methods_are_no_candidates():
    same = {"case": "c", "slice": 3, "split": "validation", "stage": "stage1", "seed": 0, "mask": "lesion"}
    same |= {"threshold": 0.5, "fp": 0, "baseline": False}
    found = (("ablationcam", 10), ("gradcam", 5), ("gradcam+pamr", 9), (RANDOM, 10))
    rows = [same | {"method": method, "tp": tp, "fn": 10 - tp} for method, tp in found]
    counts = pd.DataFrame(rows)
    assert fusion._best_cells(counts, "lesion", "") == [("stage1", "gradcam")]
    assert fusion._best_cells(counts, "lesion", "pamr") == [("stage1", "gradcam")]
    assert fusion._best_cells(counts[counts["method"] == "ablationcam"], "lesion", "") == []


def test_the_geometric_mean_is_scipys():
    maps = np.random.default_rng(0).random((3, 6, 7))
    scaled = [(one - one.min()) / (one.max() - one.min()) for one in maps]
    expected = stats.gmean(scaled)
    found = postprocess.fuse_geometric_mean([jnp.asarray(one) for one in maps], (6, 7))
    np.testing.assert_allclose(found, (expected - expected.min()) / np.ptp(expected), atol=1e-4)
