"""Both layouts give the cases that stand on disk, and every fault ends in a line that names the file."""

import gzip
import io

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from data.folders import generic, hemorica, save

from hemojax.data.case import BOXED, CaseError, drawn_in, in_target
from hemojax.data.datasets import LAYOUTS
from hemojax.data.labels import BHSD_SUBTYPES, LABELS
from hemojax.data.reading import Reading
from hemojax.errors import UserError


def read(layout, root, **options):
    return list(LAYOUTS[layout](root, BHSD_SUBTYPES, **options))


def test_generic_labels_come_from_the_mask(tmp_path):
    cases = read("generic", generic(tmp_path, cases=2))
    assert [case.name for case in cases] == ["p0", "p1"]
    assert cases[0].split is None
    assert cases[0].axes == "LPS"
    assert cases[0].spacing == (0.5, 0.5, 5)
    expected = np.zeros((4, 6), np.int8)
    expected[1:3, [LABELS.index("any"), LABELS.index("IPH")]] = 1
    np.testing.assert_array_equal(cases[0].labels, expected)


def test_generic_table_wins_over_the_mask(tmp_path):
    root = generic(tmp_path, cases=1)
    rows = {"patient": "p0", "slice": range(4), "hemorrhage_binary": [1, 1, 0, 0], "split": "val"}
    pd.DataFrame(rows).to_csv(root / "slices.csv", index=False)
    with pytest.raises(CaseError, match=r"2 slices of 1 of 1 scans .*p0 slice 0, 2; slices\.csv seems to be one slice"):
        read("generic", root)
    (case,) = read("generic", root, reading=Reading(contradictions="table"))
    assert case.split == "validation"
    assert case.labels[:, 0].tolist() == [1, 1, 0, 0]
    assert case.labels[:, LABELS.index("IPH")].tolist() == [0, 1, 0, 0]
    (case,) = read("generic", root, reading=Reading(contradictions="mask"))
    assert case.labels[:, 0].tolist() == [0, 1, 1, 0]


def test_generic_boxes_stand_beside_the_mask(tmp_path):
    root = generic(tmp_path, cases=1)
    box = {"patient": "p0", "slice": 1, "i0": 4, "j0": 10, "i1": 8, "j1": 14}
    pd.DataFrame([box]).to_csv(root / "boxes.csv", index=False)
    (case,) = read("generic", root)
    slice_ = case.mask[..., 1]
    expected = np.zeros((24, 24), bool)
    expected[4:8, 10:14] = True
    np.testing.assert_array_equal(in_target(slice_, (BOXED,)), expected)
    blood = np.zeros((24, 24), bool)
    blood[5:9, 12:18] = True  # stored to the front, looked at to the back
    np.testing.assert_array_equal(in_target(slice_, (2,)), blood)
    np.testing.assert_array_equal(in_target(slice_, (2, BOXED)), blood | expected)
    assert drawn_in(slice_) == [2, BOXED]
    assert drawn_in(case.mask[..., 2]) == [2]
    assert drawn_in(case.mask[..., 0]) == []
    assert case.labels[:, LABELS.index("IPH")].tolist() == [0, 1, 1, 0]


def test_slices_that_nobody_knows_are_left_out_and_counted(tmp_path, capsys):
    root = generic(tmp_path, cases=3)
    for name in ("p0", "p1"):
        (root / "masks" / f"{name}.nii.gz").unlink()
    rows = {"patient": ["p1"] * 3 + ["p2"], "slice": [0, 1, 3, 1], "hemorrhage_binary": [1, None, "0.0", None]}
    pd.DataFrame(rows).to_csv(root / "slices.csv", index=False)
    p1, p2 = read("generic", root)
    assert (p1.name, p1.slices.tolist(), p1.labels[:, 0].tolist()) == ("p1", [0, 3], [1, 0])
    assert p1.hu.shape == p1.mask.shape == (24, 24, 2)
    assert p2.labels[:, 0].tolist() == [0, 1, 1, 0]
    said = capsys.readouterr().out
    assert "6 slices of 2 scans have neither a label nor a mask and are left out: p0, p1" in said
    assert "2 of 3 scans have no mask: p0, p1" in said


