"""Records hold what the cases held, split by patient, and know what they were made of; what was stopped goes on."""

import dataclasses
import os
import shutil
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from data.folders import generic
from data.made_cases import made

from hemojax.data import origins, parts, records
from hemojax.data.case import SPLITS
from hemojax.data.datasets import LAYOUTS
from hemojax.data.labels import BHSD_SUBTYPES
from hemojax.data.listing import Listing
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


class ReadAgain(Exception):
    pass


def untouched(root):
    """The listing of a data set of which no case may be read."""

    def read():
        raise ReadAgain

    found = cases(root).sources
    return Listing({name: dataclasses.replace(source, read=read) for name, source in found.items()})


def test_prepared_once(prepared, monkeypatch):
    root, folder = prepared
    records.prepare(folder, untouched(root), FRACTIONS, {"root": str(root)})
    with pytest.raises(UserError, match="ReadAgain"):
        records.prepare(folder, untouched(root), FRACTIONS, {"root": "elsewhere"})
    monkeypatch.setattr(records, "LAYOUT", records.LAYOUT - 1)  # written by an older hemojax
    with pytest.raises(UserError, match="ReadAgain"):
        records.prepare(folder, untouched(root), FRACTIONS, {"root": str(root)})


def contents(folder):
    """All that the records hold, in their order."""
    indices = [records.read_index(folder, split) for split in SPLITS]
    sources = [records.data_source(folder, split) for split in SPLITS]
    return pd.concat(indices), [source[n] for source in sources for n in range(len(source))]


def assert_same_records(one, other):
    (index, found), (other_index, other_found) = contents(one), contents(other)
    pd.testing.assert_frame_equal(index, other_index)
    for record, wanted in zip(found, other_found, strict=True):
        for name in wanted:
            np.testing.assert_array_equal(record[name], wanted[name])


def reading(root, names):
    """The listing of a data set of which these cases alone may be read."""
    allowed, others = cases(root).sources, untouched(root).sources
    return Listing({name: (allowed if name in names else others)[name] for name in allowed})


def drawn(path, value, *, at):
    """Draws into a mask's file, which keeps its size (it is not compressed) and its time."""
    before = path.stat()
    image = nib.load(path)
    mask = np.asanyarray(image.dataobj).copy()
    mask[at] = value
    nib.save(nib.Nifti1Image(mask, image.affine, image.header), path)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_corrected_mask_is_prepared_again_and_no_other_case(tmp_path):
    root = generic(tmp_path / "set", cases=9, clean=(0, 3, 5, 8))
    packed = root / "masks" / "p3.nii.gz"
    nib.save(nib.load(packed), root / "masks" / "p3.nii")
    packed.unlink()
    records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})
    first, splits = records.about(tmp_path / "records"), contents(tmp_path / "records")[0]["split"]
    drawn(root / "masks" / "p3.nii", 1, at=np.s_[4:9, 4:9, 0])
    records.prepare(tmp_path / "records", reading(root, ["p3"]), FRACTIONS, {})
    assert records.about(tmp_path / "records") != first
    index, found = contents(tmp_path / "records")
    assert index["split"].equals(splits)  # no patient has come to another split
    # The file's second axis grows to the front, a record's to the back.
    for record in (found[n] for n, case in enumerate(index["case"]) if case == "p3"):
        assert (record["mask"][4:9, ::-1][:, 4:9] == 1).all() == (record["slice"] == 0) == record["labels"][0]
    records.prepare(tmp_path / "anew", cases(root), FRACTIONS, {})
    assert records.about(tmp_path / "records") == records.about(tmp_path / "anew")
    assert not list(tmp_path.glob("records.*"))


def test_a_split_that_the_data_set_gives_later_counts(tmp_path):
    root = generic(tmp_path / "set", cases=9, clean=(0, 3, 5, 8))
    records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})
    split = contents(tmp_path / "records")[0].groupby("case")["split"].first()
    swapped = split.replace({"train": "test", "test": "train"})
    rows = {"patient": swapped.index, "slice": 0, "hemorrhage_binary": 0, "split": swapped.to_numpy()}
    pd.DataFrame(rows).to_csv(root / "slices.csv", index=False)
    records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})
    assert contents(tmp_path / "records")[0].groupby("case")["split"].first().equals(swapped)


def test_files_that_were_only_touched_are_not_prepared_again(tmp_path):
    root = generic(tmp_path / "set", cases=9, clean=(0, 3, 5, 8))
    records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})
    for path in root.glob("*/*"):
        path.write_bytes(path.read_bytes())
    records.prepare(tmp_path / "records", untouched(root), FRACTIONS, {})
    shutil.copy(root / "images" / "p1.nii.gz", root / "images" / "q.nii.gz")  # a case is new, and one is gone
    shutil.move(root / "masks" / "p1.nii.gz", root / "masks" / "q.nii.gz")
    (root / "images" / "p1.nii.gz").unlink()
    records.prepare(tmp_path / "records", reading(root, ["q"]), FRACTIONS, {})
    assert {"q", "p2"} < set(contents(tmp_path / "records")[0]["case"]) ^ {"p1"}


