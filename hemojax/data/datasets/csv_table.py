"""Tables as spreadsheets write them: whatever the encoding, separator and line end, each row with its line number."""

import codecs
import csv
import difflib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from hemojax.data.case import CaseError
from hemojax.errors import listed
from hemojax.progress import say

SEPARATORS = ",;\t|"
LONGEST = 100
"""Letters of a column's name that are looked at: longer ones take long to compare."""
LINE = "line"
"""The column of the number of each row's line in the file, from 1."""
_WHOLE = re.compile(r"[+-]?\d{1,9}([.,](?!000$)0+)?")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read(path: Path, columns: Mapping[str, str], needed: Iterable[str]) -> pd.DataFrame:
    """A table as text: blanks around each cell are gone, characters are composed (NFC).

    UTF-8, UTF-16 with its mark, and Windows-1252 are read, the latter with a word. Cells are separated by commas,
    semicolons, tabs or bars. Empty rows and columns without a name are passed over, and other columns than those asked
    for are named.

    Args:
        path: of the file.
        columns: from the names in the file to ours; letter case, blanks and hyphens in the file's do not matter.
        needed: of our names those that must be there.

    Returns:
        Of our columns those that are there, all text, and LINE.

    Raises:
        CaseError: it is no such table, a row is longer or shorter than the header, or a column is missing, stands twice
            or seems misspelt.
    """
    text = _text(path)
    rows = _rows(path, text, columns)
    if not rows:
        raise CaseError(path, "is an empty table")
    header = [_key(name) for name in rows[0][1]]
    names = [columns.get(name, "") for name in header]
    _check_header(path, rows[0][1], names, columns, needed)
    body = [(line, _fitted(path, line, cells, len(header))) for line, cells in rows[1:]]
    blanks = sum(cell != cell.strip() for _, cells in body for cell, name in zip(cells, names, strict=True) if name)
    if blanks:
        say(f"{path}: blanks around {blanks} cells are taken off")
    for place, name in enumerate(header):
        if not name and any(cells[place].strip() for _, cells in body):
            raise CaseError(path, f"column {place + 1} has values and no name")
    table = pd.DataFrame({LINE: pd.Series([line for line, _ in body], dtype="int64")})
    for place, name in enumerate(names):
        if name:
            table[name] = pd.Series([cells[place].strip() for _, cells in body], dtype=str)
    return table


def whole(text: str) -> int | None:
    """A whole number as spreadsheets write it (3, 3.0, "3,0"), or None; 3,000 may be 3 or 3000, and is neither."""
    return int(re.split("[.,]", text)[0]) if _WHOLE.fullmatch(text) else None


def whole_numbers(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    """A column of whole numbers.

    Raises:
        CaseError: a cell holds none.
    """
    found = table[name].map(whole)
    odd = table[found.isna()]
    if len(odd):
        line, text = odd.iloc[0][[LINE, name]]
        raise CaseError(path, f"line {line}: '{text}' in the column {name} is no whole number")
    return found.astype("int64")


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CaseError(path, f"cannot be read ({error.strerror})") from None
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "utf-8")
    if raw.startswith(b"PK\3\4") or (encoding != "utf-16" and b"\0" in raw):
        raise CaseError(path, "is no text; save the spreadsheet as CSV in UTF-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        try:
            if encoding != "utf-8":
                raise
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            raise CaseError(path, f"line {line}: is not UTF-8; save the table as CSV in UTF-8") from None
        say(f"{path}: line {line} is not UTF-8; read as Windows-1252")
    return unicodedata.normalize("NFC", text)


def _rows(path: Path, text: str, columns: Mapping[str, str]) -> list[tuple[int, list[str]]]:
    """The rows that hold anything, each with the line where it ends, split by the separator that finds most columns."""
    begun, first = "", 1
    if text[:4].lower() == "sep=":  # a spreadsheet's word for itself
        begun, _, text = text.partition("\n")
        first = 2
    found, faults = [], []
    for separator in begun[4:5] or SEPARATORS:
        try:
            found.append(_split(path, text, separator, first))
        except CaseError as error:
            faults.append(error)
    if not found:
        raise faults[0]
    return max(found, key=lambda rows: _columns_in(rows, columns))


def _split(path: Path, text: str, separator: str, first: int) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=separator, skipinitialspace=True, strict=True)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num + first - 1, row))
    except csv.Error as error:
        raise CaseError(path, f"line {reader.line_num + first - 1}: is no row of a table ({error})") from None
    return rows


def _columns_in(rows: list[tuple[int, list[str]]], columns: Mapping[str, str]) -> tuple[int, int]:
    header = rows[0][1] if rows else []
    return sum(_key(name) in columns for name in header), len(header)


def _key(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip()).casefold()


def _check_header(
    path: Path, header: list[str], names: list[str], columns: Mapping[str, str], needed: Iterable[str]
) -> None:
    for name in needed:
        if name not in names:
            theirs = " or ".join(theirs for theirs, ours in columns.items() if ours == name)
            raise CaseError(path, f"has no column named {theirs}; it has {listed(header, 10)}")
    twice = [name for name, number in Counter(filter(None, names)).items() if number > 1]
    if twice:
        raise CaseError(path, f"two columns give {twice[0]}; leave one")
    missing = [theirs for theirs, ours in columns.items() if ours not in names]
    unused = [name for name, ours in zip(header, names, strict=True) if name and not ours]
    for name in unused:
        near = difflib.get_close_matches(_key(name)[:LONGEST], missing, n=1, cutoff=0.8)
        if near:
            raise CaseError(path, f"column '{name}' is not known: is it '{near[0]}'? Name it so, or otherwise")
    if unused:
        say(f"{path}: columns that are not used: {listed(unused, 10)}")


def _fitted(path: Path, line: int, cells: list[str], width: int) -> list[str]:
    if len(cells) < width or any(cell.strip() for cell in cells[width:]):
        raise CaseError(path, f"line {line}: has {len(cells)} cells, the header has {width}")
    return cells[:width]