@pytest.mark.parametrize("codes", ["LPS", "RAI", "PLS", "SLP", "AIR"])
def test_one_data_set_in_several_orders(tmp_path, codes):
    # The scan, its mask, its slices' numbers and its box, in the order of its file, and the mask in another one.
    root = generic(tmp_path, cases=1)
    scan, mask = (nib.load(root / folder / "p0.nii.gz") for folder in ("images", "masks"))
    box = np.zeros(scan.shape, np.uint8)
    box[4:8, 10:15, 1] = 1
    (plain,) = read("generic", root)
    stored = turned(scan, codes)
    nib.save(stored, root / "images" / "p0.nii.gz")
    nib.save(turned(mask, codes[::-1]), root / "masks" / "p0.nii.gz")
    (case,) = read("generic", root)
    np.testing.assert_array_equal(case.hu, plain.hu)
    np.testing.assert_array_equal(case.mask, plain.mask)
    np.testing.assert_array_equal(case.labels, plain.labels)
    np.testing.assert_array_equal(case.heights, plain.heights)
    assert (case.axes, case.spacing) == (plain.axes, plain.spacing) == ("LPS", (0.5, 0.5, 5))
    # Slices and boxes as the file counts them.
    across = max(codes.find("S"), codes.find("I"))
    own = np.moveaxis(np.asanyarray(turned(nib.Nifti1Image(box, scan.affine), codes).dataobj), across, -1)
    i, j, n = np.nonzero(own)
    number = int(n[0])
    row = {"patient": "p0", "slice": number, "i0": i.min(), "j0": j.min(), "i1": i.max() + 1, "j1": j.max() + 1}
    pd.DataFrame([row]).to_csv(root / "boxes.csv", index=False)
    labels = {"patient": "p0", "slice": [number], "hemorrhage_binary": [0]}
    pd.DataFrame(labels).to_csv(root / "slices.csv", index=False)
    (case,) = read("generic", root, reading=Reading(contradictions="table"))
    expected = turned(nib.Nifti1Image(box, scan.affine), "LPS")
    np.testing.assert_array_equal(in_target(case.mask, (BOXED,)), np.asanyarray(expected.dataobj) > 0)
    assert case.labels[:, 0].tolist() == [0, 0, 1, 0]
    assert case.slices.tolist() == ([3, 2, 1, 0] if "I" in codes else [0, 1, 2, 3])
    assert case.slices[1] == number


def turned(image, codes):
    order = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    other = image.as_reoriented(order)
    return nib.Nifti1Image(np.asanyarray(other.dataobj), other.affine)


def test_values_are_what_the_config_says(tmp_path):
    root = generic(tmp_path, cases=2)
    path = root / "images" / "p1.nii.gz"
    hu = np.asanyarray(nib.load(path).dataobj)
    save(path, (hu + 1024).astype(np.uint16))
    with pytest.raises(CaseError, match=r"p1\.nii\.gz: .*data\.intensity=offset1024"):
        read("generic", root)
    other = generic(tmp_path / "other", cases=1)
    save(other / "images" / "p0.nii.gz", (hu + 1024).astype(np.uint16))
    (case,) = LAYOUTS["generic"](other, BHSD_SUBTYPES, Reading("offset1024"))
    np.testing.assert_array_equal(case.hu, hu[:, ::-1])


def test_the_option_lets_masks_be_resampled(tmp_path):
    root = generic(tmp_path, cases=1)
    (plain,) = read("generic", root)
    mask = nib.load(root / "masks" / "p0.nii.gz")
    cut = np.asanyarray(mask.dataobj)[2:, :, 1:]
    affine = mask.affine.copy()
    affine[:3, 3] += mask.affine[:3, :3] @ (2, 0, 1)
    save(root / "masks" / "p0.nii.gz", cut, affine)
    with pytest.raises(CaseError, match="22 x 24 x 3 is not the scan's 24 x 24 x 4"):
        read("generic", root)
    (case,) = LAYOUTS["generic"](root, BHSD_SUBTYPES, Reading(resample_masks=True))
    np.testing.assert_array_equal(case.mask, plain.mask)


