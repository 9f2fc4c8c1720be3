"""Where a map is cut, and which slices count: the rows of which every statistic is made.

A figure without its threshold rule, its population and its grid means nothing, so that they stand in each row.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from hemojax.errors import UserError
from hemojax.metrics import overlap

MAP = ["stage", "method", "seed", "mask"]
SLICE = ["case", "slice"]
PIXELS = ["tp", "fp", "fn"]
BOXES = ["box_tp", "box_fp", "box_fn"]
HITS = ["box_loose", "box_strict", "box_best"]
MAP_FIGURES = ["pointing", "pointing_near", "energy", "rank", "auroc", "ap"]
"""What a map is worth without a threshold, of slices whose mask is not empty."""

FIXED, VALIDATION, OTSU, ORACLE = "fixed 0.5", "validation", "otsu", "oracle (leaky)"
RULES = (FIXED, VALIDATION, OTSU, ORACLE)
"""Cut at 0.5; at the threshold with the best pooled Dice on validation; at each map's own threshold by Otsu (1979); at
the threshold with the best pooled Dice on test, which no honest figure may use."""

DRAWN, TRUE_POSITIVES, WITH_FALSE = "all", "true positives", "TP + FP + FN"
POPULATIONS = (DRAWN, TRUE_POSITIVES, WITH_FALSE)
"""Slices in which the mask is drawn; of these the ones that the classifier calls positive; the first, and the slices
without a haemorrhage that it calls positive (the rule of the Hemorica group)."""


class Protocol(NamedTuple):
    """By which threshold rule and on which slices the report judges."""

    rule: str
    population: str


PROTOCOLS = {"hemojax": Protocol(VALIDATION, DRAWN), "hemorica_paper": Protocol(FIXED, WITH_FALSE)}


def select_thresholds(counts: pd.DataFrame, split: str = "validation") -> pd.DataFrame:
    """Selects the threshold with the best pooled Dice on a split's slices with a mask; of equal ones the lowest.

    Args:
        counts: the counts table, a row a (slice, stage, method, seed, mask, threshold).
        split: "validation", for every honest figure, or "test", for the oracle.

    Returns:
        One row a (stage, method, seed, mask) with `threshold` and the split's `dice` there.

    Raises:
        UserError: No slice of the split has a mask.
    """
    kept = (counts["split"] == split) & drawn(counts)
    pooled = counts.loc[kept, [*MAP, "threshold", *PIXELS]]
    if pooled.empty:
        raise UserError(f"no slice of the {split} split has a mask, so no threshold can be selected on it")
    pooled = pooled.astype(dict.fromkeys(PIXELS, "int64"))  # sums of int32 may overflow
    pooled = pooled.groupby([*MAP, "threshold"], observed=True, as_index=False).sum()
    pooled["dice"] = overlap.dice(*(pooled[name].to_numpy() for name in PIXELS))
    best = pooled.groupby(MAP, observed=True)["dice"].idxmax()  # the first of equal ones, thresholds ascending
    return pooled.loc[best, [*MAP, "threshold", "dice"]].reset_index(drop=True)


def cut(counts: pd.DataFrame, maps: pd.DataFrame, lesions: pd.DataFrame) -> pd.DataFrame:
    """Cuts every map by every rule.

    Args:
        counts: the counts table.
        maps: the maps table, a row a (slice, stage, method, seed, mask), with `otsu` and what is counted there.
        lesions: the lesions table, a row a (slice, mask).

    Returns:
        One row a (slice, stage, method, seed, mask, rule): the slice, `rule`, `threshold`, counts of pixels and boxes
        there, the map's own figures (MAP_FIGURES), `area`, `area_mm2` and `subtypes` of the mask, `drawn` (the mask is
        not empty), `called` (the classifier calls the slice positive), `size` (of the grid), `baseline`. Numbers are
        float64, missing ones NaN. Rows of "oracle (leaky)" are of the test split.

    Raises:
        UserError: No validation slice has a mask.
    """
    parts = [counts[counts["threshold"] == 0.5].assign(rule=FIXED)]
    selected = {VALIDATION: select_thresholds(counts)}
    test = counts[counts["split"] == "test"]
    if drawn(test).any():
        selected[ORACLE] = select_thresholds(test, "test")
    for rule, thresholds in selected.items():
        table = test if rule == ORACLE else counts
        parts.append(table.merge(thresholds[[*MAP, "threshold"]], on=[*MAP, "threshold"]).assign(rule=rule))
    counted = [*PIXELS, *BOXES, *HITS]
    otsu = {f"otsu_{name}": name for name in counted} | {"otsu": "threshold"}
    parts.append(maps.drop(columns=MAP_FIGURES).rename(columns=otsu).assign(rule=OTSU))
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.merge(maps[[*SLICE, *MAP, *MAP_FIGURES]], on=[*SLICE, *MAP])
    rows = rows.merge(lesions[[*SLICE, "mask", "area", "area_mm2", "subtypes", "called"]], on=[*SLICE, "mask"])
    rows["drawn"] = drawn(rows)
    return rows.astype(dict.fromkeys([*counted, *MAP_FIGURES, "threshold"], "float64"))


def of_population(rows: pd.DataFrame, population: str) -> pd.DataFrame:
    """The rows of the slices that count."""
    there, called = rows["drawn"].to_numpy(bool), rows["called"].to_numpy(bool)
    keep = {DRAWN: there, TRUE_POSITIVES: there & called, WITH_FALSE: there | called}[population]
    return rows[keep]


def tertiles(area: pd.Series) -> pd.Series:
    """The third of the lesions, by size, in which each one lies: "small", "medium" or "large"."""
    edges = np.quantile(area, (1 / 3, 2 / 3))
    return pd.Series(np.array(("small", "medium", "large"))[np.searchsorted(edges, area)], index=area.index)


def drawn(rows: pd.DataFrame) -> pd.Series:
    """Whether the mask is not empty in each row's slice."""
    return (rows["tp"] > 0) | (rows["fn"] > 0)  # their sum might overflow
