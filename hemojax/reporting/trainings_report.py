"""The report over several trainings of one config: what holds whatever the seed, or the fold; made of their tables."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console

from hemojax.metrics import classification
from hemojax.reporting import report
from hemojax.reporting.classifier_checks import removed
from hemojax.reporting.localization import find
from hemojax.reporting.sections import Section, interval, judged_by, number
from hemojax.results import read_json, read_table, write_text
from hemojax.statistics import bootstrap, thresholds, trainings
from hemojax.statistics.summary import of_protocol, summarise
from hemojax.statistics.thresholds import Protocol


class Training(NamedTuple):
    """What one training gave: its tables, what it chose on validation, and its summary."""

    results: report.Results
    chosen: dict[str, Any]
    summary: pd.DataFrame


def write(
    folders: Mapping[int, Path],
    to: Path,
    console: Console,
    *,
    differs_in: str = "seed",
    resamples: int = bootstrap.RESAMPLES,
) -> None:
    """Writes trainings.md and trainings.csv, and prints their tables.

    Args:
        folders: of each seed or fold the results of its training.
        to: where consistency.parquet lies, and where to write.
        console: where to print.
        differs_in: seed or fold.
        resamples: of the patients, for intervals.

    Raises:
        UserError: a file is missing or odd.
    """
    found = {number_of: _read(folder, resamples) for number_of, folder in folders.items()}
    run = read_json(next(iter(folders.values())) / "run.json")
    protocol = thresholds.PROTOCOLS[run["config"]["eval"]["protocol"]]
    summaries = {number_of: training.summary for number_of, training in found.items()}
    best = trainings.best_stages(summaries, protocol)
    spread = trainings.spread(summaries, best, protocol)
    consistency = read_table(to / "consistency.parquet")
    consistency = consistency[consistency["first"].isin(list(found)) & consistency["second"].isin(list(found))]
    means = consistency.groupby(["stage", "method"], as_index=False).agg(consistency=("iou", "mean"))
    spread = spread.merge(means, on=["stage", "method"], how="left")
    content = [
        _classifiers(found, differs_in),
        *_by_training(found, protocol, differs_in),
        *_by_method(spread, len(found)),
    ]
    size = int(next(iter(summaries.values()))["size"].iloc[0])
    text = f"{len(found)} trainings, which differ in their {differs_in} alone. Counted {judged_by(protocol, size)}."
    content.insert(0, Section("Trainings", (text,), brief=()))
    write_text(to / "trainings.csv", spread.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(to / "trainings.md", report.markdown(content))
    report.show(console, content)
    console.print(f"Report: {to / 'trainings.md'}", markup=False, highlight=False, soft_wrap=True)


def _read(folder: Path, resamples: int) -> Training:
    results = report.read(folder)
    rows = thresholds.cut(results.counts, results.maps, results.lesions)
    return Training(results, read_json(folder / "chosen.json"), summarise(rows, resamples))


def _classifiers(found: Mapping[int, Training], differs_in: str) -> Section:
    rows = []
    for number_of, training in found.items():
        test = training.results.slices[training.results.slices["split"] == "test"]
        for label, group in test.groupby("label", sort=False):
            truth, logit = group["truth"].to_numpy(bool), group["logit"].to_numpy(np.float64)
            row = {differs_in: str(number_of), "label": str(label), "AUROC": number(classification.auroc(truth, logit))}
            removal = training.results.removal
            if removal is not None:
                for (mask, fill), filled in removal[removal["label"] == label].groupby(["mask", "fill"], sort=False):
                    flips = removed(filled)
                    row[f"{mask}, {fill}"] = f"{flips['flipped']} of {flips['called']}"
            rows.append(row | {"n": str(len(group)), "patients": str(group["patient"].nunique())})
    table = pd.DataFrame(rows).fillna("-")
    text = "On test; and how many positive calls flip when the mask is filled from its surroundings or the other side."
    return Section("Classifiers", (text,), table, brief=tuple(table.columns))


def _by_training(found: Mapping[int, Training], protocol: Protocol, differs_in: str) -> Iterator[Section]:
    for mask in next(iter(found.values())).chosen:
        rows, values = [], []
        for number_of, training in found.items():
            judged = of_protocol(training.summary, protocol)
            for kind, name in (("pixels", "dice"), ("boxes", "box_dice")):
                choice = training.chosen[mask].get(kind)
                if choice is not None:
                    row = find(judged, mask, choice["stage"], choice["method"])
                    chosen = {
                        "chosen for": kind,
                        differs_in: str(number_of),
                        "method": row["method"],
                        "stage": row["stage"],
                    }
                    shown = {"validation": number(choice["dice"]), "test Dice": interval(row, name)}
                    loose = {"loose hits": number(row["box_loose"]), "patients": str(row["patients"])}
                    rows.append(chosen | shown | loose)
                    values.append((kind, row[name]))
        table = pd.DataFrame(rows).sort_values("chosen for", ascending=False, kind="stable", ignore_index=True)
        spread = pd.DataFrame(values, columns=["kind", "dice"]).groupby("kind", sort=False)["dice"]
        words = [f"{kind}: {number(of.mean())} (SD {number(of.std())})" for kind, of in spread]
        text = f"What each training chose on its own validation slices. Dice on test, mean: {'; '.join(words)}."
        yield Section(f"{mask}: chosen by each training", (text,), table, brief=tuple(table.columns))


def _by_method(spread: pd.DataFrame, number_of: int) -> Iterator[Section]:
    text = (
        f"Mean and standard deviation over {number_of} trainings, each method at the stage with the best mean "
        "validation Dice. Consistency: mean IoU between two trainings' masks, each the map above 0.5."
    )
    for mask, rows in spread.groupby("mask"):
        names = {"dice": "Dice", "iou": "IoU", "box_dice": "box Dice", "box_loose": "loose hits"}
        table = pd.DataFrame({"method": rows["method"], "stage": rows["stage"]}).assign(
            **{
                title: [
                    f"{number(mean)} ± {number(sd)}" if pd.notna(mean) else "-"
                    for mean, sd in zip(rows[f"{name}_mean"], rows[f"{name}_sd"], strict=True)
                ]
                for name, title in names.items()
            },
            consistency=rows["consistency"].map(number),
            n=rows["slices"].astype(str),
            patients=rows["patients"].astype(str),
        )
        yield Section(f"{mask}: methods over trainings", (text,), table, brief=tuple(table.columns))
