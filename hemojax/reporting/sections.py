"""What the report says, as text and tables made from the result tables; `summary` writes them down.

Every table of results has the columns `n` (slices) and `patients`: a method that saw only some of the slices says so.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hemojax.errors import UserError
from hemojax.metrics import classification
from hemojax.metrics.statistics import FIXED, RANDOM, VALIDATION
from hemojax.reporting.figures import depth

RULE = "at the threshold selected on validation"


class Section(NamedTuple):
    """A heading, paragraphs, and perhaps a table of words and the path of a figure.

    `brief` names the columns of the table that the terminal shows; a section where it is None is not shown there.
    """

    title: str
    text: tuple[str, ...]
    table: pd.DataFrame | None = None
    figure: str | None = None
    brief: tuple[str, ...] | None = None


def classifier(slices: pd.DataFrame) -> Section:
    """How well the classifier does on each split and label."""
    rows = []
    # Validation before test, "any" before the subtypes.
    order = {name: place for place, name in enumerate(("train", "validation", "test"))}
    groups = {key: group for key, group in slices.groupby(["split", "label"], observed=True)}
    for split, label in sorted(groups, key=lambda key: (key[1] != "any", key[1], order.get(key[0], 3))):
        group = groups[split, label]
        truth, logit = group["truth"].to_numpy(bool), group["logit"].to_numpy(np.float64)
        decided = classification.decisions(truth, logit)
        rows.append(
            {
                "split": split,
                "label": label,
                "AUROC": number(classification.auroc(truth, logit)),
                "AP": number(classification.average_precision(truth, logit)),
                "F1": number(decided["f1"]),
                "sensitivity": number(decided["sensitivity"]),
                "specificity": number(decided["specificity"]),
                "positive": str(int(truth.sum())),
                "n": str(len(group)),
                "patients": str(group["patient"].nunique()),
            }
        )
    text = "Per slice; F1, sensitivity and specificity with a slice called positive where its probability exceeds 0.5."
    table = pd.DataFrame(rows)
    return Section("Classifier", (text,), table, brief=tuple(table.columns))


def headline(slices: pd.DataFrame, counts: pd.DataFrame, summary: pd.DataFrame, chosen: Mapping[str, Any]) -> Section:
    """The result in words: the classifier, and the chosen stage and method for pixels and boxes of every mask."""
    test = slices[(slices["split"] == "test") & (slices["label"] == "any")]
    text = []
    if len(test):
        area = classification.auroc(test["truth"].to_numpy(bool), test["logit"].to_numpy(np.float64))
        seen = f"{len(test)} slices of {test['patient'].nunique()} patients"
        text.append(
            f"The classifier tells slices with and without a haemorrhage apart with AUROC **{number(area)}** on test "
            f"({seen})."
        )
    for mask, kinds in chosen.items():
        for kind, choice in kinds.items():
            text.append(_chosen_in_words(summary, mask, kind, choice))
    sizes = " and ".join(str(size) for size in sorted(counts["size"].unique()))
    text.append(f"Counted: every slice whose mask is not empty, on a grid with a side of {sizes} pixels.")
    return Section("Headline", tuple(text), brief=())


def _chosen_in_words(summary: pd.DataFrame, mask: str, kind: str, choice: Mapping[str, Any]) -> str:
    name, iou = ("dice", "iou") if kind == "pixels" else ("box_dice", "box_iou")
    row = find(summary, mask, choice["stage"], choice["method"])
    words = (
        f"{mask}, {kind}: {choice['method']} at {choice['stage']} was chosen on validation (Dice "
        f"{number(choice['dice'])}, threshold {number(choice['threshold'])}). On test: pooled Dice "
        f"**{interval(row, name)}**, IoU {number(row[iou])}, over {row['slices']} slices of {row['patients']} patients."
    )
    test = _test(summary, mask)
    random = test[(test["stage"] == choice["stage"]) & (test["method"] == RANDOM)]
    if len(random):
        words += f" RandomCAM at that stage: {number(random.iloc[0][name])}."
    baselines = test[test["baseline"].astype(bool) & test[name].notna()]
    if len(baselines):
        strongest = baselines.loc[baselines[name].idxmax()]
        words += f" Best baseline without a CAM: {strongest['method']}, {number(strongest[name])}."
    return words


def methods(summary: pd.DataFrame, mask: str, kind: str) -> Section:
    """Each method at its own best stage, and the baselines; `kind`, "pixels" or "boxes", decides what "best" is."""
    name = "dice" if kind == "pixels" else "box_dice"
    candidates = summary[(summary["mask"] == mask) & (summary["rule"] == VALIDATION) & summary[name].notna()]
    known = candidates[candidates["split"] == "validation"]
    best = known.loc[known.groupby("method")[name].idxmax(), ["stage", "method"]]
    rows = best.merge(_test(summary, mask), on=["stage", "method"])
    fixed = _test(summary, mask, FIXED)[["stage", "method", name]].rename(columns={name: "fixed"})
    rows = rows.merge(fixed, on=["stage", "method"], how="left").sort_values(name, ascending=False, kind="stable")
    shown = {"IoU": "iou", "precision": "precision", "recall": "recall", "Dice/slice": "slice_dice"}
    if kind == "boxes":
        shown = {"IoU": "box_iou", "loose hit": "box_loose", "strict hit": "box_strict"}
    table = rows[["method", "stage"]].assign(threshold=rows["threshold"].map(number))
    table["Dice"] = [interval(row, name) for _, row in rows.iterrows()]
    for heading, column in {"Dice at 0.5": "fixed", **shown, "pointing": "pointing"}.items():
        table[heading] = rows[column].map(number)
    table["n"], table["patients"] = rows["slices"].astype(str), rows["patients"].astype(str)
    text: tuple[str, ...] = (
        f"Test split, {RULE}; of each method the stage with the best Dice of {kind} on validation. Dice is pooled, "
        "with its 95 % interval by bootstrap over patients. Stage -: a baseline without a CAM.",
    )
    if kind == "boxes":
        text += (
            "Dice and IoU of the filled boxes, one around each 8-connected component; a loose hit is any overlap of a "
            "predicted with a true box, a strict hit a pair with an IoU of at least 0.5.",
        )
    brief = ("method", "stage", "Dice", "IoU", "n", "patients")
    return Section(f"{mask}: {kind}, each method at its best stage", text, table, brief=brief)


def grid(summary: pd.DataFrame, mask: str, choice: Mapping[str, Any]) -> Section:
    """The stage x method table of pooled Dice, the chosen cell in bold."""
    rows = _test(summary, mask)
    rows = rows[~rows["baseline"].astype(bool)]
    chosen = (rows["stage"] == choice["stage"]) & (rows["method"] == choice["method"])
    rows = rows.assign(cell=rows["dice"].map(number).where(~chosen, "**" + rows["dice"].map(number) + "**"))
    text = f"Pooled Dice, test split, {RULE}. In bold: the stage and method chosen on validation."
    title = f"{mask}: pixels, stage by method"
    return Section(title, (text,), _by_stage(rows, rows["dice"]), figure=f"figures/dice_{mask}.png")


def against_random(paired: pd.DataFrame, mask: str) -> Section:
    """Every method against RandomCAM at the same stage; those that lose, or do not win, by name."""
    title = f"{mask}: against RandomCAM at the same stage"
    rows = paired[(paired["mask"] == mask) & (paired["split"] == "test") & (paired["rule"] == VALIDATION)]
    if rows.empty:
        return Section(title, ("RandomCAM was not run.",))
    signed = rows[["difference", "low", "high"]].map("{:+.3f}".format)
    cells = signed["difference"] + " [" + signed["low"] + ", " + signed["high"] + "]"
    corrected = (rows["p_holm"] < 0.05).map({True: "*", False: ""})
    rows = rows.assign(cell=cells + corrected)
    beaten, unclear = rows[rows["loses"]], rows[~rows["loses"] & ~rows["beats"]]
    text = (
        f"Difference of pooled Dice to RandomCAM (mean of its seeds), test split, {RULE}, on the slices that both "
        "have, with its 95 % interval by bootstrap over patients. *: p < 0.05 after Holm's correction over this table.",
        f"Worse than RandomCAM (interval wholly below 0): {_names(beaten)}.",
        f"Not told from RandomCAM (interval holds 0): {_names(unclear)}.",
    )
    return Section(title, text, _by_stage(rows, rows["difference"]))


def times(timings: pd.DataFrame) -> Section:
    """Milliseconds a slice by method and stage, compilation apart."""
    if timings.empty:
        return Section("Times", ("Nothing was timed.",))
    per_slice = 1000 * timings["seconds"] / timings["slices"].where(timings["slices"] > 0)
    rows = timings.assign(cell=per_slice.map(lambda ms: number(ms, 2 if ms < 100 else 0)))
    keys = ["what", "method", "device", "slices"]
    table = rows.pivot_table(index=keys, columns="stage", values="cell", aggfunc="first", fill_value="-", observed=True)
    table = table[sorted(table.columns, key=depth)]
    table["compile (s)"] = (
        rows.groupby(keys, observed=True)["compile_seconds"].sum().map(lambda value: number(value, 1))
    )
    table = table.reset_index().rename(columns={"slices": "n"}).rename_axis(columns=None).astype(str)
    text = "Milliseconds a slice, by stage; compilation, in seconds for all stages together, is not in them."
    return Section("Times", (text,), table)


def find(summary: pd.DataFrame, mask: str, stage: str, method: str) -> pd.Series:
    """The test row of one stage and method at the selected threshold; UserError if there is none."""
    rows = _test(summary, mask)
    rows = rows[(rows["stage"] == stage) & (rows["method"] == method)]
    if rows.empty:
        raise UserError(f"chosen.json names {method} at {stage} for {mask}, of which counts.parquet has no test slice")
    return rows.iloc[0]


def number(value: float, digits: int = 3) -> str:
    """A figure in a table; `-` where it is undefined."""
    return "-" if pd.isna(value) else f"{value:.{digits}f}"


def interval(row: pd.Series, name: str) -> str:
    """A figure and its interval."""
    return f"{number(row[name])} [{number(row[f'{name}_low'])}, {number(row[f'{name}_high'])}]"


def _test(summary: pd.DataFrame, mask: str, rule: str = VALIDATION) -> pd.DataFrame:
    return summary[(summary["mask"] == mask) & (summary["split"] == "test") & (summary["rule"] == rule)]


def _by_stage(rows: pd.DataFrame, order: pd.Series) -> pd.DataFrame:
    """The column `cell` as a table of methods (the one with the highest `order` first) by stages, with n and patients.

    A method that saw other slices at one stage than at another has a line for each, so that no n is hidden.
    """
    best = order.groupby(rows["method"]).max()
    table = rows.pivot(index=["method", "slices", "patients"], columns="stage", values="cell").fillna("-")
    table = table[sorted(table.columns, key=depth)].rename_axis(columns=None).reset_index()
    table = table.iloc[np.argsort(-best[table["method"]].to_numpy(), kind="stable")]
    n, patients = table.pop("slices").astype(str), table.pop("patients").astype(str)
    return table.assign(n=n, patients=patients)


def _names(rows: pd.DataFrame) -> str:
    rows = rows.sort_values("difference", kind="stable")
    return ", ".join(f"{row.method} at {row.stage} ({row.cell})" for row in rows.itertuples()) or "none"