def test_hemoricas_slices_may_have_another_order(tmp_path):
    root = hemorica(tmp_path)
    ann, _ = read("hemorica", root)
    stored = np.load(root / "images" / "ann_3.npy")
    np.testing.assert_array_equal(ann.hu[..., 0], stored.T)  # rows run to the back
    other, _ = LAYOUTS["hemorica"](root, BHSD_SUBTYPES, Reading(axes="RAI"))
    np.testing.assert_array_equal(other.hu[..., 1], stored[::-1, ::-1])
    assert other.slices.tolist() == [4, 3]
    assert other.labels[:, 0].tolist() == [0, 1]
    assert other.mask.sum(axis=(0, 1)).tolist() == [0, 18]
    assert other.heights.tolist() == [0, 0.25]
    with pytest.raises(UserError, match=r"--config\.data\.axes=SLP: Hemorica's files are axial slices"):
        list(LAYOUTS["hemorica"](root, BHSD_SUBTYPES, Reading(axes="SLP")))


def test_hemorica(tmp_path):
    ann, bob = read("hemorica", hemorica(tmp_path))
    assert (ann.split, bob.split) == ("train", "validation")
    assert ann.slices.tolist() == [3, 4]
    assert ann.labels[:, 0].tolist() == [1, 0]
    assert ann.labels[:, LABELS.index("IPH")].tolist() == [1, 0]
    assert ann.mask.sum(axis=(0, 1)).tolist() == [18, 0]
    assert bob.mask.sum() == 0
    assert np.isnan(ann.spacing).all()


def test_hemorica_with_the_size_of_voxels(tmp_path):
    root = hemorica(tmp_path)
    table = pd.read_csv(root / "val.csv").assign(pixel_mm=0.45, slice_mm=5)
    table.to_csv(root / "val.csv", index=False)
    ann, bob = read("hemorica", root)
    assert bob.spacing == (0.45, 0.45, 5)
    assert np.isnan(ann.spacing).all()
    for column, line in (
        ([0.45, 0.5], "slices of patient bob differ in pixel_mm"),
        ("-1", "'-1' in the column for 'pixel_mm'"),
    ):
        table.assign(pixel_mm=column).to_csv(root / "val.csv", index=False)
        with pytest.raises(CaseError, match=line):
            read("hemorica", root)


def truncate(root):
    path = root / "images" / "p1.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])


def not_gzip(root):
    (root / "images" / "p1.nii.gz").write_text("this is no scan")


def empty_archive(root):
    (root / "images" / "p1.nii.gz").write_bytes(gzip.compress(b""))


def nan_volume(root):
    volume = np.zeros((24, 24, 4), np.float32)
    volume[0, 0, 0] = np.nan
    save(root / "images" / "p1.nii.gz", volume)


def other_mask_shape(root):
    save(root / "masks" / "p1.nii.gz", np.zeros((24, 24, 5), np.uint8))


def other_mask_affine(root):
    save(root / "masks" / "p1.nii.gz", np.zeros((24, 24, 4), np.uint8), np.eye(4))


def flat_voxels(root):
    for folder, dtype in (("images", np.int16), ("masks", np.uint8)):
        image = nib.Nifti1Image(np.zeros((24, 24, 4), dtype), None)
        image.set_sform(np.diag([0.5, 0.5, 0, 1]), 1)
        nib.save(image, root / folder / "p1.nii.gz")


def fractional_mask(root):
    save(root / "masks" / "p1.nii.gz", np.full((24, 24, 4), 0.5, np.float32))


def mask_of(array):
    return lambda root: save(root / "masks" / "p1.nii.gz", array)


COLOUR = np.zeros((24, 24, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])


def flat_scan(root):
    save(root / "images" / "p1.nii.gz", np.zeros((24, 24), np.int16))


def lonely_mask(root):
    (root / "images" / "p1.nii.gz").unlink()


def box_outside(root):
    (root / "boxes.csv").write_text("patient,slice,i0,j0,i1,j1\np1,1,4,4,8,25\n")


