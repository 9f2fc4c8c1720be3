"""Patients are never in two splits, and every split has its share."""

from collections import Counter

import pandas as pd
import pytest
from data.made_cases import made

from hemojax.data.case import SPLITS
from hemojax.data.splits import SplitAssigner, check_labels, write_splits
from hemojax.errors import UserError

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def of(number, positive):
    return made(f"c{number}", f"p{number}", ("any",) if positive else ())


def test_two_cases_of_a_patient_share_a_split():
    assign = SplitAssigner(FRACTIONS)
    splits = [assign(made(f"c{n}", f"p{n // 2}", ("any",) if n % 4 < 2 else ())) for n in range(40)]
    assert splits[::2] == splits[1::2]
    # Of ten patients with and ten without haemorrhage, each split has its share of both.
    for kind in (splits[::4], splits[2::4]):
        assert {split: kind.count(split) for split in SPLITS} == {"train": 6, "validation": 2, "test": 2}


def test_a_patient_in_two_given_splits_is_refused():
    assign = SplitAssigner(FRACTIONS)
    assign(made("a", "p", split="train"))
    with pytest.raises(UserError, match="patient p is in several splits: train, test"):
        assign(made("b", "p", split="test"))


def test_without_a_seed_patients_are_dealt_as_they_always_were():
    assign = SplitAssigner({"train": 0.6, "validation": 0.15, "test": 0.25})
    assert [assign(of(n, True)) for n in range(6)] == ["train", "test", "train", "validation", "train", "train"]


def test_a_seed_draws_other_splits_with_the_same_shares():
    def dealt(seed):
        assign = SplitAssigner(FRACTIONS, seed=seed)
        return [assign(of(n, n % 2)) for n in range(200)]

    assert dealt(1) == dealt(1)
    assert dealt(1) != dealt(2) != dealt(0)
    for split, share in FRACTIONS.items():
        assert abs(dealt(1).count(split) - 200 * share) <= 4


def test_every_split_has_its_share_of_a_rare_subtype():
    def in_test(stratify):
        assign = SplitAssigner(FRACTIONS, stratify=stratify)
        splits = [assign(made(f"c{n}", labels=("any", "EPH") if n % 5 == 0 else ("any", "IPH"))) for n in range(100)]
        return {split: splits[::5].count(split) for split in SPLITS}

    assert in_test(("any", "EPH")) == {"train": 12, "validation": 4, "test": 4}
    assert in_test(("any",)) != {"train": 12, "validation": 4, "test": 4}


def test_each_fold_is_the_test_split_once():
    def dealt(fold):
        assign = SplitAssigner(FRACTIONS, folds=5, fold=fold)
        return pd.Series([assign(of(n, n % 2)) for n in range(30)])

    found = [dealt(fold) for fold in range(5)]
    for kind in ("test", "validation"):
        assert sum((splits == kind).astype(int) for splits in found).eq(1).all()
        assert all((splits == kind).sum() == 6 for splits in found)
    assert (found[4] == "validation").equals(found[0] == "test")
    assign = SplitAssigner(FRACTIONS, folds=3)
    assert sorted(Counter(assign(of(n, n > 4)) for n in range(12)).values()) == [4, 4, 4]  # of 7 and 5


def test_folds_count_before_given_splits_which_is_said_once(capsys):
    assign = SplitAssigner(FRACTIONS, folds=3, fold=1)
    assert [assign(made(name, split="test")) for name in "abc"] == ["train", "test", "validation"]
    assert capsys.readouterr().out.count("the splits of the data set do not count") == 1


def test_splits_are_written_down(tmp_path):
    rows = {"case": ["b", "b", "a"], "patient": ["q", "q", "p"], "split": ["test", "test", "train"], "slice": [0, 1, 0]}
    write_splits(tmp_path / "splits.csv", pd.DataFrame(rows))
    assert (tmp_path / "splits.csv").read_text() == "case,patient,split\na,p,train\nb,q,test\n"


def test_a_label_of_which_a_split_knows_nothing_is_refused(capsys):
    index = pd.DataFrame({"split": ["train", "validation", "test"] * 2, "any": [1] * 3 + [0] * 3})
    index["IVH"] = [1, 0, 1, 0, 0, 0]
    check_labels(index, ("any", "IVH"))
    assert capsys.readouterr().out == "split 'validation' has no positive slice of IVH; it has no AUROC there\n"
    index["SDH"] = [1, -1, 1, 0, -1, 0]
    with pytest.raises(UserError, match=r"data\.labels: SDH is known for no slice of split 'validation'"):
        check_labels(index, ("any", "SDH"))
