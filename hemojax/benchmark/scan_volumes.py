"""Whole test scans: how far a method's mask is from the true one in mm, and how many mL it predicts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from hemojax.benchmark import full_maps, ground_truth
from hemojax.benchmark.explained import Explained
from hemojax.metrics import surface_distance as metric
from hemojax.progress import Progress
from hemojax.run import Run

Cell = tuple[str, str, str, float]
"""Mask target, stage, method and threshold."""


def measure(run: Run, explained: Explained, *, cells: pd.DataFrame) -> pd.DataFrame:
    """The table `volumes` of the test split, in one pass over the maps.

    A scan is what was explained of it, slices with a lesion and false positives, at their places in the scan and on the
    grid of `eval.size` pixels with its true pixel size; all other slices are empty on both sides. A method that
    explained only some of these slices has no rows.

    Args:
        run: the run, whose maps are there.
        explained: the slices that they explain.
        cells: which maps, and at which threshold they become masks: mask, stage ("-" for a baseline), method,
            threshold. Of a method with several seeds the first.

    Returns:
        a row a case and cell; hd95 is NaN where a mask is empty, and all is NaN where the voxel size is not known.
    """
    config, slices, of_slice = run.config, explained.slices, ground_truth.Slices(run)
    size = config.eval.size
    wanted: list[Cell] = list(cells[["mask", "stage", "method", "threshold"]].itertuples(index=False, name=None))
    test = slices[slices["split"] == "test"]
    needed = test.groupby("case").size()
    found: dict[tuple[Cell, str], list[tuple[Any, np.ndarray]]] = {}
    rows = []
    with Progress("scoring: volumes", full_maps.steps(run, explained)) as progress:
        for batch in full_maps.batches(run, explained):
            here = [cell for cell in wanted if cell[1] == batch.stage and (cell[2], 0) in batch.names]
            for cell in here:
                for row, mask in _test_masks(batch.only((cell[2], 0)), size, cell[3]):
                    found.setdefault((cell, row.case), []).append((row, np.packbits(mask)))
                    # A case whose last slice has come needs no memory any more.
                    if len(found[cell, row.case]) == needed[row.case]:
                        rows.append(_row(config, of_slice, cell, found.pop((cell, row.case))))
            progress.advance(steps=len(batch.rows))
    columns = ["run", "case", "patient", "split", "mask", "stage", "method", "seed", "threshold"]
    return pd.DataFrame(rows, columns=[*columns, "hd95", "predicted_ml", "true_ml"])


def _test_masks(
    batch: full_maps.MapBatch, size: int, threshold: float
) -> Iterator[tuple[Any, Bool[np.ndarray, "s s"]]]:
    """Each test slice of the batch's only map, thresholded."""
    # Pandas gives thresholds as float64; maps are compared in their own float32.
    above = np.float32(threshold)

    def of_slice(at: int, maps: Float[Array, "1 s s"]) -> Bool[np.ndarray, "s s"]:
        return np.asarray(maps[0]) > above

    masks = full_maps.each_slice(of_slice, batch, size)
    return ((row, mask) for row, mask in zip(batch.rows.itertuples(), masks, strict=True) if row.split == "test")


def _row(
    config: ConfigDict, of_slice: ground_truth.Slices, cell: Cell, parts: list[tuple[Any, np.ndarray]]
) -> dict[str, Any]:
    """One case's row from its slices (rows of the index) and their packed masks."""
    mask, stage, method, threshold = cell
    size, at_mask = config.eval.size, list(config.data.masks).index(mask)
    places = np.array([row.slice for row, _ in parts])
    predicted, true = np.zeros((2, size, size, np.ptp(places) + 1), bool)
    for (row, packed), k in zip(parts, places - places.min(), strict=True):
        predicted[..., k] = np.unpackbits(packed, count=size * size).reshape(size, size)
        true[..., k] = of_slice.masks(row.split, row.record)[at_mask]
    first = parts[0][0]
    spacing = ground_truth.spacing(first, size)
    cosines = (first.cosine_ij, first.cosine_ik, first.cosine_jk)
    known = np.isfinite(spacing).all()
    return {
        "run": config.name,
        "case": first.case,
        "patient": first.patient,
        "split": first.split,
        "mask": mask,
        "stage": stage,
        "method": method,
        "seed": 0,
        "threshold": threshold,
        "hd95": metric.hausdorff(predicted, true, spacing, cosines=cosines) if known else np.nan,
        "predicted_ml": metric.millilitres(predicted, spacing, cosines),
        "true_ml": metric.millilitres(true, spacing, cosines),
    }
