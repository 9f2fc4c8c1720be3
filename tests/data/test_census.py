"""A census finds all that preparation refuses, and counts what the files hold."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from data.folders import generic, hemorica, save, volumes

from hemojax.config import defaults
from hemojax.data import census, records
from hemojax.data.prepare import data_set, dealing
from hemojax.errors import UserError

CLEAN = (0, 3, 5, 8)


def section(root, **options):
    data = defaults().data
    data.update(root=str(root), **options)
    return data


def found(tmp_path, root, **options):
    data = section(root, **options)
    taken = census.take(data, tmp_path / "records")
    return json.loads(json.dumps(census.described(taken, skip=data.on_error == "skip"))), taken


def refused(tmp_path, root, **options):
    """What preparation says of it."""
    data = section(root, **options)
    listing = data_set(data, tmp_path / "records").listing()
    records.prepare(tmp_path / "records", listing, data.fractions.to_dict(), {}, **dealing(data))


def test_what_the_files_hold_is_counted(tmp_path):
    root = generic(tmp_path / "set", cases=9, clean=CLEAN)
    seen, taken = found(tmp_path, root)
    volumes = [nib.load(path) for path in sorted((root / "images").iterdir())]
    hu = np.concatenate([np.asanyarray(image.dataobj).ravel() for image in volumes])
    low, median, high = np.percentile(hu, [1, 50, 99], method="inverted_cdf")
    assert seen["hu"] == {
        "lowest": hu.min(),
        "percentile_1": low,
        "median": median,
        "percentile_99": high,
        "highest": hu.max(),
        "seen": ["air", "brain"],
    }
    assert seen["trainable"]
    assert seen["scorable"]
    assert (seen["cases"], seen["patients"], seen["slices"]) == (9, 9, 36)
    assert seen["mask_integers"] == {"2": 10}
    assert sum(part["positive"]["any"] for part in seen["splits"].values()) == 10
    assert seen["orders"] == {"".join(nib.aff2axcodes(volumes[0].affine)): 9}
    assert seen["spacing_mm"] == {"spacing_i": [0.5, 0.5], "spacing_j": [0.5, 0.5], "spacing_k": [5, 5]}
    assert seen["problems"] == seen["unscored"] == []
    assert seen["each"]["p1"]["positive"]["IPH"] == 2
    refused(tmp_path, root)
    pd.testing.assert_frame_equal(
        taken.index, pd.read_parquet(tmp_path / "records" / "index.parquet"), check_dtype=False
    )


def test_every_problem_is_found_and_the_first_is_what_preparation_says(tmp_path):
    root = generic(tmp_path / "set", cases=12, clean=CLEAN)
    hu, mask = volumes(np.random.default_rng(1))
    (root / "images" / "p4.nii.gz").write_text("no scan")
    save(root / "images" / "p6.nii.gz", (hu + 1024).astype(np.uint16))
    save(root / "masks" / "p7.nii.gz", mask[:-1])
    save(root / "masks" / "ghost.nii.gz", mask)
    (root / "images" / "p1.nii").write_bytes(b"")
    (root / "images" / "p9.nrrd").write_bytes(b"")
    (root / "slices.csv").write_text("patient,slice,hemorrhage_binary\nzz,0,1\np1,9,0\np2,0,0\np2,0,1\n")
    (root / "boxes.csv").write_text("patient,slice,i0,j0,i1,j1\np2,1,2,three,4,5\n")
    seen, _ = found(tmp_path, root)
    wanted = ("p9.nrrd", "p1.nii", "ghost", "'zz'", "slice 9", "p2 stands there twice", "'three'", "p4", "p6", "p7")
    for word in wanted:
        assert sum(word in line for line in seen["problems"]) == 1, word
    assert len(seen["problems"]) == len(wanted)
    for line in seen["problems"]:
        assert line.startswith(str(root))
        assert "\n" not in line
    assert not seen["trainable"]
    with pytest.raises(UserError) as caught:
        refused(tmp_path, root)
    assert str(caught.value) in seen["problems"]


def test_scans_that_are_left_out_on_request_forbid_nothing(tmp_path):
    root = generic(tmp_path / "set", cases=12, clean=CLEAN)
    (root / "images" / "p4.nii.gz").write_text("no scan")
    assert not found(tmp_path, root)[0]["trainable"]
    seen, taken = found(tmp_path, root, on_error="skip")
    assert seen["trainable"]
    assert list(taken.faults) == ["p4"]
    assert "p4" not in set(taken.index["case"])


def test_what_can_be_trained_on_and_not_scored(tmp_path):
    root = generic(tmp_path / "set", cases=9, clean=CLEAN)
    for path in (root / "masks").iterdir():
        path.unlink()
    rows = [(f"p{n}", at, int(at == 1 and n not in CLEAN)) for n in range(9) for at in range(4)]
    pd.DataFrame(rows, columns=["patient", "slice", "any"]).to_csv(root / "slices.csv", index=False)
    seen, _ = found(tmp_path, root)
    assert (seen["trainable"], seen["scorable"]) == (True, False)
    assert "--config.task=train" in seen["unscored"][0]


def test_a_data_set_that_is_not_there_is_one_problem(tmp_path):
    seen, _ = found(tmp_path, tmp_path / "nowhere")
    assert not seen["trainable"]
    assert f"{tmp_path / 'nowhere'}: no such folder" in seen["problems"]


def test_every_fold_is_looked_at(tmp_path):
    root = generic(tmp_path / "set", cases=9, clean=(0, 1, 2, 3, 4, 5, 6))
    seen, _ = found(tmp_path, root, folds=3, fold=-1)
    assert not seen["trainable"]
    assert all("has no positive slice" in line for line in seen["problems"])


def test_slices_as_files(tmp_path):
    seen, _ = found(tmp_path, hemorica(tmp_path / "set"), layout="hemorica")
    assert seen["orders"] == {"PLS": 2}
    assert seen["spacing_mm"] == {}
    assert "split 'test' has no positive slice" in seen["problems"][0]


def test_a_case_is_shown_with_its_mask_or_its_boxes(tmp_path, monkeypatch):
    root = generic(tmp_path / "set", cases=9, clean=(1,))
    (root / "boxes.csv").write_text("patient,slice,i0,j0,i1,j1\np0,2,5,6,12,12\np1,2,5,6,12,12\n")
    monkeypatch.setattr(census, "SHOWN", 3)
    _, taken = found(tmp_path, root, contradictions="table")
    assert [name for name, look in taken.looks.items() if look.middle] == ["p0", "p4", "p8"]
    monkeypatch.setattr(census, "SHOWN", 48)
    _, taken = found(tmp_path, root, contradictions="table")
    assert taken.looks["p0"].middle.number == 2
    assert taken.looks["p0"].middle.drawn.sum() == 4 * 6
    assert taken.looks["p1"].middle.drawn.sum() == 7 * 6
