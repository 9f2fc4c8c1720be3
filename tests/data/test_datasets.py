"""Both layouts give the cases that stand on disk, and every fault ends in a line that names the file."""

import gzip

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


def read(layout, root):
    return list(LAYOUTS[layout](root, BHSD_SUBTYPES))


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
    (case,) = read("generic", root)
    assert case.split == "validation"
    assert case.labels[:, 0].tolist() == [1, 1, 0, 0]
    assert case.labels[:, LABELS.index("IPH")].tolist() == [0, 1, 1, 0]


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


def test_generic_scan_without_mask_needs_labels(tmp_path):
    root = generic(tmp_path, cases=1)
    (root / "masks" / "p0.nii.gz").unlink()
    with pytest.raises(CaseError, match=r"p0\.nii\.gz: slice 0 has neither a row in .*slices\.csv nor a mask"):
        read("generic", root)


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
    (case,) = read("generic", root)
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
    for column, line in (([0.45, 0.5], "slices of patient bob differ in pixel_mm"), ("-1", "'-1' in the column pixel")):
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
        (half_a_box, r"boxes\.csv: is not a table of patient, slice, i0, j0, i1, j1"),
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
        (fractional_mask, r"masks/p1\.nii\.gz: the mask holds values that are not integers"),
        (flat_scan, r"images/p1\.nii\.gz: is not a volume: its shape is \(24, 24\)"),
        (lonely_mask, r"masks/p1\.nii\.gz: has no scan .*images/p1\.nii\.gz beside it"),
    ],
)
def test_generic_faults(tmp_path, fault, line):
    root = generic(tmp_path, cases=2)
    fault(root)
    with pytest.raises(CaseError, match=line) as caught:
        read("generic", root)
    assert "\n" not in str(caught.value)


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(CaseError, match="images: no such folder"):
        read("generic", tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(CaseError, match=r"images: holds no \.nii\.gz or \.nii file"):
        read("generic", tmp_path)
    with pytest.raises(CaseError, match=r"holds no \.csv table"):
        read("hemorica", tmp_path)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ({"patient": ["p0"], "slice": [0]}, "has no column named hemorrhage_binary"),
        ({"patient": ["p0"], "slice": ["x"], "hemorrhage_binary": [1]}, "a slice number is not an integer"),
        ({"patient": ["p0"], "slice": [9], "hemorrhage_binary": [1]}, "p0 has 4 slices, not a slice 9"),
        ({"patient": ["p0"], "slice": [0], "hemorrhage_binary": ["maybe"]}, "'maybe' in the column for 'any'"),
        (
            {"patient": ["p0"] * 2, "slice": [0, 0], "hemorrhage_binary": [1, 0]},
            "slice 0 of patient p0 stands .* twice",
        ),
        (
            {"patient": ["p0"] * 2, "slice": [0, 1], "hemorrhage_binary": [1, 0], "split": ["train", "test"]},
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
    with pytest.raises(CaseError, match=r"bob_4\.npy: no such file, though a table of labels names it"):
        read("hemorica", root)
    np.save(root / "images" / "bob_4.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(CaseError, match=r"bob_4\.npy: cannot be read"):
        read("hemorica", root)
