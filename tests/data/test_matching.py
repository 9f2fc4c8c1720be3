"""A name in another spelling is matched where there is no doubt, and refused where there is."""

import unicodedata
from pathlib import Path

import pytest

from hemojax.data.case import CaseError
from hemojax.data.datasets import matching

SOURCE = Path("slices.csv")


@pytest.mark.parametrize(
    ("name", "scan"),
    [
        ("0", "000"),
        ("7.0", "007"),
        ("7,0", "007"),
        ("p1_2", "p001_02"),
        ("000.nii.gz", "000"),
        ("images/000.NII", "000"),
        ("000 ", "000"),
        ("a\u00a0 b", "a b"),
        ("\ufeff000", "000"),
        ("'000", "000"),
        ('="000"', "000"),
        (unicodedata.normalize("NFC", "José"), unicodedata.normalize("NFD", "José")),
        ("Ann", "ANN"),
        ("p-01", "p_1"),
        ("p1_mask", "p1"),
        ("p1", "p1_0000"),
    ],
)
def test_one_spelling_is_the_other(name, scan, capsys):
    assert matching.match(SOURCE, [name], [scan, "other"], "patients") == {name: scan}
    assert capsys.readouterr().out.startswith("slices.csv: 1 patients are spelt otherwise than their files")


def test_a_scans_own_name_is_not_doubted(capsys):
    names = {"1": "1", "01": "01", "A": "A", "a": "a"}
    assert matching.match(SOURCE, names, list(names), "patients") == names
    assert not capsys.readouterr().out


def test_names_that_are_surely_one_may_both_be_there():
    assert matching.match(SOURCE, ["1", "1 ", "1.nii.gz"], ["1"], "patients") == {"1": "1", "1 ": "1", "1.nii.gz": "1"}


@pytest.mark.parametrize(
    ("names", "scans", "line"),
    [
        (["1"], ["01", "001"], "'1' may be 001 or 01; write its whole name"),
        (["1", "001"], ["001"], "'1' and '001' may both be 001"),
        (["ann", "Ann"], ["ANN"], "may both be ANN"),
        (["x", "1"], ["1"], "1 patients match no scan: 'x'; there are 1"),
        (["1.23E+11"], ["123456789012"], r"'1.23E\+11' \(a spreadsheet has rounded it\)"),
        (["anne"], ["annie"], r"'anne' \(is it annie\?\)"),
    ],
)
def test_doubt_is_refused(names, scans, line):
    with pytest.raises(CaseError, match=line):
        matching.match(SOURCE, names, scans, "patients")
