"""Patients are never in two splits, and every split has its share."""

import numpy as np
import pytest

from hemojax.data.case import SPLITS, Case
from hemojax.data.splits import SplitAssigner
from hemojax.errors import UserError

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def one_case(name, patient, positive, split=None):
    labels = np.full((2, 6), int(positive), np.int8)
    empty = np.zeros((4, 4, 2))
    return Case(
        name,
        patient,
        split,
        empty.astype(np.int16),
        empty.astype(np.uint16),
        labels,
        np.arange(2),
        "LPS",
        (0.5, 0.5, 5.0),
    )


def test_two_cases_of_a_patient_share_a_split():
    assign = SplitAssigner(FRACTIONS)
    splits = [assign(one_case(f"c{n}", f"p{n // 2}", n % 4 < 2)) for n in range(40)]
    assert splits[::2] == splits[1::2]
    # Of ten patients with and ten without haemorrhage, each split has its share of both.
    for kind in (splits[::4], splits[2::4]):
        assert {split: kind.count(split) for split in SPLITS} == {"train": 6, "validation": 2, "test": 2}


def test_a_patient_in_two_given_splits_is_refused():
    assign = SplitAssigner(FRACTIONS)
    assign(one_case("a", "p", True, "train"))
    with pytest.raises(UserError, match="patient p is in several splits: train, test"):
        assign(one_case("b", "p", True, "test"))
