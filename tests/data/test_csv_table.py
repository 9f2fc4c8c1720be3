"""Tables are read however a spreadsheet wrote them, or refused with the line."""

import numpy as np
import pytest

from hemojax.data.case import CaseError
from hemojax.data.datasets import csv_table

COLUMNS = {"patient": "patient", "slice": "slice", "split": "split"}


def read(path):
    return csv_table.read(path, COLUMNS, ("patient", "slice"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_form_gives_the_same_table(tmp_path, encoding, separator, end, capsys):
    rows = [
        ["Patient", " SLICE", ""],
        ["José", ' "3,0"' if separator == "," else "3,0 ", ""],
        ["", "", ""],
        ["b", "4", ""],
    ]
    rows[1][1] = rows[1][1].strip() if separator == "," else rows[1][1]
    path = tmp_path / "slices.csv"
    path.write_bytes(end.join(separator.join(row) for row in rows).encode(encoding))
    table = read(path)
    assert table.to_dict("list") == {"line": [2, 4], "patient": ["José", "b"], "slice": ["3,0", "4"]}
    assert csv_table.whole_numbers(path, table, "slice").tolist() == [3, 4]
    assert ("Windows-1252" in capsys.readouterr().out) == (encoding == "cp1252")


def test_a_spreadsheets_word_for_its_separator_is_no_row(tmp_path):
    path = tmp_path / "slices.csv"
    path.write_text("sep=;\npatient;slice\na;x\n")
    with pytest.raises(CaseError, match="line 3: 'x' in the column slice is no whole number"):
        csv_table.whole_numbers(path, read(path), "slice")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("3.0", 3),
        ("3,00", 3),
        ("-1", -1),
        ("+2", 2),
        ("3,000", None),
        ("3.000", None),
        ("3.5", None),
        ("", None),
    ],
)
def test_whole_numbers(text, number):
    assert csv_table.whole(text) == number


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"", "is an empty table"),
        (b"PK\3\4....", "is no text; save the spreadsheet as CSV"),
        (b"p\0a\0", "is no text"),
        (b"patient,slice\na,1\nb,2,3\n", "line 3: has 3 cells, the header has 2"),
        (b"patient,slice\na\n", "line 2: has 1 cells"),
        (b"patient,slices\na,1\n", "has no column named slice; it has patient, slices"),
        (b"patient,slice,splt\na,1,test\n", "column 'splt' is not known: is it 'split'"),
        (b"patient,slice,Slice\na,1,1\n", "two columns give slice"),
        (b"patient,slice,\na,1,test\n", "column 3 has values and no name"),
        (b'patient,slice\n"a,1\n', "line 2: is no row of a table"),
        (b"patient,slice\na,1\n\x81,2\n", "line 3: is not UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, raw, line):
    path = tmp_path / "slices.csv"
    path.write_bytes(raw)
    with pytest.raises(CaseError, match=line) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_columns_that_are_not_used_are_named(tmp_path, capsys):
    path = tmp_path / "slices.csv"
    path.write_text("patient,slice,age\na,1,70\n")
    read(path)
    assert "columns that are not used: age" in capsys.readouterr().out


def test_quotes_belong_to_the_separator_that_is_used(tmp_path):
    path = tmp_path / "slices.csv"
    path.write_text('"patient";"slice"\n"a, b"; "1"\n')
    assert read(path).to_dict("list") == {"line": [2], "patient": ["a, b"], "slice": ["1"]}


def test_bytes_of_any_kind_are_read_or_refused(tmp_path):
    rng, path, parts = (
        np.random.default_rng(0),
        tmp_path / "slices.csv",
        [b"patient", b"slice", b"\n", b",", b";", b'"'],
    )
    parts += [b"1", b"\xff\xfe", b"\xef\xbb\xbf", b"a\0", b"\r", b"\xe9", b"sep=", b"\t", b"9" * 5000]
    read_ = 0
    for _ in range(300):
        body = b"".join(parts[n] for n in rng.integers(0, len(parts), rng.integers(0, 25)))
        path.write_bytes((b"patient,slice\n" if rng.random() < 0.7 else b"") + body)
        try:
            csv_table.whole_numbers(path, read(path), "slice")
            read_ += 1
        except CaseError as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert read_ > 5
