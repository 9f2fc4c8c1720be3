"""CSV tables of slice labels, as hospitals and challenges write them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hemojax.data import agreement
from hemojax.data.agreement import Pair
from hemojax.data.case import SPLITS, CaseError
from hemojax.data.datasets import csv_table
from hemojax.data.datasets.csv_table import LINE
from hemojax.data.labels import LABELS
from hemojax.data.refusals import refuse
from hemojax.errors import listed
from hemojax.progress import say

TRUE = {"1", "true", "yes", "y"}
FALSE = {"0", "false", "no", "n"}
UNKNOWN = {"", "-1", "nan", "na", "n/a", "null", "none", "unknown", "?"}
"""What stands for a label, a split or a patient that nobody knows."""
SPACINGS = ("pixel_mm", "slice_mm")
"""Columns of the distance of neighbouring pixels, and of neighbouring slices."""
BOX = ["slice", "i0", "j0", "i1", "j1"]
SPLIT_NAMES = {s: s for s in SPLITS} | {"training": "train", "val": "validation", "valid": "validation"}
SPLIT_NAMES |= {"testing": "test", "dev": "validation"}
ANY = {"hemorrhage_binary": "any", "haemorrhage_binary": "any", "any": "any"}
LABEL_COLUMNS = ANY | {label.casefold(): label for label in LABELS[1:]}
"""From the columns of labels in a table, in small letters, to ours."""


WHOSE = {"case": "scan", "scan": "scan", "subject": "subject", "subject_id": "subject", "patient_id": "subject"}
"""Columns of scans, beside which `patient` says whose they are, and of their patients, where `patient` names scans."""


def read(
    path: Path,
    columns: Mapping[str, str],
    needed: tuple[str, ...] = ("patient", "slice", "any"),
    instances: Callable[[], Mapping[str, tuple[str, int]]] = dict,
) -> pd.DataFrame:
    """A table of slice labels, a row a slice.

    Args:
        path: CSV file, see `csv_table.read`.
        columns: from the names in the file, in small letters, to ours: patient, slice, the names in LABELS, split,
            subject, and the names in SPACINGS; in place of patient and slice `instance`, a UID; in place of any `none`,
            which is 1 in a slice without haemorrhage.
        needed: of ours those that must be there.
        instances: gives the patient and the slice of each UID.

    Returns:
        Columns line, patient (str), slice (int), subject (str, or "" for not known), split (str or None), those of
        LABELS (1, 0, or -1 for not known), and those of SPACINGS (mm, or NaN for not known).

    Raises:
        CaseError: a column is missing, or a value is not what its column holds (names the line).
    """
    raw = csv_table.read(path, columns, [name for name in needed if name not in ("patient", "slice")])
    if "instance" in raw and "slice" not in raw:
        raw = raw.assign(**_places(path, raw["instance"], instances()))
    if "slice" in needed and "slice" not in raw:
        names = " or ".join(theirs for theirs, ours in columns.items() if ours == "slice")
        raise CaseError(path, f"has no column named {names}")
    raw = _scans_named(raw, path, columns)
    table = raw[[LINE, "patient"]].copy()
    if "slice" in raw:
        table["slice"] = csv_table.whole_numbers(path, raw, "slice")
    table["subject"] = raw["subject"].where(~raw["subject"].str.lower().isin(UNKNOWN), "") if "subject" in raw else ""
    for label in LABELS:
        table[label] = _flags(path, raw, label) if label in raw else np.int8(-1)
    if "none" in raw:
        none = _flags(path, raw, "none")
        table["any"] = np.where(none < 0, none, 1 - none)
    table["split"] = _splits(path, raw) if "split" in raw else None
    for name in SPACINGS:
        table[name] = _lengths(path, raw, name) if name in raw else np.nan
    return completed(path, table)


def _places(path: Path, column: pd.Series, instances: Mapping[str, tuple[str, int]]) -> dict[str, list[str]]:
    unknown = column[~column.isin(list(instances))]
    if len(unknown):
        raise CaseError(path, f"{len(unknown)} SOPInstanceUIDs are of no slice that is read: {unknown.iloc[0]}, ...")
    found = [instances[uid] for uid in column]
    return {"patient": [patient for patient, _ in found], "slice": [str(number) for _, number in found]}


def read_boxes(path: Path) -> pd.DataFrame:
    """A table of boxes, a row a box: line, patient (str) and the integers BOX.

    Raises:
        CaseError: it is no such table.
    """
    columns = {"patient": "patient", **WHOSE, **{name: name for name in BOX}}
    raw = _scans_named(csv_table.read(path, columns, BOX), path, columns)[[LINE, "patient", *BOX]]
    return raw.assign(**{name: csv_table.whole_numbers(path, raw, name) for name in BOX})


def _scans_named(raw: pd.DataFrame, path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """The table with the scan of each row as `patient`, and whose it is as `subject`.

    Raises:
        CaseError: there is no column of scans, or a cell of it is blank.
    """
    if "scan" in raw and "patient" in raw:
        if "subject" in raw:
            raise CaseError(path, "has columns for scan, patient and subject; leave two")
        raw = raw.rename(columns={"patient": "subject"})
    raw = raw.rename(columns={"scan": "patient"})
    if "patient" not in raw:
        names = " or ".join(theirs for theirs, ours in columns.items() if ours in ("patient", "scan"))
        raise CaseError(path, f"has no column named {names}")
    nameless = raw.loc[raw["patient"] == "", LINE]
    if len(nameless):
        raise CaseError(path, f"line {nameless.iloc[0]}: names no scan")
    return raw


def as_text(rows: pd.DataFrame | None) -> str:
    """All that the rows say: two tables that differ in a value differ in their text."""
    return "" if rows is None else repr([*rows.columns, *rows.to_numpy().tolist()])


def together(
    path: Path, given: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], contradictions: str
) -> dict[str, np.ndarray]:
    """Labels of each scan's slices (n, 6) from a table and from masks: what only one of them knows is taken from it.

    Where both know, the table counts, or the mask if `contradictions` says so.

    Args:
        path: of the table, for messages.
        given: by the table, of each scan; -1 where it says nothing.
        drawn: in the masks, of the same scans; -1 where there is none.
        contradictions: see `agreement.CHOICES`.

    Raises:
        CaseError: see `agreement.check`.
    """
    pairs = {name: Pair(given[name][:, 0], drawn[name][:, 0]) for name in given}
    agreement.check(path, pairs, what=("the table", "the masks"), choice=contradictions)
    for column, label in enumerate(LABELS[1:], 1):
        of_label = (Pair(given[name][:, column], drawn[name][:, column]) for name in given)
        slices = sum(int((agreement.contradictions(pair) & (pair.given == 1)).sum()) for pair in of_label)
        if slices:
            say(f"{path}: the masks of {slices} slices with {label} hold no integer of it, see config.data.subtypes")
    first, second = (drawn, given) if contradictions == "mask" else (given, drawn)
    return {name: np.where(first[name] >= 0, first[name], second[name]) for name in given}


def say_unknown(root: Path, labels: Mapping[str, np.ndarray]) -> None:
    """Count and name slices of which nobody says whether there is a haemorrhage."""
    bare = {name: int((of_scan[:, 0] < 0).sum()) for name, of_scan in labels.items() if (of_scan[:, 0] < 0).any()}
    if bare:
        say(
            f"{root}: {sum(bare.values())} slices of {len(bare)} scans have neither a label nor a mask and are left "
            f"out: {listed(bare)}"
        )


def completed(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """What follows: a slice with a subtype has a haemorrhage, and a slice without haemorrhage has no subtype.

    Raises:
        CaseError: a row says otherwise.
    """
    present = (table[list(LABELS[1:])] == 1).any(axis=1)
    odd = table.loc[present & (table["any"] == 0), LINE]
    if len(odd):
        raise CaseError(
            path, f"line {odd.iloc[0]}: names a subtype in a slice without haemorrhage; correct one of them"
        )
    table.loc[present, "any"] = np.int8(1)
    for label in LABELS[1:]:
        table.loc[(table["any"] == 0) & (table[label] < 0), label] = np.int8(0)
    return table


def once(path: Path, table: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """The table with each row once; equal rows that stand there again are counted aloud.

    Args:
        path: of the table, for messages.
        table: a row a slice, a scan or a box, with its line.
        key: the columns that say which one it is.

    Raises:
        CaseError: rows of one key contradict each other.
    """
    kept = table.drop_duplicates([name for name in table if name != LINE])
    twice = kept[kept.duplicated(key, keep=False)]
    if len(twice):
        first = twice.iloc[0]
        lines = twice.loc[(twice[key] == first[key]).all(axis=1), LINE]
        which = f"slice {first['slice']} of patient" if "slice" in key else "patient"
        why = f"{which} {first['patient']} stands there twice, and differs: lines {listed(lines)}"
        refuse(CaseError(path, why))
        kept = kept.drop_duplicates(key)
    if len(kept) < len(table):
        lines = table.loc[~table.index.isin(kept.index), LINE]
        say(f"{path}: {len(lines)} rows stand there twice and count once: lines {listed(lines)}")
    return kept


def _refuse(path: Path, raw: pd.DataFrame, name: str, *, odd: pd.Series, why: str) -> None:
    if odd.any():
        line, text = raw.loc[odd, [LINE, name]].iloc[0]
        raise CaseError(path, f"line {line}: '{text}' in the column for '{name}' {why}")


def _lengths(path: Path, raw: pd.DataFrame, name: str) -> np.ndarray:
    text = raw[name].str.replace(",", ".", regex=False)
    lengths = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    odd = ~(np.isfinite(lengths) & (lengths > 0)) & (text != "")
    _refuse(path, raw, name, odd=odd, why="is no length in mm")
    return lengths


def _flags(path: Path, raw: pd.DataFrame, label: str) -> np.ndarray:
    def form(cell: str) -> str:
        number = csv_table.whole(cell)
        return cell.lower() if number is None else str(number)

    text = raw[label].map(form).astype(str)
    why = "is neither 0 nor 1, nor blank for not known"
    _refuse(path, raw, label, odd=~text.isin(TRUE | FALSE | UNKNOWN), why=why)
    return np.where(text.isin(UNKNOWN), -1, text.isin(TRUE)).astype(np.int8)


def _splits(path: Path, raw: pd.DataFrame) -> pd.Series:
    text = raw["split"].str.lower()
    odd = ~text.isin(SPLIT_NAMES.keys() | UNKNOWN)
    _refuse(path, raw, "split", odd=odd, why=f"is none of {', '.join(SPLITS)}")
    return text.map(SPLIT_NAMES).astype(object).where(lambda split: split.notna(), None)


def split_of(path: Path, rows: pd.DataFrame) -> str | None:
    """The split of one patient's rows.

    Raises:
        CaseError: the patient is in more than one split.
    """
    names = sorted(set(rows["split"].dropna()))
    if len(names) > 1:
        raise CaseError(path, f"patient {rows['patient'].iloc[0]} is in several splits: {', '.join(names)}")
    return names[0] if names else None


def subject_of(path: Path, rows: pd.DataFrame, otherwise: str) -> str:
    """Whose the scan of these rows is.

    Raises:
        CaseError: the rows name several.
    """
    names = sorted(set(rows["subject"]) - {""})
    if len(names) > 1:
        raise CaseError(path, f"scan {rows['patient'].iloc[0]} is of several patients: {', '.join(names)}")
    return names[0] if names else otherwise


def spacing_of(path: Path, rows: pd.DataFrame) -> tuple[float, float, float]:
    """The spacing of one patient's voxels along rows, columns and slices, mm; NaN where it is not known.

    Raises:
        CaseError: the patient's slices do not agree.
    """
    known = rows[list(SPACINGS)].drop_duplicates()
    if len(known) > 1:
        raise CaseError(path, f"the slices of patient {rows['patient'].iloc[0]} differ in {' or '.join(SPACINGS)}")
    pixel, between = known.iloc[0].tolist()
    return pixel, pixel, between