def half_a_box(root):
    (root / "boxes.csv").write_text("patient,slice,i0,j0\np1,1,4,4\n")


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (box_outside, r"boxes\.csv: the box 4, 4, 8, 25 of slice 1 is not inside a scan of \(24, 24, 4\)"),
        (half_a_box, r"boxes\.csv: has no column named i1"),
        (truncate, r"images/p1\.nii\.gz: cannot be read, copy it again"),
        (not_gzip, r"images/p1\.nii\.gz: cannot be read"),
        (empty_archive, r"images/p1\.nii\.gz: cannot be read"),
        (nan_volume, r"images/p1\.nii\.gz: 1 voxels are NaN or infinite"),
        (
            other_mask_shape,
            r"masks/p1\.nii\.gz: the mask's shape 24 x 24 x 5 is not the scan's 24 x 24 x 4; resample it",
        ),
        (
            other_mask_affine,
            r"masks/p1\.nii\.gz: corners of the mask lie 96 mm from the scan's; .*resample_masks=True",
        ),
        (flat_voxels, r"images/p1\.nii\.gz: its affine has no inverse, its voxels are 0\.5 x 0\.5 x 0 mm"),
        (fractional_mask, r"masks/p1\.nii\.gz: the mask holds 0.5; write integers from 0 to 255"),
        (mask_of(np.full((24, 24, 4), np.nan, np.float32)), r"p1\.nii\.gz: the mask holds nan; write integers"),
        (mask_of(np.full((24, 24, 4), -1, np.int16)), r"p1\.nii\.gz: the mask holds -1; write integers"),
        (mask_of(COLOUR), r"masks/p1\.nii\.gz: the mask is in colour"),
        (mask_of(np.ones((24, 24, 4), np.uint8)), "100 % of the mask is drawn, .*; write 0 where there is none"),
        (flat_scan, r"images/p1\.nii\.gz: is not a volume: its shape is \(24, 24\)"),
        (lonely_mask, r"masks: 1 masks match no scan: 'p1'; there are p0"),
    ],
)
def test_generic_faults(tmp_path, fault, line):
    root = generic(tmp_path, cases=2)
    fault(root)
    with pytest.raises(CaseError, match=line) as caught:
        read("generic", root)
    assert "\n" not in str(caught.value)


def test_empty_and_missing_folders(tmp_path):
    for layout in ("generic", "hemorica", "dicom"):
        with pytest.raises(CaseError, match=f"{tmp_path.name}: has no folder 'images', .*; it holds nothing"):
            read(layout, tmp_path)
        with pytest.raises(CaseError, match="elsewhere: no such folder"):
            read(layout, tmp_path / "elsewhere")
    (tmp_path / "images").mkdir()
    with pytest.raises(CaseError, match=r"images: holds no \.nii\.gz or \.nii file"):
        read("generic", tmp_path)
    with pytest.raises(CaseError, match=r"holds no \.csv table"):
        read("hemorica", tmp_path)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ({"patient": ["p0"], "slice": [0]}, "has no column named hemorrhage_binary"),
        (
            {"patient": ["p0"], "slice": ["x"], "hemorrhage_binary": [1]},
            "line 2: 'x' in the column slice is no whole number",
        ),
        ({"patient": ["p0"], "slice": [9], "hemorrhage_binary": [1]}, "p0 has 4 slices, not a slice 9"),
        ({"patient": ["p0"], "slice": [0], "hemorrhage_binary": ["maybe"]}, "'maybe' in the column for 'any'"),
        (
            {"patient": ["p0"] * 2, "slice": [0, 0], "hemorrhage_binary": [1, 0]},
            "slice 0 of patient p0 stands .* twice",
        ),
        (
            {"patient": ["p0"] * 2, "slice": [0, 1], "hemorrhage_binary": [0, 1], "split": ["train", "test"]},
            "patient p0 is in several splits: test, train",
        ),
    ],
)
def test_faults_of_the_table(tmp_path, rows, line):
    root = generic(tmp_path, cases=1)
    pd.DataFrame(rows).to_csv(root / "slices.csv", index=False)
    with pytest.raises(CaseError, match=line):
        read("generic", root)


def test_hemorica_faults(tmp_path):
    root = hemorica(tmp_path)
    (root / "images" / "bob_4.npy").unlink()
    with pytest.raises(CaseError, match=r"images: 1 rows of the tables match no file: 'bob_4'; there are ann_3"):
        read("hemorica", root)
    np.save(root / "images" / "bob_4.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(CaseError, match=r"bob_4\.npy: cannot be read"):
        read("hemorica", root)
    for path in (root / "images" / "bob_4.npy", root / "masks" / "ann_3.npy"):
        for content in (b"", b"PK\3\4 no archive", npy_header(shape=(200_000, 200_000))):
            path.write_bytes(content)
            with pytest.raises(CaseError, match=rf"{path.name}: cannot be read"):
                read("hemorica", root)


def npy_header(**about):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, **about})
    return file.getvalue()


def rename(root, folder, old, new):
    (root / folder / old).rename(root / folder / new)


