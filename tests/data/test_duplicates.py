"""Identical slices are found whatever they are called."""

import numpy as np
import pandas as pd
import pytest
from data.made_cases import made

from hemojax.data import duplicates
from hemojax.errors import UserError


def check(*cases):
    rows = [
        {"case": case.name, "patient": case.patient, "digest": digest}
        for case in cases
        for digest in duplicates.digests(case.hu)
    ]
    duplicates.check(pd.DataFrame(rows))


RNG = np.random.default_rng(0)


def volume(slices=6):
    return RNG.integers(0, 60, (8, 8, slices)).astype(np.int16)


def test_one_scan_under_two_patients_is_refused():
    hu = volume()
    with pytest.raises(UserError, match="scans a and b share 5 identical slices and are of two patients"):
        check(made("a", hu=hu), made("b", hu=hu[..., 1:].copy()))


def test_a_patients_own_scans_may_share_slices_which_are_named(capsys):
    hu = volume()
    check(made("a", "p", hu=hu), made("b", "p", hu=hu))
    assert "6 slices stand there twice, in a and b (6)" in capsys.readouterr().out


def test_a_slice_that_two_scans_share_and_one_that_a_scan_has_twice_are_named(capsys):
    first, second = volume(), volume()
    second[..., 3], first[..., 5] = first[..., 0], first[..., 4]
    check(made("a", hu=first), made("b", hu=second))
    assert "2 slices stand there twice, in a (1), a and b (1)" in capsys.readouterr().out


def test_empty_slices_say_nothing(capsys):
    check(made("a"), made("b"), made("c", hu=np.full((8, 8, 3), -1000, np.int16)))
    assert not capsys.readouterr().out
