"""The report of a benchmark, made again at any time from the result tables in its folder and from nothing else."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hemojax.errors import UserError
from hemojax.metrics import bootstrap, boxes, comparison, cuts, pooled_curves, statistics
from hemojax.metrics.cuts import Protocol
from hemojax.reporting import (
    classifier,
    comparisons,
    figures,
    localization,
    looks,
    reliability,
    removal_figure,
    sections,
)
from hemojax.reporting import faithfulness as faithful
from hemojax.reporting.sections import Section
from hemojax.reporting.tables import read_json, read_table, write_text

WIDTH = 120


class Results(NamedTuple):
    """The result tables of a run, see `hemojax.reporting.tables`; a run may leave out those that are None here."""

    slices: pd.DataFrame
    counts: pd.DataFrame
    maps: pd.DataFrame
    curves: pd.DataFrame
    lesions: pd.DataFrame
    timings: pd.DataFrame
    removal: pd.DataFrame | None = None
    position: pd.DataFrame | None = None
    sanity: pd.DataFrame | None = None
    faithfulness: pd.DataFrame | None = None
    volumes: pd.DataFrame | None = None


OPTIONAL = frozenset(Results._field_defaults)


def read(folder: Path) -> Results:
    """The tables of a folder of results.

    Raises:
        UserError: A table that every run writes is missing, or one is odd.
    """
    paths = {name: folder / f"{name}.parquet" for name in Results._fields}
    return Results(**{n: read_table(p) for n, p in paths.items() if p.exists() or n not in OPTIONAL})


def report(folder: Path, console: Console, resamples: int = bootstrap.RESAMPLES) -> None:
    """Writes summary.csv, against_randomcam.csv, against_chosen.csv, summary.md and figures/, prints the main tables.

    Args:
      folder: holds the tables of `Results`, run.json and chosen.json, as the benchmark writes them, and perhaps
        gallery.npz.
      console: where to print; at most `WIDTH` columns, and without colour where it is not a terminal.
      resamples: of the patients, for intervals.

    Raises:
      UserError: A file is missing or odd, or there is nothing to report on the test split.
    """
    results, run, chosen = read(folder), read_json(folder / "run.json"), read_json(folder / "chosen.json")
    if not (results.counts["split"] == "test").any():
        raise UserError(
            f"{folder / 'counts.parquet'}: no slice of the test split has a mask, so there is nothing to report"
        )
    protocol = cuts.PROTOCOLS[run["config"]["eval"]["protocol"]]
    rows = cuts.cut(results.counts, results.maps, results.lesions)
    summary = statistics.summarise(rows, resamples)
    best = statistics.best_stages(summary, protocol)
    judged_rows = cuts.of_population(
        rows[(rows["rule"] == protocol.rule) & (rows["split"] == "test")], protocol.population
    )
    paired = {
        "against_randomcam": comparison.against_random(judged_rows, resamples),
        "against_chosen": comparison.against_chosen(judged_rows, best, chosen, resamples),
    }
    content = list(_sections(folder, results, chosen, protocol, summary, best, judged_rows, paired, resamples))
    content += [sections.times(results.timings), _run_section(run)]

    for name, frame in {"summary": summary, **paired}.items():
        write_text(folder / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(folder / "summary.md", markdown(content))
    show(console, [section for section in content if section.brief is not None])
    console.print(f"Report: {folder / 'summary.md'}", markup=False, highlight=False, soft_wrap=True)


def _sections(
    folder: Path,
    results: Results,
    chosen: dict[str, Any],
    protocol: Protocol,
    summary: pd.DataFrame,
    best: pd.DataFrame,
    judged_rows: pd.DataFrame,
    paired: dict[str, pd.DataFrame],
    resamples: int,
) -> Iterator[Section]:
    judged = statistics.of_protocol(summary, protocol)
    look = looks.looks(results.slices, results.removal, results.position) if results.removal is not None else None
    yield _headline(results, chosen, protocol, judged, best, paired, look)
    yield classifier.classifier(results.slices)
    figures.write_figure(folder / "figures" / "reliability.png", reliability.reliability_diagram(results.slices))
    if look is not None:
        yield look
    pooled = pooled_curves.summarise(results.curves, best, resamples)
    accuracy = boxes.max_box_accuracy(results.counts[results.counts["split"] == "test"])
    accuracy = accuracy.groupby(["mask", "stage", "method"], as_index=False)["max_box_accuracy"].mean()
    for mask, kinds in chosen.items():
        for kind in kinds:
            yield localization.methods(summary, mask, kind, protocol)
        choice = kinds["pixels"]
        yield localization.grid(judged, mask, choice, protocol)
        cell = (choice["stage"], choice["method"])
        figures.write_figure(folder / "figures" / f"dice_{mask}.png", figures.dice_grid(judged, mask, cell))
        yield localization.without_threshold(judged, pooled, accuracy, best, mask)
        yield localization.rules(summary, mask, choice)
        yield localization.strata(judged_rows, mask, choice, resamples)
        yield comparisons.against_chosen(paired["against_chosen"], mask, choice)
        ranks = comparison.rank(comparison.patient_dice(judged_rows[judged_rows["mask"] == mask], best))
        figures.write_figure(folder / "figures" / f"ranks_{mask}.png", comparisons.critical_difference(ranks, mask))
        yield comparisons.ranks(ranks, mask)
        yield comparisons.against_random(paired["against_randomcam"], mask)
    if results.volumes is not None:
        yield localization.volume_errors(results.volumes)
    if results.sanity is not None:
        yield looks.sanity(results.sanity)
    if results.faithfulness is not None:
        yield faithful.faithfulness(results.faithfulness)
    yield from _galleries(folder)


def _headline(
    results: Results,
    chosen: dict[str, Any],
    protocol: Protocol,
    judged: pd.DataFrame,
    best: pd.DataFrame,
    paired: dict[str, pd.DataFrame],
    look: Section | None,
) -> Section:
    text = classifier.in_words(results.slices)
    text += list(look.text) if look is not None else []
    for mask, kinds in chosen.items():
        text.append(localization.best_stage_in_words(best, mask))
        text += [localization.chosen_in_words(judged, mask, kind, choice) for kind, choice in kinds.items()]
        text.append(comparisons.in_words(paired["against_chosen"], mask, kinds["pixels"]))
    text.append(f"Counted {sections.judged_by(protocol, int(judged['size'].iloc[0]))}.")
    patients = judged["patients"].max()
    if patients < bootstrap.FEWEST:
        text.append(
            f"WARNING: {patients} test patients. Intervals from fewer than {bootstrap.FEWEST} are too narrow: read "
            "them as a hint."
        )
    return Section("Headline", tuple(text), brief=())


def markdown(content: Iterable[Section]) -> str:
    """The sections as one Markdown text."""
    parts = ["# hemojax: which class activation map points at the haemorrhage?"]
    for section in content:
        parts += [f"## {section.title}", *section.text]
        if section.figure is not None:
            parts.append(f"![{section.title}]({section.figure})")
        if section.table is not None:
            parts.append(markdown_table(section.table))
    return "\n\n".join(parts) + "\n"


def show(console: Console, content: Iterable[Section]) -> None:
    """Prints sections to a terminal, or plainly to a file or pipe."""
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH, color_system=None)
    width = min(console.width, WIDTH)
    for section in content:
        console.print(section.title, style="bold", markup=False, highlight=False, width=width)
        if section.table is None:
            for paragraph in section.text:
                console.print(f"- {paragraph.replace('**', '')}", markup=False, highlight=False, width=width)
            console.print()
        else:
            shown = section.table[list(section.brief or section.table.columns)]
            table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
            for name in shown.columns:
                # On a narrow terminal headings are folded before names and intervals are.
                text = _is_text(shown[name])
                table.add_column(name, justify="left" if text else "right", overflow="fold", no_wrap=text)
            for row in shown.itertuples(index=False):
                table.add_row(*row)
            console.print(table, markup=False, highlight=False, width=width)


def markdown_table(table: pd.DataFrame) -> str:
    """A table of texts as Markdown, in columns of even width."""
    columns = []
    for name in table.columns:
        cells = [name, *table[name]]
        width, text = max(3, *map(len, cells)), _is_text(table[name])
        cells = [cell.ljust(width) if text else cell.rjust(width) for cell in cells]
        columns.append([cells[0], "-" * width if text else "-" * (width - 1) + ":", *cells[1:]])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in zip(*columns, strict=True))


def _is_text(cells: pd.Series) -> bool:
    return any(letter.isalpha() for cell in cells for letter in cell)


def _galleries(folder: Path) -> Iterable[Section]:
    chosen = "Typical, best and worst slices of the chosen method; green: true, cyan: predicted."
    filled = "The bleed filled from its surroundings, and with the mirrored other side."
    for kind, names, draw, text in (
        ("gallery", figures.GALLERY, figures.gallery, chosen),
        ("removal", removal_figure.REMOVAL, removal_figure.removal_gallery, filled),
    ):
        arrays = _pictures(folder / f"{kind}.npz", names)
        for mask in dict.fromkeys(arrays["mask"].tolist() if arrays else ()):
            name = f"figures/{kind}_{mask}.png"
            figures.write_figure(folder / name, draw(arrays, mask))
            yield Section(f"{mask}: {kind}", (text,), figure=name)


def _pictures(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of a file of pictures, none if there is no such file."""
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a {path.stem} ({error})") from error


def _run_section(run: dict[str, Any]) -> Section:
    return Section("Run", (f"```json\n{json.dumps(run, indent=2, ensure_ascii=False)}\n```",))
