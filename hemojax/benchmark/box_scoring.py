"""Boxes of maps: at the thresholds of a sweep, at those that are best on validation and on test, and at Otsu's."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Float32, Int
from ml_collections import ConfigDict

from hemojax.benchmark import full_maps, row_keys
from hemojax.benchmark.stored_maps import MapBatch
from hemojax.metrics import boxes
from hemojax.statistics import thresholds

Row = tuple[Any, ...]

KEYS = ["case", "slice", "stage", "method", "seed", "mask", "threshold"]
COLUMNS = dict.fromkeys(("box_tp", "box_fp", "box_fn"), "Int32") | dict.fromkeys(("box_loose", "box_strict"), "boolean")
COLUMNS |= {"box_best": "float32"}
OTSU = ["otsu_tp", "otsu_fp", "otsu_fn", *(f"otsu_{name}" for name in COLUMNS)]


def best_thresholds(counts: pd.DataFrame) -> pd.DataFrame:
    """The thresholds with the best pooled Dice on validation and, which is leaky, on test.

    Args:
        counts: the counts table.

    Returns:
        two rows a (stage, method, seed, mask), fewer where a method or mask is missing in a split.

    Raises:
        UserError: no validation slice has a mask.
    """
    there = set(counts.loc[thresholds.drawn(counts), "split"])
    splits = ["validation", *(there & {"test"})]
    return pd.concat([thresholds.select_thresholds(counts, split) for split in splits], ignore_index=True)


def boxes_of(
    config: ConfigDict,
    batch: MapBatch,
    *,
    masks: Bool[np.ndarray, "b m s s"],
    best: pd.DataFrame,
    otsu: Float32[np.ndarray, "b n"],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The second pass over a batch of maps.

    Args:
        config: the run's config.
        batch: the maps.
        masks: of its slices.
        best: from `best_thresholds`.
        otsu: Otsu's threshold of each map.

    Returns:
        KEYS and COLUMNS, a row for each of the thresholds of a map and mask; and the columns OTSU, in the order of
        `row_keys.kept`.
    """
    names = list(config.data.masks)
    of_stage = best[best["stage"] == batch.stage].groupby(["method", "seed", "mask"])["threshold"].agg(list).to_dict()
    wanted = [
        [np.union1d(boxes.BOX_THRESHOLDS, of_stage.get((*name, mask), [])).astype(np.float32) for mask in names]
        for name in batch.names
    ]
    at_slice, _, at_mask = row_keys.kept(batch, masks)

    def of_slice(at: int, maps: Float[Array, "n s s"]) -> tuple[list[Row], list[Row]]:
        key = batch.rows.iloc[at][["case", "slice"]].tolist()
        true_boxes = {m: boxes.component_boxes(masks[at, m]) for m in np.unique(at_mask[at_slice == at])}
        one: list[Row] = []
        other: list[Row] = []
        for n, heat in enumerate(np.asarray(maps)):
            cuts = np.unique(np.concatenate([*wanted[n], otsu[at, n : n + 1]]))
            found = dict(zip(cuts, boxes.threshold_boxes(heat, cuts), strict=True))
            for m, true in true_boxes.items():
                for threshold in wanted[n][m]:
                    counted = _compare(found[threshold], true, heat.shape)
                    one.append((*key, batch.stage, *batch.names[n], names[m], threshold, *counted))
                predicted = heat > otsu[at, n]
                tp = np.count_nonzero(predicted & masks[at, m])
                counts = tp, np.count_nonzero(predicted) - tp, np.count_nonzero(masks[at, m]) - tp
                other.append((*counts, *_compare(found[otsu[at, n]], true, heat.shape)))
        return one, other

    parts = full_maps.each_slice(of_slice, batch, config.eval.size)
    at_thresholds = [row for one, _ in parts for row in one]
    at_otsu = [row for _, other in parts for row in other]
    found = pd.DataFrame(at_thresholds, columns=[*KEYS, *COLUMNS]).astype({"seed": "int16", "threshold": "float32"})
    return found.astype(COLUMNS), pd.DataFrame(at_otsu, columns=OTSU).astype({"otsu_box_best": "float32"})


def merge(counts: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The counts table with the columns of boxes, empty at the thresholds where there are none."""
    return counts.merge(found, on=KEYS, how="left", validate="one_to_one")


def _compare(predicted: Int[np.ndarray, "n 4"], true: Int[np.ndarray, "m 4"], shape: tuple[int, ...]) -> Row:
    counted = boxes.compare_boxes(predicted, true, shape)
    return counted if len(true) else counted._replace(best=np.nan)
