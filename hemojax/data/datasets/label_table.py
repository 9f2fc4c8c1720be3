"""CSV tables of slice labels, as hospitals and challenges write them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hemojax.data.case import SPLITS, CaseError
from hemojax.data.labels import LABELS

TRUE = {"1", "1.0", "true", "yes"}
FALSE = {"0", "0.0", "false", "no", "", "nan"}
SPACINGS = ("pixel_mm", "slice_mm")
"""Columns of the distance of neighbouring pixels, and of neighbouring slices."""
BOX = ["slice", "i0", "j0", "i1", "j1"]
SPLIT_NAMES = {s: s for s in SPLITS} | {"training": "train", "val": "validation", "valid": "validation"}


def read(
    path: Path, columns: Mapping[str, str], instances: Callable[[], Mapping[str, tuple[str, int]]] = dict
) -> pd.DataFrame:
    """A table of slice labels, a row a slice.

    Args:
        path: CSV file.
        columns: from the names in the file to ours: patient, slice, the names in LABELS, split, and the names in
            SPACINGS. Only `patient` and `slice` and one of the labels must be there; or in place of both `instance`, a
            UID.
        instances: gives the patient and the slice of each UID.

    Returns:
        Columns patient (str), slice (int), split (str or None), those of LABELS (1, 0, or -1 for not known), and those
        of SPACINGS (mm, or NaN for not known).

    Raises:
        CaseError: a column is missing, or a value is not what its column holds.
    """
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise CaseError(path, f"is not a CSV table ({str(error).splitlines()[0]})") from None
    raw = raw.rename(columns=dict(columns))
    if "instance" in raw and "slice" not in raw:
        raw = raw.assign(**_places(path, raw["instance"].str.strip(), instances()))
    for needed in ("patient", "slice", "any"):
        if needed not in raw:
            names = [theirs for theirs, ours in columns.items() if ours == needed]
            raise CaseError(path, f"has no column named {' or '.join(names)}")
    table = pd.DataFrame({"patient": raw["patient"]})
    try:
        table["slice"] = raw["slice"].astype(int)
    except ValueError:
        raise CaseError(path, "a slice number is not an integer") from None
    for label in LABELS:
        table[label] = _flags(path, label, raw[label]) if label in raw else np.int8(-1)
    table["split"] = _splits(path, raw["split"]) if "split" in raw else None
    for name in SPACINGS:
        table[name] = _lengths(path, name, raw[name]) if name in raw else np.nan
    if table.duplicated(["patient", "slice"]).any():
        twice = table[table.duplicated(["patient", "slice"])].iloc[0]
        raise CaseError(path, f"slice {twice['slice']} of patient {twice['patient']} stands there twice")
    return table


def _places(path: Path, column: pd.Series, instances: Mapping[str, tuple[str, int]]) -> dict[str, list[str]]:
    unknown = column[~column.isin(list(instances))]
    if len(unknown):
        raise CaseError(path, f"{len(unknown)} SOPInstanceUIDs are of no slice that is read: {unknown.iloc[0]}, ...")
    found = [instances[uid] for uid in column]
    return {"patient": [patient for patient, _ in found], "slice": [str(number) for _, number in found]}


def read_boxes(path: Path) -> pd.DataFrame:
    """A table of boxes, a row a box: patient (str) and the integers BOX.

    Raises:
        CaseError: it is no such table.
    """
    try:
        table = pd.read_csv(path, dtype={"patient": str})
        return table[["patient", *BOX]].astype(dict.fromkeys(BOX, "int64"))
    except (OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise CaseError(path, f"is not a table of patient, {', '.join(BOX)} ({reason})") from None


def by_patient(table: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """The rows of each patient, in the order of their names; none where there is no table."""
    return {} if table is None else {str(patient): rows for patient, rows in table.groupby("patient")}


def as_text(rows: pd.DataFrame | None) -> str:
    """All that the rows say: two tables that differ in a value differ in their text."""
    return "" if rows is None else repr([*rows.columns, *rows.to_numpy().tolist()])


def _lengths(path: Path, name: str, column: pd.Series) -> np.ndarray:
    lengths = pd.to_numeric(column.str.strip(), errors="coerce").to_numpy(np.float64)
    odd = column[~(np.isfinite(lengths) & (lengths > 0)) & (column.str.strip() != "")]
    if len(odd):
        raise CaseError(path, f"'{odd.iloc[0]}' in the column {name} is no length in mm")
    return lengths


def _flags(path: Path, label: str, column: pd.Series) -> np.ndarray:
    text = column.str.strip().str.lower()
    odd = text[~text.isin(TRUE | FALSE)]
    if len(odd):
        raise CaseError(path, f"'{odd.iloc[0]}' in the column for '{label}' is neither 0 nor 1")
    return text.isin(TRUE).to_numpy(np.int8)


def _splits(path: Path, column: pd.Series) -> pd.Series:
    text = column.str.strip().str.lower()
    odd = text[~text.isin(list(SPLIT_NAMES))]
    if len(odd):
        raise CaseError(path, f"split '{odd.iloc[0]}' is none of {', '.join(SPLITS)}")
    return text.map(SPLIT_NAMES)


def split_of(path: Path, rows: pd.DataFrame) -> str | None:
    """The split of one patient's rows.

    Raises:
        CaseError: the patient is in more than one split.
    """
    names = sorted(set(rows["split"].dropna()))
    if len(names) > 1:
        raise CaseError(path, f"patient {rows['patient'].iloc[0]} is in several splits: {', '.join(names)}")
    return names[0] if names else None


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
