"""The parts of a report: headings, paragraphs and tables of words. `report` writes them down.

Every table of results has the columns `n` (slices) and `patients`: a method that saw only some of the slices says so.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from hemojax.reporting.figures import depth
from hemojax.statistics.thresholds import Protocol


class Section(NamedTuple):
    """A heading, paragraphs, and perhaps a table of words and the path of a figure.

    `brief` names the columns of the table that the terminal shows; a section where it is None is not shown there.
    """

    title: str
    text: tuple[str, ...]
    table: pd.DataFrame | None = None
    figure: str | None = None
    brief: tuple[str, ...] | None = None


def judged_by(protocol: Protocol, size: int) -> str:
    """The rule, the population and the grid in words: what every figure has to carry."""
    rule = {"validation": "at the threshold selected on validation", "fixed 0.5": "at threshold 0.5"}[protocol.rule]
    population = {"all": "slices whose mask is not empty", "TP + FP + FN": "TP + FP + FN slices"}[protocol.population]
    return f"{rule}, {population}, grid of {size} x {size} pixels"


def number(value: float, digits: int = 3) -> str:
    """A figure in a table; `-` where it is undefined."""
    return "-" if pd.isna(value) else f"{value:.{digits}f}"


def interval(row: pd.Series, name: str) -> str:
    """A figure and its interval."""
    return f"{number(row[name])} [{number(row[f'{name}_low'])}, {number(row[f'{name}_high'])}]"


def with_counts(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The table and, as its last columns, how many slices and patients each of its rows counts."""
    return table.assign(n=rows["slices"].astype(str), patients=rows["patients"].astype(str))


def by_stage(rows: pd.DataFrame, order: pd.Series) -> pd.DataFrame:
    """The column `cell` as a table of methods (the one with the highest `order` first) by stages, with n and patients.

    A method that saw other slices at one stage than at another has a line for each, so that no n is hidden.
    """
    best = order.groupby(rows["method"]).max()
    table = rows.pivot(index=["method", "slices", "patients"], columns="stage", values="cell").fillna("-")
    table = table[sorted(table.columns, key=depth)].rename_axis(columns=None).reset_index()
    table = table.iloc[np.argsort(-best[table["method"]].to_numpy(), kind="stable")]
    n, patients = table.pop("slices").astype(str), table.pop("patients").astype(str)
    return table.assign(n=n, patients=patients)


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
