"""From rows of counts to what a report says: every figure with its interval, and the best method.

All is made of sums over the slices of each patient: pooled ratios are ratios of such sums, means are a sum over a
number, and a bootstrap over patients is a matrix product.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from hemojax.errors import UserError
from hemojax.metrics import overlap
from hemojax.metrics.ratio import ratio
from hemojax.statistics import bootstrap, thresholds
from hemojax.statistics.thresholds import BOXES, HITS, MAP_FIGURES, PIXELS, Protocol

CELL = ["split", "mask", "stage", "method"]
ROW = [*CELL, "rule", "population"]
RANDOM = "randomcam"
_SLICE_RATIOS: dict[str, tuple[Any, list[str]]] = {
    "slice_dice": (overlap.dice, PIXELS),
    "slice_iou": (overlap.iou, PIXELS),
    "slice_precision": (overlap.precision, ["tp", "fp"]),
    "slice_recall": (overlap.recall, ["tp", "fn"]),
}
_POOLED: dict[str, tuple[Any, list[str]]] = {
    name.removeprefix("slice_"): ratio for name, ratio in _SLICE_RATIOS.items()
} | {
    "box_dice": (overlap.dice, BOXES),
    "box_iou": (overlap.iou, BOXES),
}
_MEANS = [*_SLICE_RATIOS, "patient_dice", *HITS, *MAP_FIGURES, "threshold"]
FIGURES = [*_POOLED, *_MEANS]
"""Every figure of a row: `dice`, `iou`, `precision`, `recall` pooled over all pixels, `box_dice`, `box_iou` over those
of filled boxes; `slice_...` means over slices (precision over those where something is predicted), `patient_dice` the
mean of pooled Dice over patients; `box_loose`, `box_strict` shares of slices hit, `box_best` the mean IoU of the best
pair of boxes; `pointing`, `pointing_near`, `energy`, `rank`, `auroc`, `ap` means over slices with a mask."""

_SUMS = [*PIXELS, *BOXES, *_MEANS, *(f"n_{name}" for name in _MEANS)]


def is_random(methods: pd.Series) -> pd.Series:
    """Which of the methods are RandomCAM, raw or refined: never candidates, but what others are compared with."""
    return methods.str.startswith(RANDOM)


def patient_sums(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Sums over the slices of each patient, in order: the index is `keys`, seed and patient.

    Columns are the pixels, the boxes (NaN where they were not counted in every slice), and of every mean its sum and
    the number of its terms.
    """
    rows = rows.assign(**{n: _of_columns(figure, rows, columns) for n, (figure, columns) in _SLICE_RATIOS.items()})
    means = [name for name in _MEANS if name != "patient_dice"]
    terms = rows[means].notna().add_prefix("n_").astype(float)
    rows = pd.concat([rows[[*keys, "seed", "patient", *PIXELS, *BOXES]], rows[means].fillna(0.0), terms], axis=1)
    sums = rows.groupby([*keys, "seed", "patient"], observed=True).sum(skipna=False)
    sums["patient_dice"], sums["n_patient_dice"] = _of_columns(overlap.dice, sums, PIXELS), 1.0
    return sums[_SUMS]


def as_array(sums: pd.DataFrame) -> Float[np.ndarray, "k s p"]:
    """The sums of one cell by column, seed and patient."""
    seeds, patients = (sums.index.unique(level) for level in ("seed", "patient"))
    return sums.to_numpy(np.float64).T.reshape(-1, len(seeds), len(patients))


def figures(sums: Float[np.ndarray, "k s n"]) -> Float[np.ndarray, "f n"]:
    """FIGURES of sums over patients, each averaged over the seeds in which it is defined."""
    place = dict(zip(_SUMS, sums, strict=True))
    found = [figure(*(place[column] for column in columns)) for figure, columns in _POOLED.values()]
    # A ratio of unknown counts is unknown; overlap's ratios take what is not above 0 for empty.
    unknown = np.isnan(place["box_tp"])
    found = [np.where(unknown, np.nan, f) if n.startswith("box") else f for n, f in zip(_POOLED, found, strict=True)]
    values = np.stack([*found, *(ratio(place[name], place[f"n_{name}"]) for name in _MEANS)])
    if values.shape[1] == 1:
        return values[:, 0]
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1))


def point(sums: Float[np.ndarray, "k s p"]) -> Float[np.ndarray, " f"]:
    """FIGURES of all patients together."""
    return figures(sums.sum(axis=-1, keepdims=True))[:, 0]