def test_what_a_table_says_of_a_case_is_part_of_it(tmp_path):
    root = generic(tmp_path / "set", cases=9, clean=(0, 3, 5, 8))
    shutil.rmtree(root / "masks")
    names = [f"p{n}" for n in range(9) for _ in range(4)]
    table = pd.DataFrame({"patient": names, "slice": [0, 1, 2, 3] * 9})
    table["hemorrhage_binary"] = ((table["slice"] % 3 > 0) & ~table["patient"].isin(["p0", "p3", "p5", "p8"])).astype(
        int
    )
    table.to_csv(root / "slices.csv", index=False)
    records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})
    table.loc[0, "hemorrhage_binary"] = 1
    table.to_csv(root / "slices.csv", index=False)
    records.prepare(tmp_path / "records", reading(root, ["p0"]), FRACTIONS, {})
    index, _ = contents(tmp_path / "records")
    assert index.set_index(["case", "slice"]).loc[("p0", 0), "any"] == 1


def test_a_preparation_goes_on_where_it_stopped(tmp_path):
    root = generic(tmp_path / "set", cases=9, clean=(0, 3, 5, 8))
    (root / "images" / "p7.nii.gz").rename(tmp_path / "p7.nii.gz")
    (root / "images" / "p7.nii.gz").write_text("no scan")
    with pytest.raises(UserError, match="p7"):
        records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})
    assert not (tmp_path / "records").exists()
    shutil.copy(tmp_path / "p7.nii.gz", root / "images" / "p7.nii.gz")
    records.prepare(tmp_path / "records", reading(root, ["p7", "p8"]), FRACTIONS, {})
    records.prepare(tmp_path / "anew", cases(root), FRACTIONS, {})
    assert_same_records(tmp_path / "records", tmp_path / "anew")
    assert not list(tmp_path.glob("records.*"))


def test_a_scan_that_cannot_be_read_is_left_out_where_that_is_asked_for(tmp_path):
    root, folder = generic(tmp_path / "set", cases=9, clean=(0, 3, 5, 8)), tmp_path / "records"
    (root / "images" / "p7.nii.gz").write_text("no scan")
    records.prepare(folder, cases(root), FRACTIONS, {}, skip=True)
    assert list(records.left_out(folder)) == ["p7"]
    assert str(root / "images" / "p7.nii.gz") in records.left_out(folder)["p7"]
    assert "p7" not in set(contents(folder)[0]["case"])
    records.prepare(folder, untouched(root), FRACTIONS, {}, skip=True)
    with pytest.raises(UserError, match="p7"):
        records.prepare(folder, cases(root), FRACTIONS, {})
    scan = nib.load(root / "images" / "p6.nii.gz")
    nib.save(nib.Nifti1Image(np.asanyarray(scan.dataobj)[::-1], scan.affine), root / "images" / "p7.nii.gz")
    records.prepare(folder, reading(root, ["p7"]), FRACTIONS, {}, skip=True)
    assert records.left_out(folder) == {}
    assert "p7" in set(contents(folder)[0]["case"])


def test_a_data_set_without_any_usable_scan_is_refused(tmp_path):
    root = generic(tmp_path / "set", cases=2)
    for path in (root / "images").iterdir():
        path.write_text("no scan")
    with pytest.raises(UserError, match=r"none of 2 scans can be used; the first: .*p0\.nii\.gz: cannot be read"):
        records.prepare(tmp_path / "records", cases(root), FRACTIONS, {}, skip=True)


def test_a_data_set_of_which_no_file_has_changed_is_not_even_listed(tmp_path):
    root, folder = generic(tmp_path / "set", cases=9, clean=(0, 3, 5, 8)), tmp_path / "records"
    (root / "again").symlink_to(root)  # a link that leads back
    tree = origins.tree(root)
    assert not records.stand(folder, {}, tree, skip=False)
    records.prepare(folder, cases(root), FRACTIONS, {})
    records.remember(folder, tree)
    assert records.stand(folder, {}, origins.tree(root), skip=False)
    assert records.stand(folder, {}, None, skip=False)  # the data set is gone
    for known in (tree, None):
        assert not records.stand(folder, {"root": "elsewhere"}, known, skip=False)
    path = root / "masks" / "p3.nii.gz"
    before = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not records.stand(folder, {}, origins.tree(root), skip=False)


def test_other_processes_prepare_the_same(prepared, tmp_path, monkeypatch):
    root, folder = prepared
    monkeypatch.setattr(parts, "SMALL", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})
    assert_same_records(folder, tmp_path / "records")


def test_a_split_without_positive_slices_is_refused(tmp_path):
    root = generic(tmp_path / "set", cases=6, clean=(0, 1, 2, 3, 4))
    with pytest.raises(UserError, match="split 'validation' has no positive slice"):
        records.prepare(tmp_path / "records", cases(root), FRACTIONS, {})


def test_scans_numbered_from_the_head_down_are_turned_round():
    case = made("a", "p")
    slices = len(case.slices)
    np.testing.assert_allclose(case.heights, np.arange(slices) / (slices - 1))
    down = dataclasses.replace(case, slices=case.slices[::-1])
    np.testing.assert_allclose(down.heights, case.heights)
