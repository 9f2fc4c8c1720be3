"""Volumes of files that say what they are in many ways, or wrongly."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from hemojax.data import orientation, volume
from hemojax.data.case import CaseError

LPS = np.array([[-0.5, 0, 0, 10], [0, -0.5, 0, 9], [0, 0, 5, -20], [0, 0, 0, 1.0]])
RNG = np.random.default_rng(0)


def image(affine=LPS, shape=(20, 24, 4)):
    return nib.Nifti1Image(RNG.integers(1, 99, shape).astype(np.int16), affine)


def saved(path, found):
    nib.save(found, path)
    return path


def turned(found, codes):
    order = nib.orientations.ornt_transform(nib.io_orientation(found.affine), nib.orientations.axcodes2ornt(codes))
    other = found.as_reoriented(order)
    return nib.Nifti1Image(np.asanyarray(other.dataobj), other.affine)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PLI", "SLP", "IPR"])
def test_one_head_in_several_orders(tmp_path, codes):
    head = image()
    found = volume.read(saved(tmp_path / "scan.nii", turned(head, codes)))
    np.testing.assert_array_equal(found.array, np.asanyarray(head.dataobj))
    np.testing.assert_allclose(found.affine, LPS)
    assert found.spacing == (0.5, 0.5, 5.0)
    assert found.numbers.tolist() == ([3, 2, 1, 0] if "I" in codes else [0, 1, 2, 3])
    assert sorted(found.own_shape[:2]) == [20, 24]
    own = found.own(found.array)
    assert own.shape == found.own_shape
    np.testing.assert_array_equal(found.from_own(own), found.array)


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1), (0, 1)])
def test_units_of_length(tmp_path, unit, scale):
    affine = LPS.copy()
    affine[:3] *= scale
    head = image(affine)
    head.header.set_xyzt_units(unit)
    np.testing.assert_allclose(volume.read(saved(tmp_path / "scan.nii", head)).affine, LPS, rtol=1e-6)


def test_a_tilted_gantry_shears_the_grid(tmp_path):
    sheared = LPS.copy()
    sheared[1, 2] = 5 * np.tan(np.radians(20))  # each slice lies farther back
    for codes, sign in (("LPS", 1), ("LPI", -1)):
        found = volume.read(saved(tmp_path / "scan.nii", turned(image(sheared), codes)))
        ij, ik, jk = found.cosines
        assert (ij, ik) == (0, 0)
        assert jk == pytest.approx(-sign * np.sin(np.radians(20)), abs=1e-5)
        assert found.spacing == pytest.approx((0.5, 0.5, 5 / np.cos(np.radians(20))))


def test_the_order_of_a_file_that_does_not_say_it_may_be_given(tmp_path):
    head = nib.Nifti1Image(np.asanyarray(image().dataobj), None)
    head.header.set_zooms((0.5, 0.6, 5))
    path = saved(tmp_path / "scan.nii", nib.Nifti1Image(head.dataobj, None, head.header))
    assert "".join(nib.aff2axcodes(volume.affine_mm(path, nib.load(path)))) == "LAS"
    assert volume.without_order([saved(tmp_path / "said.nii", image()), path, tmp_path / "nothing.nii"]) == [path]
    for codes in orientation.ORDERS:
        affine = volume.affine_mm(path, nib.load(path), codes)
        assert "".join(nib.aff2axcodes(affine)) == codes
        np.testing.assert_allclose(nib.affines.voxel_sizes(affine), (0.5, 0.6, 5), rtol=1e-6)
    said = saved(tmp_path / "said.nii", image())  # a file that says it is not overruled
    np.testing.assert_allclose(volume.read(said, "RAI").affine, LPS)


def written(path, offset, form, *values):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack(form, *values))


@pytest.mark.parametrize(
    ("offset", "form", "values", "line"),
    [
        (70, "<h", [26996], "its header cannot be used, convert the scan again .data code 26996 not recognized"),
        (112, "<ff", [1, np.nan], "its header cannot be used, convert the scan again .Valid slope but invalid inter"),
        (280, "<12f", [0] * 12, "its affine has no inverse, its voxels are 0 x 0 x 0 mm; repair its sform"),
        (280, "<8f", [-0.5, 0, 0, 10] * 2, "its affine has no inverse"),
        (284, "<f", [np.nan], "its affine is not finite"),
        (284, "<f", [1e30], r"its affine holds 1e\+30 mm, as no scan does"),
        (280, "<12f", [1e-30, 0, 0, 0, 0, 1e-30, 0, 0, 0, 0, 1e-30, 0], "its affine has no inverse"),
        (42, "<3h", [20000, 20000, 20000], "its header claims 20000 x 20000 x 20000 voxels, more than a head CT has"),
        (42, "<3h", [512, 512, 400], r"cannot be read, copy it again \(its header claims 512 x 512 x 400 voxels"),
        (42, "<3h", [-3, 24, 4], "."),
        (123, "<B", [7], r"its unit of length is unknown \(xyzt_units 7\)"),
    ],
)
def test_a_header_that_cannot_be_used_is_named(tmp_path, caplog, offset, form, values, line):
    path = saved(tmp_path / "scan.nii", image())
    written(path, offset, form, *values)
    with pytest.raises(CaseError, match=f"scan.nii: .*{line}") as caught:
        volume.read(path)
    assert "\n" not in str(caught.value)
    assert not caplog.records  # nor does nibabel say it once more


def test_compressed_files_are_read_to_their_checksum(tmp_path, monkeypatch):
    path = saved(tmp_path / "scan.nii.gz", image())
    np.testing.assert_array_equal(volume.read(path).array, np.asanyarray(nib.load(path).dataobj))
    content = gzip.decompress(path.read_bytes())
    broken = bytearray(gzip.compress(content, 0))
    broken[len(broken) // 2] ^= 1  # another voxel, as nibabel reads it
    path.write_bytes(broken)
    with pytest.raises(CaseError, match=r"scan.nii.gz: cannot be read, copy it again \(CRC check failed"):
        volume.read(path)
    path.write_bytes(gzip.compress(content + bytes(1000)))
    volume.read(path)
    monkeypatch.setattr(volume, "MOST_BEHIND", 999)
    with pytest.raises(CaseError, match="holds much more than the 20 x 24 x 4 voxels of its header"):
        volume.read(path)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "scan.nii").mkdir()
    with pytest.raises(CaseError, match=r"scan\.nii: is a folder; bring the file that is in it here"):
        volume.read(tmp_path / "scan.nii")


def test_any_failure_of_the_reader_is_a_line(tmp_path, monkeypatch):
    def fail(_):
        raise IndexError("list index out of range\nand more")

    monkeypatch.setattr(volume.nib, "load", fail)
    with pytest.raises(CaseError, match=r"scan.nii: cannot be read, copy it again \(list index out of range\)$"):
        volume.read(tmp_path / "scan.nii")


@pytest.mark.parametrize(
    ("steps", "shape", "line"),
    [
        ((5, 0.5, 0.5), (9, 24, 24), "its slices were taken sagittally: in axial ones pixels would be 5 x 0.5 mm"),
        ((0.5, 3, 0.5), (24, 9, 24), "its slices were taken coronally"),
        ((500, 500, 5e3), (20, 24, 4), "an axial slice would be 10000 x 12000 mm, as no head is; .* or its unit"),
        ((1, 1, 1), (6, 64, 64), r"by its affine \(RAS\) an axial slice would be 6 x 64 mm"),
    ],
)
def test_slices_that_are_not_axial_are_refused(tmp_path, steps, shape, line):
    with pytest.raises(CaseError, match=line):
        volume.read(saved(tmp_path / "scan.nii", image(np.diag([*steps, 1]), shape)))


def test_voxels_of_equal_sides_have_axial_slices_too(tmp_path):
    found = volume.read(saved(tmp_path / "scan.nii", image(np.diag([1, 1, 1, 1]), (18, 22, 18))))
    assert found.spacing == (1, 1, 1)


def moved(by):
    affine = LPS.copy()
    affine[0, 3] += by
    return affine


def test_masks_are_compared_by_their_corners(tmp_path):
    scan = volume.read(saved(tmp_path / "scan.nii", image()))
    drawn = image(moved(0.04))
    for codes in ("LPS", "RAI", "SPL"):
        mask = volume.read(saved(tmp_path / "mask.nii", turned(drawn, codes)))
        on_grid = volume.on_grid_of(scan, tmp_path / "mask.nii", mask, resample=False)
        np.testing.assert_array_equal(on_grid, np.asanyarray(drawn.dataobj))
    far = volume.read(saved(tmp_path / "mask.nii", image(moved(0.06))))
    with pytest.raises(CaseError, match=r"mask.nii: corners of the mask lie 0.06 mm from the scan's; resample it"):
        volume.on_grid_of(scan, tmp_path / "mask.nii", far, resample=False)
    # A thousandth of a turn moves only the far corners.
    tilted = LPS.copy()
    tilted[:3, :3] = [[1, -0.01, 0], [0.01, 1, 0], [0, 0, 1]] @ LPS[:3, :3]
    with pytest.raises(CaseError, match=r"corners of the mask lie 0.149 mm"):
        volume.on_grid_of(scan, tmp_path / "mask.nii", volume.Volume(far.array, tilted, far.turn), resample=False)


def test_a_mask_on_another_grid_may_be_resampled(tmp_path):
    scan = volume.read(saved(tmp_path / "scan.nii", image()))
    whole = RNG.integers(0, 5, (20, 24, 3)).astype(np.uint8)
    # Half of the pixels' size, the first slice missing.
    fine = LPS @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 1], [0, 0, 0, 1]])
    drawn = nib.Nifti1Image(whole.repeat(2, 0).repeat(2, 1), fine)
    path = saved(tmp_path / "mask.nii", turned(drawn, "PRS"))
    with pytest.raises(CaseError, match="the mask's shape 40 x 48 x 3 is not the scan's 20 x 24 x 4"):
        volume.on_grid_of(scan, path, volume.read(path), resample=False)
    found = volume.on_grid_of(scan, path, volume.read(path), resample=True)
    np.testing.assert_array_equal(found[..., 1:], whole)
    assert not found[..., 0].any()
    elsewhere = volume.Volume(scan.array, moved(500), scan.turn)
    with pytest.raises(CaseError, match="nothing that is drawn in it lies in the scan; repair its affine"):
        volume.on_grid_of(scan, path, elsewhere, resample=True)
