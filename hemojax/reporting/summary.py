"""The report of a benchmark, made again at any time from the result tables in its folder and from nothing else."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hemojax.errors import UserError
from hemojax.metrics import statistics
from hemojax.reporting import figures, sections
from hemojax.reporting.sections import Section
from hemojax.reporting.tables import read_json, read_table, write_text

WIDTH = 120
# A bootstrapped p is at least 2 / resamples, and Holm multiplies it by the number of rows compared (about 60).
PAIRED_RESAMPLES = 10_000


def report(folder: Path, console: Console) -> None:
    """Writes summary.csv, against_randomcam.csv, summary.md and figures/ into `folder`, and prints the main tables.

    Args:
      folder: holds slices.parquet, counts.parquet, timings.parquet, run.json and chosen.json, as the benchmark writes
        them, and perhaps gallery.npz.
      console: where to print; at most `WIDTH` columns, and without colour where it is not a terminal.

    Raises:
      UserError: A file is missing or odd, or there is nothing to report on the test split.
    """
    slices, counts, timings = (read_table(folder / f"{name}.parquet") for name in ("slices", "counts", "timings"))
    counts = counts[counts["tp"] + counts["fn"] > 0]  # without false positives
    run, chosen = read_json(folder / "run.json"), read_json(folder / "chosen.json")
    if not (counts["split"] == "test").any():
        raise UserError(
            f"{folder / 'counts.parquet'}: no slice of the test split has a mask, so there is nothing to report"
        )
    thresholds = statistics.select_thresholds(counts)
    summary = with_box_intervals(statistics.summarise(counts, thresholds), counts, thresholds)
    test = counts[counts["split"] == "test"]
    paired = statistics.paired_differences(test, thresholds, resamples=PAIRED_RESAMPLES)

    content = [sections.headline(slices, counts, summary, chosen), sections.classifier(slices)]
    for mask, kinds in chosen.items():
        content += [sections.methods(summary, mask, kind) for kind in kinds]
        content += [sections.grid(summary, mask, kinds["pixels"]), sections.against_random(paired, mask)]
        chosen_cell = (kinds["pixels"]["stage"], kinds["pixels"]["method"])
        figures.write_figure(folder / "figures" / f"dice_{mask}.png", figures.dice_grid(summary, mask, chosen_cell))
    content += list(_galleries(folder))
    content += [sections.times(timings), _run_section(run)]

    for name, frame in (("summary.csv", summary), ("against_randomcam.csv", paired)):
        write_text(folder / name, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(folder / "summary.md", markdown(content))
    show(console, [section for section in content if section.brief is not None])
    console.print(f"Report: {folder / 'summary.md'}", markup=False, highlight=False, soft_wrap=True)


def with_box_intervals(summary: pd.DataFrame, counts: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """Adds `box_dice_low` and `box_dice_high`: the same bootstrap, with the pixels of boxes for those of masks."""
    boxed = counts[counts[["box_tp", "box_fp", "box_fn"]].notna().all(axis=1)]
    boxed = boxed.assign(**{name: boxed[f"box_{name}"].astype("int32") for name in ("tp", "fp", "fn")})
    columns = ["box_dice_low", "box_dice_high"]
    if boxed.empty:
        return summary.assign(**dict.fromkeys(columns, np.nan))
    found = statistics.summarise(boxed, thresholds).rename(columns={"dice_low": columns[0], "dice_high": columns[1]})
    together = summary.merge(found[[*statistics.ROW, *columns]], on=statistics.ROW, how="left", validate="one_to_one")
    # Where boxes were counted in some slices only, their pooled Dice is undefined, and so is its interval.
    together.loc[together["box_dice"].isna(), columns] = np.nan
    return together


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
    path = folder / "gallery.npz"
    if not path.exists():
        return
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in figures.GALLERY}
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a gallery ({error})") from error
    for mask in dict.fromkeys(arrays["mask"].tolist()):
        name = f"figures/gallery_{mask}.png"
        figures.write_figure(folder / name, figures.gallery(arrays, mask))
        text = "Typical, best and worst slices of the chosen method; green: true, cyan: predicted."
        yield Section(f"{mask}: gallery", (text,), figure=name)


def _run_section(run: dict[str, Any]) -> Section:
    return Section("Run", (f"```json\n{json.dumps(run, indent=2, ensure_ascii=False)}\n```",))
