"""The report of a benchmark, made again at any time from the result tables in its folder and from nothing else."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hemojax.errors import UserError
from hemojax.reporting import (
    bleed_removal_figure,
    classifier,
    classifier_checks,
    figures,
    localization,
    paired_differences,
    reliability_figure,
    sections,
)
from hemojax.reporting import faithfulness_section as faithful
from hemojax.reporting.sections import Section
from hemojax.results import read_json, read_table, write_text
from hemojax.statistics import bootstrap, box_accuracy, comparison, pooled_curves, thresholds
from hemojax.statistics.summary import best_stages, of_protocol, summarise
from hemojax.statistics.thresholds import Protocol

WIDTH = 120


class Results(NamedTuple):
    """The result tables of a run, see `hemojax.results`; a run may leave out those that are None here."""

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


class Statistics(NamedTuple):
    """What the tables say.

    Attributes:
        chosen: of each mask the stage and method chosen on validation, see `summary.choose`.
        protocol: by which the report judges.
        summary: see `summary.summarise`.
        best: of each method its best stage on validation, see `summary.best_stages`.
        judged_rows: the test rows that the protocol judges, see `thresholds.cut`.
        against_randomcam: see `comparison.against_random`.
        against_chosen: see `comparison.against_chosen`.
    """

    chosen: dict[str, Any]
    protocol: Protocol
    summary: pd.DataFrame
    best: pd.DataFrame
    judged_rows: pd.DataFrame
    against_randomcam: pd.DataFrame
    against_chosen: pd.DataFrame


OPTIONAL = frozenset(Results._field_defaults)


def read(folder: Path) -> Results:
    """The tables of a folder of results.

    Raises:
        UserError: A table that every run writes is missing, or one is odd.
    """
    paths = {name: folder / f"{name}.parquet" for name in Results._fields}
    return Results(**{n: read_table(p) for n, p in paths.items() if p.exists() or n not in OPTIONAL})


def write(folder: Path, console: Console, resamples: int = bootstrap.RESAMPLES) -> None:
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
    protocol = thresholds.PROTOCOLS[run["config"]["eval"]["protocol"]]
    rows = thresholds.cut(results.counts, results.maps, results.lesions)
    summary = summarise(rows, resamples)
    best = best_stages(summary, protocol)
    judged_rows = thresholds.of_population(
        rows[(rows["rule"] == protocol.rule) & (rows["split"] == "test")], protocol.population
    )
    statistics = Statistics(
        chosen=chosen,
        protocol=protocol,
        summary=summary,
        best=best,
        judged_rows=judged_rows,
        against_randomcam=comparison.against_random(judged_rows, resamples),
        against_chosen=comparison.against_chosen(judged_rows, best, chosen, resamples),
    )
    content = list(_sections(folder, results, statistics, resamples))
    content += [*_left_out(run), sections.times(results.timings), _run_section(run)]

    for name in ("summary", "against_randomcam", "against_chosen"):
        frame = getattr(statistics, name)
        write_text(folder / f"{name}.csv", frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(folder / "summary.md", markdown(content))
    show(console, [section for section in content if section.brief is not None])
    console.print(f"Report: {folder / 'summary.md'}", markup=False, highlight=False, soft_wrap=True)


def _sections(folder: Path, results: Results, statistics: Statistics, resamples: int) -> Iterator[Section]:
    chosen, protocol, summary, best, judged_rows, against_randomcam, against_chosen = statistics
    judged = of_protocol(summary, protocol)
    look = (
        classifier_checks.looks(results.slices, results.removal, results.position)
        if results.removal is not None
        else None
    )
    yield _headline(results, statistics, look)
    yield classifier.classifier(results.slices)
    figures.write_figure(folder / "figures" / "reliability.png", reliability_figure.reliability_diagram(results.slices))
    if look is not None:
        yield look
    pooled = pooled_curves.summarise(results.curves, best, resamples)
    accuracy = box_accuracy.max_box_accuracy(results.counts[results.counts["split"] == "test"])
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
        yield paired_differences.against_chosen(against_chosen, mask, choice)
        ranks = comparison.rank(comparison.patient_dice(judged_rows[judged_rows["mask"] == mask], best))
        figures.write_figure(
            folder / "figures" / f"ranks_{mask}.png", paired_differences.critical_difference(ranks, mask)
        )
        yield paired_differences.ranks(ranks, mask)
        yield paired_differences.against_random(against_randomcam, mask)
    if results.volumes is not None:
        yield localization.volume_errors(results.volumes)
    if results.sanity is not None:
        yield classifier_checks.sanity(results.sanity)
    if results.faithfulness is not None:
        yield faithful.faithfulness(results.faithfulness)
    yield from _galleries(folder)


def _headline(results: Results, statistics: Statistics, look: Section | None) -> Section:
    protocol, judged = statistics.protocol, of_protocol(statistics.summary, statistics.protocol)
    text = classifier.in_words(results.slices)
    text += list(look.text) if look is not None else []
    for mask, kinds in statistics.chosen.items():
        text.append(localization.best_stage_in_words(statistics.best, mask))
        text += [localization.chosen_in_words(judged, mask, kind, choice) for kind, choice in kinds.items()]
        text.append(paired_differences.in_words(statistics.against_chosen, mask, kinds["pixels"]))
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
        cells = [name, *map(_escaped, table[name])]
        width, text = max(3, *map(len, cells)), _is_text(table[name])
        cells = [cell.ljust(width) if text else cell.rjust(width) for cell in cells]
        columns.append([cells[0], "-" * width if text else "-" * (width - 1) + ":", *cells[1:]])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in zip(*columns, strict=True))


def _escaped(cell: str) -> str:
    """A cell in which no bar ends it, and nothing is taken for HTML: names of files may stand there."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", cell).replace("|", "\\|")


def _is_text(cells: pd.Series) -> bool:
    return any(letter.isalpha() for cell in cells for letter in cell)


def _galleries(folder: Path) -> Iterable[Section]:
    chosen = "Typical, best and worst slices of the chosen method; green: true, cyan: predicted."
    filled = "The bleed filled from its surroundings, and with the mirrored other side."
    for kind, names, draw, text in (
        ("gallery", figures.GALLERY, figures.gallery, chosen),
        ("removal", bleed_removal_figure.REMOVAL, bleed_removal_figure.removal_gallery, filled),
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


def _left_out(run: dict[str, Any]) -> Iterator[Section]:
    """The scans that could not be read, if the run left any out: no figure counts them."""
    faults = run.get("left_out", {})
    if faults:
        text = f"Scans that could not be read: {len(faults)}. They are in no figure (`--config.data.on_error=skip`)."
        table = pd.DataFrame({"scan": list(faults), "why": list(faults.values())})
        yield Section("Scans left out", (text,), table, brief=("scan", "why"))


def _run_section(run: dict[str, Any]) -> Section:
    return Section("Run", (f"```json\n{json.dumps(run, indent=2, ensure_ascii=False)}\n```",))
