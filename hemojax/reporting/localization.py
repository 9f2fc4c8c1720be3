"""What the report says about where maps point: methods, stages, threshold rules, populations, strata."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hemojax.errors import UserError
from hemojax.reporting.sections import Section, by_stage, interval, judged_by, number, with_counts
from hemojax.statistics import thresholds
from hemojax.statistics.summary import RANDOM, best_stages, is_random, of_protocol, summarise
from hemojax.statistics.thresholds import Protocol

_BRIEF = ("method", "stage", "Dice", "IoU", "n", "patients")


def chosen_in_words(judged: pd.DataFrame, mask: str, kind: str, choice: Mapping[str, Any]) -> str:
    """The stage and method chosen on validation, what they reach on test, and what the floor and the baselines reach.

    Args:
        judged: rows of `summary.summarise` on test, of one rule and population.
        mask: the mask target.
        kind: "pixels" or "boxes".
        choice: of `summary.choose`.
    """
    name, iou = ("dice", "iou") if kind == "pixels" else ("box_dice", "box_iou")
    row = find(judged, mask, choice["stage"], choice["method"])
    words = (
        f"{mask}, {kind}: {choice['method']} at {choice['stage']} was chosen on validation (Dice "
        f"{number(choice['dice'])}, threshold {number(choice['threshold'])}). On test: pooled Dice "
        f"**{interval(row, name)}**, IoU {number(row[iou])}, over {row['slices']} slices of {row['patients']} patients."
    )
    test = judged[judged["mask"] == mask]
    random = test[(test["stage"] == choice["stage"]) & (test["method"] == RANDOM)]
    if len(random):
        words += f" RandomCAM at that stage: {number(random.iloc[0][name])}."
    baselines = test[test["baseline"].astype(bool) & test[name].notna()]
    if len(baselines):
        strongest = baselines.loc[baselines[name].idxmax()]
        words += f" Best baseline without a CAM: {strongest['method']}, {number(strongest[name])}."
    return words


def best_stage_in_words(best: pd.DataFrame, mask: str) -> str:
    """At which stage most methods are best."""
    rows = best[(best["mask"] == mask) & ~best["baseline"].astype(bool) & ~is_random(best["method"])]
    stages = rows["stage"].value_counts()
    (stage, times), *_ = stages.items()
    return f"{mask}, stage: {stage} is the best stage on validation for {times} of {len(rows)} methods."


def methods(summary: pd.DataFrame, mask: str, kind: str, protocol: Protocol) -> Section:
    """Each method at its own best stage, and the baselines; `kind`, "pixels" or "boxes", decides what "best" is."""
    name = "dice" if kind == "pixels" else "box_dice"
    judged = of_protocol(summary, protocol)
    best = best_stages(summary, protocol, name)
    rows = best[["mask", "stage", "method"]].merge(judged[judged["mask"] == mask], on=["mask", "stage", "method"])
    fixed = of_protocol(summary, protocol._replace(rule=thresholds.FIXED))
    fixed = fixed.loc[fixed["mask"] == mask, ["stage", "method", name]].rename(columns={name: "fixed"})
    rows = rows.merge(fixed, on=["stage", "method"], how="left").sort_values(name, ascending=False, kind="stable")
    shown = {"IoU": "iou", "precision": "precision", "recall": "recall", "Dice/slice": "slice_dice"}
    shown["Dice/patient"] = "patient_dice"
    if kind == "boxes":
        shown = {"IoU": "box_iou", "best pair's IoU": "box_best", "loose hit": "box_loose", "strict hit": "box_strict"}
    table = rows[["method", "stage"]].assign(threshold=rows["threshold"].map(number))
    table["Dice"] = [interval(row, name) for _, row in rows.iterrows()]
    for heading, column in {"Dice at 0.5": "fixed", **shown}.items():
        table[heading] = rows[column].map(number)
    table = with_counts(table, rows)
    text: tuple[str, ...] = (
        f"Test split, {judged_by(protocol, int(judged['size'].iloc[0]))}; of each method the stage with the best Dice "
        f"of {kind} on validation. Dice is pooled, with its 95 % interval by bootstrap over patients. Stage -: a "
        "baseline without a CAM.",
    )
    if kind == "boxes":
        text += (
            "Dice and IoU of the filled boxes, one around each 8-connected component; a loose hit is any overlap of a "
            "predicted with a true box, a strict hit a pair with an IoU of at least 0.5.",
        )
    return Section(f"{mask}: {kind}, each method at its best stage", text, table, brief=_BRIEF)


def grid(judged: pd.DataFrame, mask: str, choice: Mapping[str, Any], protocol: Protocol) -> Section:
    """The stage x method table of pooled Dice, the chosen cell in bold."""
    rows = judged[(judged["mask"] == mask) & ~judged["baseline"].astype(bool)]
    chosen = (rows["stage"] == choice["stage"]) & (rows["method"] == choice["method"])
    rows = rows.assign(cell=rows["dice"].map(number).where(~chosen, "**" + rows["dice"].map(number) + "**"))
    text = f"Pooled Dice, test split, {judged_by(protocol, int(rows['size'].iloc[0]))}. In bold: the stage and method "
    text += "chosen on validation."
    title = f"{mask}: pixels, stage by method"
    return Section(title, (text,), by_stage(rows, rows["dice"]), figure=f"figures/dice_{mask}.png")


def without_threshold(
    judged: pd.DataFrame, curves: pd.DataFrame, box_accuracy: pd.DataFrame, best: pd.DataFrame, mask: str
) -> Section:
    """What maps are worth before they are cut, each method at its best stage.

    Args:
        judged: rows of `summary.summarise` on test.
        curves: of `pooled_curves.summarise`: pooled `pxap` and `pixel_auroc` with intervals.
        box_accuracy: MaxBoxAccV2, a row a (mask, stage, method).
        best: of `summary.best_stages`.
        mask: the mask target.
    """
    keys = ["mask", "stage", "method"]
    rows = best.loc[best["mask"] == mask, keys].merge(judged, on=keys)
    rows = rows.merge(curves, on=keys).merge(box_accuracy, on=keys, how="left")
    rows = rows.sort_values("pxap", ascending=False, kind="stable")
    table = rows[["method", "stage"]].copy()
    table["PxAP"] = [interval(row, "pxap") for _, row in rows.iterrows()]
    table["AUROC"] = [interval(row, "pixel_auroc") for _, row in rows.iterrows()]
    shown = {
        "AP/slice": "ap",
        "AUROC/slice": "auroc",
        "pointing": "pointing",
        "within 15/512": "pointing_near",
        "energy": "energy",
        "rank accuracy": "rank",
        "MaxBoxAccV2 (leaky)": "max_box_accuracy",
    }
    for heading, column in shown.items():
        table[heading] = rows[column].map(number)
    table = with_counts(table, rows)
    text = (
        "Test split, slices whose mask is not empty. PxAP and AUROC are pooled over all pixels, with 95 % intervals by "
        "bootstrap over patients (1,024 levels of a map); pointing: the hottest pixel lies in the mask, or within 15 "
        "of 512 pixels of it; energy: the share of the map's sum in the mask; rank accuracy: the share of the mask "
        "among as many hottest pixels. MaxBoxAccV2 takes its threshold from the test split: it is leaky."
    )
    return Section(f"{mask}: maps before they are cut", (text,), table)


def rules(summary: pd.DataFrame, mask: str, choice: Mapping[str, Any]) -> Section:
    """The chosen stage and method by every threshold rule on every population."""
    rows = summary[(summary["mask"] == mask) & (summary["split"] == "test")]
    rows = rows[(rows["stage"] == choice["stage"]) & (rows["method"] == choice["method"])]
    rows = rows.sort_values(["population", "rule"], key=lambda column: column.map(_ORDER.index))
    table = pd.DataFrame({"population": rows["population"], "rule": rows["rule"]})
    table["threshold"] = rows["threshold"].map(number)
    for heading, name in {"Dice": "dice", "IoU": "iou", "Dice/slice": "slice_dice", "box Dice": "box_dice"}.items():
        table[heading] = [interval(row, name) for _, row in rows.iterrows()]
    table = with_counts(table, rows)
    text = (
        f"{choice['method']} at {choice['stage']}, test split, grid of {rows['size'].iloc[0]} pixels. `otsu` cuts each "
        "map at its own threshold (the mean is shown); `oracle (leaky)` takes the threshold from the test split and "
        "says only what a threshold can still give."
    )
    return Section(f"{mask}: threshold rules and populations", (text,), table)


def strata(rows: pd.DataFrame, mask: str, choice: Mapping[str, Any], resamples: int) -> Section:
    """The chosen stage and method by subtype and by size of the lesion.

    Args:
        rows: from `thresholds.cut`, on test, of the protocol's rule and population.
        mask: the mask target.
        choice: of `summary.choose`.
        resamples: of the patients.
    """
    of_mask = rows[(rows["mask"] == mask) & rows["drawn"]]
    of_cell = of_mask[(of_mask["stage"] == choice["stage"]) & (of_mask["method"] == choice["method"])]
    known = of_cell["area_mm2"].notna().all()
    area, unit = (of_cell["area_mm2"], "mm2") if known else (of_cell["area"], "pixels")
    third = thresholds.tertiles(area)
    groups = {f"{name} ({_range(area[third == name])} {unit})": third == name for name in _THIRDS}
    names = of_cell["subtypes"].str.split(",")
    groups |= {
        name: names.map(lambda n, name=name: name in n) for name in sorted({n for row in names for n in row if n})
    }
    parts = []
    for name, keep in groups.items():
        if keep.any():
            summary = summarise(of_cell[keep], resamples)
            parts.append(summary[summary["population"] == thresholds.DRAWN].assign(stratum=name))
    found = pd.concat(parts)
    table = pd.DataFrame({"lesions": found["stratum"]})
    for heading, name in {"Dice": "dice", "IoU": "iou", "box Dice": "box_dice", "pointing": "pointing"}.items():
        table[heading] = [interval(row, name) for _, row in found.iterrows()]
    table = with_counts(table, found)
    text = (
        f"{choice['method']} at {choice['stage']}, test split: thirds of the slices by the area of the lesion, and "
        "the slices in which a subtype is drawn."
    )
    return Section(f"{mask}: by size and subtype", (text,), table)


def volume_errors(volumes: pd.DataFrame) -> Section:
    """Distance of surfaces and error of volumes of each method at its best stage, over the test patients.

    Args:
        volumes: the volumes table, a row a (patient, mask, method at its best stage).
    """
    rows = volumes.assign(error=volumes["predicted_ml"] - volumes["true_ml"])
    rows["absolute"] = rows["error"].abs()
    lines = []
    for (mask, method, stage), cell in rows.groupby(["mask", "method", "stage"], sort=False, observed=True):
        low, middle, high = cell["hd95"].quantile([0.25, 0.5, 0.75])
        lines.append(
            {
                "mask": mask,
                "method": method,
                "stage": stage,
                "order": middle,
                "HD95, mm": f"{number(middle, 1)} ({number(low, 1)} to {number(high, 1)})" if pd.notna(middle) else "-",
                "true, mL": number(cell["true_ml"].mean(), 1),
                "predicted, mL": number(cell["predicted_ml"].mean(), 1),
                "error, mL": f"{cell['error'].mean():+.1f}",
                "absolute error, mL": number(cell["absolute"].mean(), 1),
                "without a surface": str(int(cell["hd95"].isna().sum())),
                "patients": str(len(cell)),
            }
        )
    table = pd.DataFrame(lines).sort_values(["mask", "order"], kind="stable").drop(columns="order")
    text = (
        "Each method at its best stage, threshold selected on validation, test split, over the explained slices of a "
        "patient at their true size. HD95: 95th percentile of the symmetric Hausdorff distance, median (quartiles) "
        "over patients with both surfaces; volumes are means over patients."
    )
    return Section("Distances and volumes", (text,), table)


def find(judged: pd.DataFrame, mask: str, stage: str, method: str) -> pd.Series:
    """The test row of one stage and method; UserError if there is none."""
    rows = judged[(judged["mask"] == mask) & (judged["stage"] == stage) & (judged["method"] == method)]
    if rows.empty:
        raise UserError(f"chosen.json names {method} at {stage} for {mask}, of which counts.parquet has no test slice")
    return rows.iloc[0]


_THIRDS = ("small", "medium", "large")
_ORDER = [*thresholds.POPULATIONS, *thresholds.RULES]


def _range(area: pd.Series) -> str:
    return f"{area.min():.0f} to {area.max():.0f}" if len(area) else "none"
