"""Contradictions are counted, named, and refused where most scans have them."""

from pathlib import Path

import numpy as np
import pytest

from hemojax.data import agreement
from hemojax.data.agreement import Pair
from hemojax.data.case import CaseError

TABLE = Path("slices.csv")


def pair(given, other):
    return Pair(np.array(given, np.int8), np.array(other, np.int8))


def check(pairs, choice="refuse"):
    named = {f"p{n}": of_scan for n, of_scan in enumerate(pairs)}
    agreement.check(TABLE, named, what=("the table", "the masks"), choice=choice)


AGREES = pair([0, 1, 1, 0], [0, 1, 1, 0])


def test_nothing_is_said_where_both_agree_or_one_does_not_know(capsys):
    check([AGREES, pair([-1, 1, -1, 0], [1, 1, 1, -1])])
    assert not capsys.readouterr().out


def test_a_few_are_counted_and_named(capsys):
    check([AGREES, AGREES, AGREES, pair([0, 1, 0, 0], [0, 1, 1, 0])])
    said = capsys.readouterr().out
    assert "contradict each other in 1 slices of 1 of 4 scans with a haemorrhage: p3 slice 2; slices.csv counts" in said


def test_a_few_that_are_shifted_are_said_to_be(capsys):
    check([AGREES, AGREES, AGREES, pair([0, 0, 1, 1], [0, 1, 1, 0])])
    assert "of p3 it seems to count slices from 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ([0, 0, 0, 1, 1, 0], "seems to count slices from 1"),
        ([-1, -1, -1, 1, 1, -1], "seems to count slices from 1"),
        ([0, 1, 1, 0, 0, 0], "seems to be one slice behind"),
        ([0, 0, 0, 0, 0, 0], "look at both"),
    ],
)
def test_most_scans_are_refused_with_the_likely_cause(given, cause):
    shifted = pair(given, [0, 0, 1, 1, 0, 0])
    with pytest.raises(CaseError, match=f"of 3 of 4 scans .*{cause}"):
        check([shifted, shifted, shifted, AGREES])


def test_a_table_that_counts_from_the_other_end_is_recognised():
    with pytest.raises(CaseError, match="from the scan's other end"):
        check([pair([0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0])])


def test_empty_masks_are_said_to_be_empty():
    with pytest.raises(CaseError, match="all of the masks are empty"):
        check([pair([0, 1], [0, 0])])


def test_somebody_may_say_which_counts(capsys):
    check([pair([0, 1], [0, 0])], choice="mask")
    assert "the mask counts" in capsys.readouterr().out


def test_boxes_that_hold_nothing_of_the_mask():
    mask = np.zeros((8, 8, 3), np.uint16)
    mask[1:3, 5:7, 1] = 1
    boxes = np.array([[1, 1, 5, 3, 7], [1, 5, 1, 7, 3], [2, 0, 0, 8, 8], [9, 0, 0, 8, 8]])
    assert agreement.placed(mask, boxes) == (2, 1, 1)


def test_boxes_with_rows_and_columns_exchanged_are_refused(capsys):
    found = {"a": agreement.Placed(3, 0, 3), "b": agreement.Placed(2, 1, 2)}
    with pytest.raises(CaseError, match=r"4 of 5 boxes hold nothing .*: a, b; i and j seem to be exchanged"):
        agreement.check_placed(TABLE, found, "refuse")
    agreement.check_placed(TABLE, found, "table")
    agreement.check_placed(TABLE, {"a": agreement.Placed(3, 3, 0), "b": agreement.Placed(2, 1, 2)}, "refuse")
    assert "1 of 5 boxes hold nothing of what is drawn on their slices: b" in capsys.readouterr().out
