"""Whose a scan is."""

import pytest
from data.made_cases import made

from hemojax.data.listing import of_cases
from hemojax.data.patients import Patients, finish, look_alike
from hemojax.errors import UserError


def named(cases, table="", pattern=""):
    listing = Patients(str(table), pattern).of(of_cases(cases))
    found = [(case.name, case.patient, case.split) for case in listing]
    listing.finish({name: patient for name, patient, _ in found})
    return found


def test_a_pattern_names_the_patient(capsys):
    found = named([made("p0_a"), made("p0_b"), made("p1_a")], pattern=r"^(.*)_[ab]$")
    assert found == [("p0_a", "p0", None), ("p0_b", "p0", None), ("p1_a", "p1", None)]
    assert "3 scans of 2 patients; with several scans: p0" in capsys.readouterr().out


@pytest.mark.parametrize("header", ["case,patient,split", "patient,subject,split", "scan,subject_id,split"])
def test_a_table_names_patient_and_split(tmp_path, header):
    path = tmp_path / "patients.csv"
    path.write_text(f"{header}\n1.nii.gz,ann,val\n002,ann,\n003,NA,nan\n")
    assert named([made("001"), made("002"), made("003")], path) == [
        ("001", "ann", "validation"),
        ("002", "ann", None),
        ("003", "003", None),
    ]


@pytest.mark.parametrize(
    ("rows", "pattern", "line"),
    [
        ("x,ann,\n", "", "1 rows match no scan: 'x'; there are 001, 002. .*; 2 scans have no row: 001, 002"),
        ("001,ann,\n1,bob,\n", "", "'001' and '1' may both be 001; write one name for it"),
        ("001,,\n", "", "names no patient and no split; add a column"),
        ("001,ann,test\n", "", "001 is in split test there, and in train in the data set"),
        ("001,ann,\n", r"\d+", "scan 001 is said to be of several patients: 001, ann"),
        ("001,ann,\n002,Ann,\n", "", "patients 'ann' and 'Ann' may be one"),
        ("001,ann,\n", "x", "finds no patient in '001'"),
        ("001,ann,\n001,bob,\n", "", "patient 001 stands there twice, and differs: lines 2, 3"),
    ],
)
def test_contradictions_are_refused(tmp_path, rows, pattern, line):
    path = tmp_path / "patients.csv"
    path.write_text(f"case,patient,split\n{rows}")
    with pytest.raises(UserError, match=line):
        named([made("001", split="train"), made("002")], path, pattern)


def test_a_row_is_of_one_scan_and_what_is_left_over_is_said(tmp_path, capsys):
    path = tmp_path / "patients.csv"
    path.write_text("case,patient\n1,ann\n")
    assert named([made("1"), made("01")], path) == [("1", "ann", None), ("01", "01", None)]
    assert "patients.csv: 1 of 2 scans have no row: 01" in capsys.readouterr().out
    path.write_text("case,patient\n1,ann\n9,bob\n")
    assert named([made("01")], path) == [("01", "ann", None)]
    said = capsys.readouterr().out
    assert "1 rows are spelt otherwise than their files (leading zeros): '1' is 01" in said
    assert "1 rows are of no scan that is used: 9" in said


@pytest.mark.parametrize(
    ("scans", "alike"),
    [
        (["p0_a", "p0_b", "p1_a"], [["p0_a", "p0_b"]]),
        (["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"], [["sub-01_ses-1", "sub-01_ses-2"]]),
        (["0001", "0002", "0011"], []),
        ([f"site1_{n}" for n in range(9)] + ["site2_0"], []),
        (["CT1-01", "CT1-02"], []),
        (["ann_a", "ann_b", "bob_a"], []),
        ([], []),
    ],
)
def test_names_that_look_like_scans_of_one_patient(scans, alike):
    assert look_alike(scans) == alike


def test_names_that_look_like_scans_of_one_patient_are_said(capsys):
    finish({"p0_a": "p0_a", "p0_b": "p0_b", "p1_a": "p1_a"})
    assert "2 scans have names as of several scans of one patient: p0_a and p0_b; if they" in capsys.readouterr().out
    finish({"p0_a": "p0", "p0_b": "p0", "p1_a": "p1"})
    assert "have names" not in capsys.readouterr().out