def test_files_and_patients_in_other_spellings_are_matched_and_said(tmp_path, capsys):
    root = generic(tmp_path, cases=3)
    rename(root, "images", "p0.nii.gz", "p0.NII.GZ")
    rename(root, "masks", "p0.nii.gz", "P0_mask.nii.gz")
    rename(root, "images", "p1.nii.gz", "José 01.nii.gz")
    rename(root, "masks", "p1.nii.gz", "jose\u0301 1.nii.gz")
    (root / "images" / "notes.doc").write_text("")
    (root / "images" / ".DS_Store").write_text("")
    (root / "old").mkdir()
    table = "patient;slice;hemorrhage_binary;split;subject\nP0.nii;1,0;1;val;ann\nJosé 1;1;;;ann\n"
    (root / "slices.csv").write_bytes(table.encode("utf-16"))
    cases = {case.name: case for case in read("generic", root)}
    assert [case.labels[:, 0].tolist() for case in cases.values()] == [[0, 1, 1, 0]] * 3
    assert [cases[name].patient for name in ("p0", "José 01", "p2")] == ["ann", "ann", "p2"]
    assert [cases[name].split for name in ("p0", "José 01", "p2")] == ["validation", None, None]
    said = capsys.readouterr().out
    for line in (
        "masks: 1 masks are spelt otherwise than their files (a word for masks): 'P0_mask' is p0",
        "slices.csv: 1 patients are spelt otherwise than their files (letter case): 'P0.nii' is p0",
        "slices.csv: 2 scans have no split there and are dealt: José 01, p2",
        "images: 1 are no .nii.gz or .nii files and not used: notes.doc",
        f"{root}: not used: old",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("folder", "name", "line"),
    [
        ("images", "p0.nii", "p0.nii.gz: p0.nii beside it has the same name|p0.nii.gz beside it has the same name"),
        ("images", "Jos\udce9.nii", r"images: the name 'Jos\\xe9\.nii' is not UTF-8; rename it"),
        ("images", "p9.hdr", r"images: 1 are no .nii.gz files: p9\.hdr; convert them"),
        ("masks", "p0.nrrd", r"masks: 1 are no .nii.gz files: p0\.nrrd"),
        ("masks", "p0_seg.nii.gz", "'p0' and 'p0_seg' may both be p0"),
        ("masks", "p77.nii.gz", "1 masks match no scan: 'p77'"),
        ("", "Masks", "Masks: is not read; name it masks"),
        ("", "Slices.CSV", "Slices.CSV: is not read; name it slices.csv"),
    ],
)
def test_files_that_would_be_passed_over_are_refused(tmp_path, folder, name, line):
    root = generic(tmp_path, cases=2)
    (root / folder / name).write_bytes((root / "masks" / "p1.nii.gz").read_bytes())
    with pytest.raises(CaseError, match=line):
        read("generic", root)


def test_slices_counted_from_one_are_recognised(tmp_path):
    root = generic(tmp_path, cases=4, clean=(3,))
    rows = [(f"p{n}", k + 1, 1) for n in range(3) for k in (1, 2)]
    pd.DataFrame(rows, columns=["patient", "slice", "hemorrhage_binary"]).to_csv(root / "slices.csv", index=False)
    with pytest.raises(CaseError, match=r"3 slices of 3 of 3 scans .*p0 slice 3; .*seems to count slices from 1"):
        read("generic", root)
    pd.DataFrame([("p0", 4, 0), ("p0", 1, 1)], columns=["patient", "slice", "hemorrhage_binary"]).to_csv(
        root / "slices.csv", index=False
    )
    with pytest.raises(CaseError, match=r"line 2: p0 has 4 slices, not a slice 4; slices are counted from 0"):
        read("generic", root)


def test_rows_that_stand_there_twice_count_once(tmp_path, capsys):
    root = generic(tmp_path, cases=1)
    (root / "slices.csv").write_text("patient,slice,hemorrhage_binary,IPH\np0,1,yes,\np0,1.0,1,na\np0,0,,0\n")
    (case,) = read("generic", root)
    assert case.labels[:, 0].tolist() == [0, 1, 1, 0]
    assert "1 rows stand there twice and count once: lines 3" in capsys.readouterr().out