def summarise(rows: pd.DataFrame, resamples: int = bootstrap.RESAMPLES) -> pd.DataFrame:
    """Summarises each method at each stage, for every rule and population.

    A method with several seeds (RandomCAM) is summarised seed by seed, each with its own selected threshold, and the
    figures are averaged.

    Args:
        rows: from `thresholds.cut`.
        resamples: of the patients.

    Returns:
        One row a (split, mask, stage, method, rule, population): FIGURES, and of each on the test split its 95 %
        interval over patients, `..._low` and `..._high`; `slices`, `patients`, `seeds`, `size`, `baseline`. Figures of
        boxes are NaN where boxes were not counted in every slice.
    """
    tables = []
    for population in thresholds.POPULATIONS:
        counted = thresholds.of_population(rows, population)
        if counted.empty:
            continue
        sums = patient_sums(counted, ROW[:-1])
        number = counted.groupby(ROW[:-1], observed=True)
        table = pd.DataFrame({"slices": number.size(), "size": number["size"].first()})
        table["baseline"], table["seeds"] = number["baseline"].first(), number["seed"].nunique()
        table["slices"] //= table["seeds"]
        found = {}
        for row, group in sums.groupby(ROW[:-1], observed=True):
            values = as_array(group)
            ends = np.full((2, len(FIGURES)), np.nan)
            if row[0] == "test":
                drawn = bootstrap.patient_draws(values.shape[-1], resamples)
                ends = bootstrap.interval(figures(bootstrap.resampled_sums(drawn, values)))
            found[row] = np.concatenate([[values.shape[-1]], point(values), *ends])
        names = ["patients", *FIGURES, *(f"{f}_low" for f in FIGURES), *(f"{f}_high" for f in FIGURES)]
        filled = pd.DataFrame.from_dict(found, orient="index", columns=names)
        filled.index = pd.MultiIndex.from_tuples(filled.index, names=ROW[:-1])
        tables.append(table.join(filled).assign(population=population).reset_index())
    return pd.concat(tables, ignore_index=True).astype({"patients": int})


def of_protocol(summary: pd.DataFrame, protocol: Protocol, split: str = "test") -> pd.DataFrame:
    """The rows by which the report judges."""
    judged = (summary["rule"] == protocol.rule) & (summary["population"] == protocol.population)
    return summary[judged & (summary["split"] == split)]


def best_stages(summary: pd.DataFrame, protocol: Protocol, figure: str = "dice") -> pd.DataFrame:
    """Of each method the stage that is best on validation: a row a (mask, method) with `stage` and `threshold`."""
    known = of_protocol(summary, protocol, "validation")
    known = known[known[figure].notna()]
    best = known.loc[known.groupby(["mask", "method"], observed=True)[figure].idxmax()]
    return best[["mask", "method", "stage", "threshold", "baseline"]].reset_index(drop=True)


def choose(summary: pd.DataFrame, protocol: Protocol) -> dict[str, dict[str, dict[str, Any]]]:
    """Chooses, for each mask, the stage and method with the best pooled Dice of pixels and of boxes on validation.

    Only methods that saw all validation slices of the mask are compared; baselines and RandomCAM are not candidates.

    Returns:
        {mask: {"pixels": {stage, method, threshold, dice}, "boxes": {the same, dice of the boxes}}}, plain Python
        values; without "boxes" where none were counted.

    Raises:
        UserError: There is no candidate for some mask.
    """
    chosen: dict[str, dict[str, dict[str, Any]]] = {}
    for mask, rows in of_protocol(summary, protocol, "validation").groupby("mask"):
        complete = rows["slices"] == rows["slices"].max()
        candidates = rows[complete & ~rows["baseline"].astype(bool) & ~is_random(rows["method"])]
        if candidates.empty:
            raise UserError(f"no method covers all validation slices that have a {mask} mask, so none can be chosen")
        chosen[str(mask)] = {}
        for kind, figure in (("pixels", "dice"), ("boxes", "box_dice")):
            if candidates[figure].notna().any():
                best = candidates.loc[candidates[figure].idxmax()]
                names = {"stage": str(best["stage"]), "method": str(best["method"])}
                chosen[str(mask)][kind] = names | {"threshold": float(best["threshold"]), "dice": float(best[figure])}
    return chosen


def _of_columns(figure: Any, table: pd.DataFrame, columns: list[str]) -> Float[np.ndarray, " n"]:
    return figure(*(table[column].to_numpy(np.float64) for column in columns))
