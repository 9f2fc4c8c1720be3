"""From the counts table to what a report says: chosen thresholds, summaries, intervals, and the best method.

A counts table has one row a (slice whose mask is not empty, stage, method, seed, mask, threshold), as described in
`hemojax.reporting.tables`. The same table with the thresholds from `select_thresholds` goes into every function here.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from hemojax.errors import UserError
from hemojax.metrics import bootstrap, overlap

MAP = ["stage", "method", "seed", "mask"]
ROW = ["split", "mask", "stage", "method", "rule"]
FIXED, VALIDATION = "fixed 0.5", "validation"
RANDOM = "randomcam"

_PIXELS = ["tp", "fp", "fn"]
_BOXES = ["box_tp", "box_fp", "box_fn"]
_HITS = ["box_loose", "box_strict"]


def select_thresholds(counts: pd.DataFrame) -> pd.DataFrame:
    """Selects the threshold with the best pooled Dice on the validation split; of equal ones the lowest.

    Returns:
        One row a (stage, method, seed, mask) with `threshold` and the validation split's `dice` there.

    Raises:
        UserError: No validation slice has a mask.
    """
    pooled = counts.loc[counts["split"] == "validation", [*MAP, "threshold", *_PIXELS]]
    if pooled.empty:
        raise UserError("no slice of the validation split has a mask, so no threshold can be selected on it")
    pooled = pooled.astype(dict.fromkeys(_PIXELS, "int64"))  # sums of int32 may overflow
    pooled = pooled.groupby([*MAP, "threshold"], observed=True, as_index=False).sum()
    pooled["dice"] = _ratio(overlap.dice, pooled, _PIXELS)
    best = pooled.groupby(MAP, observed=True)["dice"].idxmax()  # the first of equal ones, thresholds ascending
    return pooled.loc[best, [*MAP, "threshold", "dice"]].reset_index(drop=True)


def at_thresholds(counts: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """Keeps the rows at threshold 0.5 and at the selected one, with the column `rule` that says which.

    A row is there twice where 0.5 was selected. Numbers are float64, missing box figures NaN.
    """
    selected = counts.merge(thresholds[[*MAP, "threshold"]], on=[*MAP, "threshold"])
    fixed = counts[counts["threshold"] == 0.5]
    rows = pd.concat([fixed.assign(rule=FIXED), selected.assign(rule=VALIDATION)], ignore_index=True)
    return rows.astype(dict.fromkeys([*_PIXELS, *_BOXES, *_HITS, "pointing", "threshold"], "float64"))


def summarise(counts: pd.DataFrame, thresholds: pd.DataFrame, resamples: int = bootstrap.RESAMPLES) -> pd.DataFrame:
    """Summarises each method at each stage, for both threshold rules.

    A method with several seeds (RandomCAM) is summarised seed by seed, each with its own selected threshold, and the
    figures are averaged.

    Args:
        counts: The counts table.
        thresholds: From `select_thresholds`; what is not in it has no row for the rule "validation".
        resamples: Of the patients, for the interval.

    Returns:
        One row a (split, mask, stage, method, rule):
        `dice`, `iou`, `precision`, `recall` pooled over all pixels; `dice_low`, `dice_high` the 95 % interval over
        patients; `slice_dice`, `slice_iou`, `slice_precision`, `slice_recall` means over slices (precision over those
        where something is predicted); `patient_dice` the mean of pooled Dice over patients; `box_dice`, `box_iou`
        pooled over the pixels of filled boxes, `box_loose`, `box_strict` shares of slices hit (NaN where boxes were
        not counted in every slice); `pointing` the share of slices hit; `threshold`, `slices`, `patients`, `seeds`,
        `baseline`.
    """
    rows = at_thresholds(counts, thresholds)
    for name, ratio, columns in _RATIOS:
        rows[f"slice_{name}"] = _ratio(ratio, rows, columns)
    by_seed = rows.groupby([*ROW, "seed"], observed=True)
    summary = _pooled(by_seed[_PIXELS + _BOXES].sum(skipna=False))
    means = [*(f"slice_{name}" for name, *_ in _RATIOS), *_HITS, "pointing", "threshold"]
    summary[means] = by_seed[means].mean()
    summary.loc[summary["box_dice"].isna(), _HITS] = np.nan
    patients = rows.groupby([*ROW, "seed", "patient"], observed=True)[_PIXELS].sum()
    patients["dice"] = _ratio(overlap.dice, patients, _PIXELS)
    by_patient = patients.groupby([*ROW, "seed"], observed=True)["dice"]
    summary["patient_dice"], summary["patients"], summary["slices"] = (
        by_patient.mean(),
        by_patient.size(),
        by_seed.size(),
    )
    by_row = summary.groupby(ROW, observed=True)
    summary = by_row.mean().astype({"patients": int, "slices": int})
    summary["seeds"] = by_row.size()
    summary["baseline"] = rows.groupby(ROW, observed=True)["baseline"].first()
    for row, group in rows.groupby(ROW, observed=True):
        per_patient = _per_patient(group)
        dice = bootstrap.resampled_dice(bootstrap.patient_draws(len(per_patient), resamples), per_patient)
        summary.loc[row, ["dice_low", "dice_high"]] = bootstrap.interval(dice)
    return summary.reset_index()


def paired_differences(
    counts: pd.DataFrame, thresholds: pd.DataFrame, against: str = RANDOM, resamples: int = bootstrap.RESAMPLES
) -> pd.DataFrame:
    """Compares every method with one method at the same stage, on the slices that both have.

    Returns:
        One row a (split, mask, stage, method, rule): `difference` of pooled Dice (seeds averaged) and its 95 %
        interval `low`, `high` over the same resamples of patients for both; `beats` and `loses` if the interval lies
        wholly above or below 0; `p_holm`, corrected over all rows of the same split, mask and rule; `slices` and
        `patients` compared. Empty if `against` is not in the table. Baselines have no stage and are left out.
    """
    rows = at_thresholds(counts, thresholds)
    rows = rows[~rows["baseline"].astype(bool)]
    place = rows.groupby(["case", "slice"], observed=True).ngroup().to_numpy()
    groups = {row: np.asarray(index) for row, index in rows.reset_index().groupby(ROW, observed=True).indices.items()}
    found = []
    for (split, mask, stage, method, rule), index in groups.items():
        reference = groups.get((split, mask, stage, against, rule))
        if method == against or reference is None:
            continue
        both = np.intersect1d(place[index], place[reference])
        if not len(both):
            continue
        one, other = (_per_patient(rows.iloc[i[np.isin(place[i], both)]]) for i in (index, reference))
        everyone = np.ones((1, len(one)), int)
        draws = bootstrap.patient_draws(len(one), resamples)
        point, resampled = (
            bootstrap.resampled_dice(d, one) - bootstrap.resampled_dice(d, other) for d in (everyone, draws)
        )
        low, high = bootstrap.interval(resampled)
        p = bootstrap.two_sided_p(resampled)
        found.append((split, mask, stage, method, rule, point[0], low, high, low > 0, high < 0, p, len(both), len(one)))
    figures = ["difference", "low", "high", "beats", "loses", "p_holm", "slices", "patients"]
    table = pd.DataFrame(found, columns=[*ROW, *figures])
    family = table.groupby(["split", "mask", "rule"], observed=True)["p_holm"]
    table["p_holm"] = family.transform(lambda p: bootstrap.holm(p.to_numpy(float)))
    return table


def choose(summary: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """Chooses, for each mask, the stage and method with the best pooled Dice of pixels and of boxes on validation.

    Only methods that saw all validation slices of the mask are compared; baselines and RandomCAM are not candidates.

    Returns:
        {mask: {"pixels": {stage, method, threshold, dice}, "boxes": {the same, dice of the boxes}}}, plain Python
        values; without "boxes" where none were counted.

    Raises:
        UserError: There is no candidate for some mask.
    """
    chosen: dict[str, dict[str, dict[str, Any]]] = {}
    for mask, rows in summary[(summary["split"] == "validation") & (summary["rule"] == VALIDATION)].groupby("mask"):
        complete = rows["slices"] == rows["slices"].max()
        candidates = rows[complete & ~rows["baseline"].astype(bool) & (rows["method"] != RANDOM)]
        if candidates.empty:
            raise UserError(f"no method covers all validation slices that have a {mask} mask, so none can be chosen")
        chosen[str(mask)] = {}
        for kind, figure in (("pixels", "dice"), ("boxes", "box_dice")):
            if candidates[figure].notna().any():
                best = candidates.loc[candidates[figure].idxmax()]
                names = {"stage": str(best["stage"]), "method": str(best["method"])}
                chosen[str(mask)][kind] = names | {"threshold": float(best["threshold"]), "dice": float(best[figure])}
    return chosen


_RATIOS = [
    ("dice", overlap.dice, _PIXELS),
    ("iou", overlap.iou, _PIXELS),
    ("precision", overlap.precision, ["tp", "fp"]),
    ("recall", overlap.recall, ["tp", "fn"]),
]


def _ratio(ratio: Any, table: pd.DataFrame, columns: list[str]) -> Float[np.ndarray, " n"]:
    return ratio(*(table[column].to_numpy(np.float64) for column in columns))


def _pooled(sums: pd.DataFrame) -> pd.DataFrame:
    figures = {name: _ratio(ratio, sums, columns) for name, ratio, columns in _RATIOS}
    for name, ratio in (("box_dice", overlap.dice), ("box_iou", overlap.iou)):
        figures[name] = np.where(sums[_BOXES].isna().any(axis=1), np.nan, _ratio(ratio, sums, _BOXES))
    return pd.DataFrame(figures, index=sums.index)


def _per_patient(rows: pd.DataFrame) -> Int[np.ndarray, "p s 3"]:
    """Sums tp, fp and fn over the slices of each patient and seed; patients in sorted order."""
    patients, patient = np.unique(rows["patient"].to_numpy(), return_inverse=True)
    seeds, seed = np.unique(rows["seed"].to_numpy(), return_inverse=True)
    sums = np.zeros((len(patients), len(seeds), 3), np.int64)
    np.add.at(sums, (patient, seed), rows[_PIXELS].to_numpy(np.int64))
    return sums