def test_what_follows_from_a_label(tmp_path):
    root = generic(tmp_path, cases=1)
    (root / "masks" / "p0.nii.gz").unlink()
    (root / "slices.csv").write_text("patient,slice,hemorrhage_binary,IPH,SDH\np0,0,0,,\np0,1,,1,\np0,2,1,1,-1\n")
    (case,) = read("generic", root)
    assert case.slices.tolist() == [0, 1, 2]
    assert case.labels[:, 0].tolist() == [0, 1, 1]
    assert case.labels[:, LABELS.index("SDH")].tolist() == [0, -1, -1]
    (root / "slices.csv").write_text("patient,slice,hemorrhage_binary,IPH\np0,0,0,1\n")
    with pytest.raises(CaseError, match="line 2: names a subtype in a slice without haemorrhage"):
        read("generic", root)


def test_boxes_on_negative_slices_and_beside_the_mask(tmp_path):
    root = generic(tmp_path, cases=2)
    rows = "".join(f"p{n},{k + 1},4,4,12,14\n" for n in range(2) for k in (1, 2))
    (root / "boxes.csv").write_text(f"patient,slice,i0,j0,i1,j1\n{rows}")
    with pytest.raises(
        CaseError, match=r"the boxes and the labels contradict .*boxes\.csv seems to count slices from 1"
    ):
        read("generic", root)
    (root / "boxes.csv").write_text("patient,slice,i0,j0,i1,j1\np0,1,10,5,12,9\np1,1,10,5,12,9\n")
    with pytest.raises(CaseError, match=r"2 of 2 boxes hold nothing .*; i and j seem to be exchanged"):
        read("generic", root)


def test_hemorica_files_in_other_spellings(tmp_path, capsys):
    root = hemorica(tmp_path)
    rename(root, "images", "ann_3.npy", "ANN_003.NPY")
    rename(root, "masks", "ann_3.npy", "Ann_3_mask.npy")
    np.save(root / "images" / "zoe_1.npy", np.zeros((16, 16)))
    pd.DataFrame({"patient_name": ["ann"], "slice_number": [3], "hemorrhage_binary": [1], "ICH": [1]}).to_csv(
        root / "all.csv", index=False
    )
    ann, bob = read("hemorica", root)
    assert ann.mask.sum(axis=(0, 1)).tolist() == [18, 0]
    assert ann.split == "train"
    said = capsys.readouterr().out
    assert "1 slices stand in no table and are left out: zoe_1" in said
    assert "1 positive slices of 1 patients have no mask: bob" in said
    assert bob.labels[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda root: rename(root, "masks", "ann_3.npy", "annie_3.npy"),
            r"1 masks match no slice in images/: 'annie_3'",
        ),
        (
            lambda root: (root / "test.csv").write_text("patient_name,slice_number,hemorrhage_binary\nann,3,1\n"),
            "patient ann is in several splits: test, train",
        ),
        (
            lambda root: (root / "all.csv").write_text("patient_name,slice_number,hemorrhage_binary,ICH\nann,3,0,0\n"),
            "all.csv line 2 and train.csv line 2 contradict each other on slice 3 of ann",
        ),
    ],
)
def test_hemorica_contradictions(tmp_path, change, line):
    root = hemorica(tmp_path)
    change(root)
    with pytest.raises(CaseError, match=line):
        read("hemorica", root)


def test_hemorica_blank_labels(tmp_path, capsys):
    root = hemorica(tmp_path)
    for name in ("train.csv", "val.csv"):
        table = pd.read_csv(root / name)
        table.assign(hemorrhage_binary="", ICH="").to_csv(root / name, index=False)
    (ann,) = read("hemorica", root)
    assert (ann.name, ann.slices.tolist(), ann.labels[:, 0].tolist()) == ("ann", [3], [1])
    assert "3 slices of 2 scans have neither a label nor a mask and are left out: ann, bob" in capsys.readouterr().out


def test_scans_that_do_not_say_their_order_are_named(tmp_path, capsys):
    root = generic(tmp_path, cases=2)
    for kind in ("images", "masks"):
        save(root / kind / "p1.nii.gz", np.asanyarray(nib.load(root / kind / "p1.nii.gz").dataobj), None)
    read("generic", root)
    assert "1 of 2 scans do not say the order of their arrays and are read as LAS: p1.nii" in capsys.readouterr().out
    read("generic", root, reading=Reading(axes="LPS"))
    assert "the order" not in capsys.readouterr().out
