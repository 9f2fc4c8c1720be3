"""Is the difference real? The report's words on paired differences and ranks."""

from collections.abc import Mapping
from typing import Any, SupportsFloat

import pandas as pd
from matplotlib.figure import Figure

from hemojax.reporting.figures import new_figure
from hemojax.reporting.sections import Section, by_stage, number, with_counts
from hemojax.statistics.comparison import Ranks


def against_random(paired: pd.DataFrame, mask: str) -> Section:
    """Every method against RandomCAM at the same stage; those that lose, or do not win, by name."""
    title = f"{mask}: against RandomCAM at the same stage"
    rows = paired[(paired["mask"] == mask) & (paired["split"] == "test")]
    if rows.empty:
        return Section(title, ("RandomCAM was not run.",))
    rows = rows.assign(cell=_differences(rows))
    beaten, unclear = rows[rows["loses"]], rows[~rows["loses"] & ~rows["beats"]]
    text = (
        "Difference of pooled Dice to RandomCAM (mean of its seeds), test split, on the slices that both have, with "
        "its 95 % interval by bootstrap over patients. *: p < 0.05 after Holm's correction over this table.",
        f"Worse than RandomCAM (interval wholly below 0): {_names(beaten)}.",
        f"Not told from RandomCAM (interval holds 0): {_names(unclear)}.",
    )
    return Section(title, text, by_stage(rows, rows["difference"]))


def against_chosen(paired: pd.DataFrame, mask: str, choice: Mapping[str, Any]) -> Section:
    """Every method at its best stage against the chosen one."""
    rows = paired[paired["mask"] == mask].sort_values("difference", ascending=False, kind="stable")
    table = rows[["method", "stage"]].assign(difference=_differences(rows))
    table["p"], table["p (Holm)"] = rows["p"].map(lambda p: number(p, 4)), rows["p_holm"].map(lambda p: number(p, 4))
    table = with_counts(table, rows)
    text = (
        f"Difference of pooled Dice to {choice['method']} at {choice['stage']}, each method at its best stage, test "
        "split, on the slices that both have; 95 % interval and p by the same resamples of patients, *: p < 0.05 "
        "after Holm's correction."
    )
    return Section(f"{mask}: against the chosen method", (text,), table)


def in_words(paired: pd.DataFrame, mask: str, choice: Mapping[str, Any]) -> str:
    """Whether the chosen method's lead is real."""
    rows = paired[paired["mask"] == mask]
    worse, better = rows[(rows["p_holm"] < 0.05) & rows["loses"]], rows[(rows["p_holm"] < 0.05) & rows["beats"]]
    unclear = rows.drop([*worse.index, *better.index])
    words = f"{mask}, is the difference real? Against {choice['method']} at {choice['stage']}, after Holm's correction,"
    words += f" {len(worse)} of {len(rows)} others are worse"
    words += f", {len(better)} better ({', '.join(better['method'])})" if len(better) else ""
    return words + (f"; not told apart: {', '.join(unclear['method'])}." if len(unclear) else ".")


def ranks(found: Ranks, mask: str) -> Section:
    """Mean ranks over patients, and which of them are told apart."""
    table = pd.DataFrame({"method": found.mean.index, "mean rank": found.mean.map(lambda r: number(r, 2)).to_numpy()})
    table["patients"] = str(found.patients)
    text = (
        f"Rank of each method's pooled Dice within a patient, mean over {found.patients} patients, 1 the best. "
        f"Friedman p {_exact(found.p)}; mean ranks closer than {number(found.critical, 2)} are not told apart "
        "(Nemenyi, 5 %)."
    )
    return Section(f"{mask}: ranks over patients", (text,), table, figure=f"figures/ranks_{mask}.png")


def critical_difference(found: Ranks, mask: str) -> Figure:
    """Demsar's plot: methods on a line by mean rank, bars over those that are not told apart."""
    methods, values = list(found.mean.index), found.mean.to_numpy()
    count, half = len(methods), (len(methods) + 1) // 2
    bars = _cliques(values, found.critical)
    height = 1.25 + 0.12 * len(bars) + 0.24 * half
    figure = new_figure(8.0, height)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, 8)
    axes.set_ylim(height, 0)
    axes.set_axis_off()

    def place(rank: SupportsFloat) -> float:
        return 2.1 + 3.8 * (float(rank) - 1) / max(count - 1, 1)

    top = 0.85
    figure.text(0.01, 1 - 0.1 / height, f"Mean ranks over {found.patients} patients: {mask}", weight="bold", va="top")
    axes.plot([place(1), place(count)], [top, top], color="black", linewidth=1)
    for tick in range(1, count + 1):
        axes.plot([place(tick)] * 2, [top - 0.06, top], color="black", linewidth=1)
        axes.text(place(tick), top - 0.09, str(tick), ha="center", va="bottom", fontsize=8)
    span = place(1 + found.critical) - place(1)
    axes.text(
        7.9, 0.22, f"bars: not told apart (Nemenyi, critical difference {found.critical:.2f})", ha="right", fontsize=8
    )
    if span <= 3.8:
        axes.plot([place(1), place(1) + span], [0.5, 0.5], color="#e8432e", linewidth=2)
    for level, (first, last) in enumerate(bars):
        depth = top + 0.12 * (level + 1)
        ends = [place(values[first]) - 0.04, place(values[last]) + 0.04]
        axes.plot(ends, [depth, depth], color="black", linewidth=3, solid_capstyle="butt")
    below = top + 0.12 * (len(bars) + 1)
    for index, (method, value) in enumerate(zip(methods, values, strict=True)):
        left = index < half
        line = below + 0.24 * (index if left else count - 1 - index) + 0.12
        end = 1.9 if left else 6.1
        axes.plot([place(value), place(value), end], [top, line, line], color="0.35", linewidth=0.8)
        text = f"{method}  {value:.2f}" if left else f"{value:.2f}  {method}"
        axes.text(end + (-0.05 if left else 0.05), line, text, ha="right" if left else "left", va="center", fontsize=8)
    return figure


def _cliques(values: Any, critical: float) -> list[tuple[int, int]]:
    """First and last of each largest run of mean ranks, ascending, that lie within the critical difference."""
    runs: list[tuple[int, int]] = []
    for first in range(len(values)):
        last = max(i for i in range(first, len(values)) if values[i] - values[first] <= critical)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def _differences(rows: pd.DataFrame) -> pd.Series:
    signed = rows[["difference", "low", "high"]].map("{:+.3f}".format)
    cells = signed["difference"] + " [" + signed["low"] + ", " + signed["high"] + "]"
    return cells + (rows["p_holm"] < 0.05).map({True: "*", False: ""})


def _exact(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {number(p, 4)}"


def _names(rows: pd.DataFrame) -> str:
    rows = rows.sort_values("difference", kind="stable")
    return ", ".join(f"{row.method} at {row.stage} ({row.cell})" for row in rows.itertuples()) or "none"
