"""Records hold what the cases held, split by patient; a failed preparation leaves nothing behind."""

import sys

import numpy as np
import pandas as pd
import pytest
from data.folders import generic

from hemojax.data import records
from hemojax.data.case import SPLITS
from hemojax.data.datasets import LAYOUTS
from hemojax.data.labels import BHSD_SUBTYPES
from hemojax.errors import UserError

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def cases(root):
    return LAYOUTS["generic"](root, BHSD_SUBTYPES)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = generic(tmp_path_factory.mktemp("set"), cases=10, clean=(0, 3, 5, 8, 9))
    folder = tmp_path_factory.mktemp("work") / "records"
    records.prepare(folder, cases(root), FRACTIONS, {"root": str(root)})
    return root, folder


def test_every_slice_comes_back(prepared):
    root, folder = prepared
    volumes = {case.name: case for case in cases(root)}
    seen = set()
    for split in SPLITS:
        index, source = records.read_index(folder, split), records.data_source(folder, split)
        assert len(index) == len(source)
        for row in index.itertuples():
            record = source[row.record]
            case = volumes[row.case]
            assert record["case"].decode() == row.case
            np.testing.assert_array_equal(record["hu"], case.hu[..., row.slice])
            np.testing.assert_array_equal(record["mask"], case.mask[..., row.slice])
            np.testing.assert_array_equal(record["labels"], case.labels[row.slice])
            np.testing.assert_allclose(record["spacing"], (0.5, 0.5, 5))
            assert [getattr(row, name) for name in records.SPACING] == [0.5, 0.5, 5]
            assert list(row.drawn) == sorted(set(case.mask[..., row.slice].ravel()) - {0})
            seen.add((row.case, row.slice))
    assert seen == {(name, n) for name in volumes for n in range(4)}
    assert "tensorflow" not in sys.modules


def test_splits_keep_patients_whole_and_have_their_share(prepared):
    _, folder = prepared
    patients = {split: set(records.read_index(folder, split)["patient"]) for split in SPLITS}
    assert {split: len(names) for split, names in patients.items()} == {"train": 6, "validation": 2, "test": 2}
    assert len(set.union(*patients.values())) == 10


def untouched():
    raise AssertionError("the cases were read again")
    yield


def test_prepared_once(prepared, monkeypatch):
    root, folder = prepared
    records.prepare(folder, untouched(), FRACTIONS, {"root": str(root)})
    with pytest.raises(AssertionError, match="read again"):
        records.prepare(folder, untouched(), FRACTIONS, {"root": "elsewhere"})
    monkeypatch.setattr(records, "LAYOUT", records.LAYOUT - 1)  # written by an older hemojax
    with pytest.raises(AssertionError, match="read again"):
        records.prepare(folder, untouched(), FRACTIONS, {"root": str(root)})


def test_nothing_is_left_of_a_failed_preparation(tmp_path):
    root = generic(tmp_path / "set", cases=4)
    (root / "images" / "p3.nii.gz").write_text("no scan")
    with pytest.raises(UserError, match="p3"):
        records.prepare(tmp_path / "work" / "records", cases(root), FRACTIONS, {})
    assert list((tmp_path / "work").iterdir()) == []


def test_a_split_without_positive_slices_is_refused(tmp_path):
    root = generic(tmp_path / "set", cases=6, clean=(0, 1, 2, 3, 4))
    with pytest.raises(UserError, match="split 'validation' has no positive slice"):
        records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})


def test_scans_numbered_from_the_head_down_are_turned_round():
    index = pd.DataFrame({"position": [0.0, 0.25, 0.25, 1.0, 0.25], "axes": ["LPS", "LPS", "LPI", "LPI", "PSL"]})
    np.testing.assert_array_equal(records.heights(index), [0, 0.25, 0.75, 0, 0.25])
