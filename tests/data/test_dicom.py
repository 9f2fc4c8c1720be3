"""Series come out of a hospital's folder as they went in; what is left out is named; nothing hangs or shows a name."""

import importlib.util
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from data import dicom_folders
from data.dicom_folders import NAMES
from data.folders import save
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from hemojax.data import dicom
from hemojax.data.case import CaseError
from hemojax.data.datasets import LAYOUTS
from hemojax.data.dicom import headers
from hemojax.data.dicom.pixels import AIR
from hemojax.data.dicom.series import is_soft
from hemojax.data.labels import BHSD_SUBTYPES
from hemojax.data.reading import PLAIN

HU = dicom_folders.hu()
LARGE = dicom_folders.hu(2, 64, 48)
"""As small as JPEG 2000 can be."""


def only(folder, **options):
    """The name, the volume (slices first), the image and the notes of a folder with one stack."""
    found = dicom.find(folder, **options)
    ((name, stack),) = found.stacks.items()
    volume, image = dicom.read(stack)
    return name, dicom.slices_first(volume), image, found.notes


def test_a_hospitals_folder(tmp_path):
    dicom_folders.series(tmp_path / "Plantagenet" / "A" / "S2", HU)
    dicom_folders.series(tmp_path / "Plantagenet" / "A" / "S3", HU, name="bone", ConvolutionKernel=["H60s", "1"])
    dicom_folders.scout(tmp_path / "Plantagenet" / "A" / "S1")
    dicom_folders.dose_report(tmp_path / "Plantagenet" / "A" / "S9")
    dicom_folders.directory(tmp_path)
    (tmp_path / "README").write_text("no DICOM")
    (tmp_path / "viewer.EXE").write_bytes(b"MZ")
    (tmp_path / "Plantagenet" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nowhere").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    name, planes, image, notes = only(tmp_path)
    np.testing.assert_array_equal(planes, HU)
    np.testing.assert_allclose(
        image.affine, [[-0.5, 0, 0, 4], [0, 0.6, 0, -3.6], [0, 0, 5, 5], [0, 0, 0, 1]], atol=1e-6
    )
    assert image.header.get_xyzt_units()[0] == "mm"
    text = "\n".join(notes)
    for part in (
        "2 files left out: no DICOM (1 .exe, 1 without an ending)",
        "1 image left out: a scout",
        "no CT image",
    ):
        assert part in text
    assert f"(5 slices, sharp kernel) left out: {name} of the same study is taken" in text
    assert not any(word in text + name for word in NAMES)
    assert set(dicom.find(tmp_path, every_series=True).stacks) > {name}
    assert dicom.find(tmp_path / "DICOMDIR").stacks.keys() == {name}


def test_the_grid_and_the_voxels_are_those_of_dcm2niix(tmp_path):
    if importlib.util.find_spec("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed")
    oblique = [0.98, 0.199, 0, -0.195, 0.96, 0.2]  # nearly axial, and turned
    dicom_folders.series(
        tmp_path / "in", HU, ImageOrientationPatient=lambda n: unit(oblique), ImagePositionPatient=along
    )
    _, _, image, _ = only(tmp_path / "in")
    command = [sys.executable, "-m", "dcm2niix", "-f", "scan", "-o", str(tmp_path), str(tmp_path / "in")]
    subprocess.run(command, check=True, capture_output=True)
    theirs = nib.load(tmp_path / "scan.nii")
    np.testing.assert_array_equal(theirs.get_fdata(), image.dataobj)
    np.testing.assert_allclose(theirs.affine, image.affine, atol=1e-4)


def unit(orientation):
    along = np.reshape(orientation, (2, 3))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    along[1] -= along[0] * (along[0] @ along[1])
    along[1] /= np.linalg.norm(along[1])
    return along.ravel().tolist()


def along(n):
    normal = np.cross(*np.reshape(unit([0.98, 0.199, 0, -0.195, 0.96, 0.2]), (2, 3)))
    return (np.array([-4.0, -3, 10]) + 5 * n * normal).tolist()


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path):
    cosine, sine = np.cos(np.radians(20)), np.sin(np.radians(20))
    dicom_folders.series(tmp_path, HU, ImageOrientationPatient=[1, 0, 0, 0, cosine, sine])
    _, planes, image, _ = only(tmp_path)
    np.testing.assert_array_equal(planes, HU)
    # The centre of the pixel in row 2, column 3 of the last slice, by PS3.3 C.7.6.2.1.1 and in RAS.
    expected = -np.array([-4 + 3 * 0.5, -3 + 2 * 0.6 * cosine, 0]) + [0, 0, 25 + 2 * 0.6 * sine]
    np.testing.assert_allclose(nib.affines.apply_affine(image.affine, [3, 12 - 1 - 2, 4]), expected, atol=1e-5)
    # A voxel's volume is the determinant: 5 mm along the bed are 5 cos(20) mm between the slices.
    np.testing.assert_allclose(abs(np.linalg.det(image.affine)), 0.5 * 0.6 * 5 * cosine, rtol=1e-6)
    assert image.header["qform_code"] == 0  # a quaternion cannot say it


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_pixels(tmp_path, syntax):
    if syntax == JPEG2000Lossless:
        pytest.importorskip("openjpeg", reason="pylibjpeg-openjpeg is not installed")
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls", reason="pyjpegls is not installed")
    dicom_folders.series(tmp_path, LARGE, syntax=syntax)
    np.testing.assert_array_equal(only(tmp_path)[1], LARGE)


def test_a_missing_decoder_names_the_extra(tmp_path, monkeypatch):
    dicom_folders.series(tmp_path, HU[:2], syntax=RLELossless)
    monkeypatch.setattr("hemojax.data.dicom.pixels.DECODERS", ("gdcm",))
    with pytest.raises(
        CaseError, match=r"IM0003: is compressed \(RLE Lossless\), which pip install 'hemojax\[dicom\]'"
    ):
        only(tmp_path)


def test_slopes_signs_and_padding(tmp_path):
    values = HU.astype(np.int32)
    padded = values.copy()
    padded[:, 0] = -3024
    slopes = {"RescaleSlope": lambda n: 1 + n % 2, "RescaleIntercept": lambda n: -1024 if n % 2 else 0}
    # Written as unsigned, which real files do: 65536 - 2000 for a stored -2000.
    (path,) = dicom_folders.series(tmp_path / "a", padded[:1], stored=np.int16)
    dataset = dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dataset.save_as(path, overwrite=True)
    assert (only(tmp_path / "a")[1][:, 0] == AIR).all()
    np.testing.assert_array_equal(only(tmp_path / "a")[1][:, 1:], HU[:1, 1:])
    even = values - values % 2
    dicom_folders.series(tmp_path / "b", even, stored=np.int16, **slopes)
    np.testing.assert_array_equal(only(tmp_path / "b")[1], even)


def test_multi_frame(tmp_path):
    dicom_folders.enhanced(tmp_path / "IM1", HU)
    _, planes, image, _ = only(tmp_path)
    np.testing.assert_array_equal(planes, HU)
    np.testing.assert_allclose(image.affine[:3, 3], [4, -3.6, 5], atol=1e-6)


def test_doubles(tmp_path):
    paths = dicom_folders.series(tmp_path / "a", HU)
    (tmp_path / "a" / "copy").write_bytes(paths[1].read_bytes())
    _, planes, _, notes = only(tmp_path / "a")
    np.testing.assert_array_equal(planes, HU)
    assert any("1 double left out" in note for note in notes)
    # Sent again under new numbers: the same pixels are one slice, others are refused.
    again = dcmread(paths[2])
    again.SOPInstanceUID, again.InstanceNumber = dicom_folders.uid("again"), 9
    again.save_as(tmp_path / "a" / "again")
    np.testing.assert_array_equal(only(tmp_path / "a")[1], HU)
    again.PixelData = bytes(len(again.PixelData))
    again.save_as(tmp_path / "a" / "again")
    (tmp_path / "a" / "copy").unlink()
    with pytest.raises(CaseError, match=r"^ct-\w{12}: images 3 and 9 differ and stand at one place; keep one$"):
        only(tmp_path / "a")


def test_two_acquisitions_in_a_series_are_two_stacks(tmp_path):
    dicom_folders.series(tmp_path / "a", HU)
    other = dicom_folders.hu(seed=1)
    numbers = {"SOPInstanceUID": lambda n: dicom_folders.uid("other", n), "AcquisitionNumber": 2}
    dicom_folders.series(tmp_path / "b", other, **numbers)
    found = dicom.find(tmp_path, every_series=True)
    assert [name[-2:] for name in found.stacks] == ["-1", "-2"]
    first, second = (dicom.slices_first(dicom.read(stack)[0]) for stack in found.stacks.values())
    np.testing.assert_array_equal(first, HU)
    np.testing.assert_array_equal(second, other)


def test_a_missing_slice_is_said_and_parts_the_stack(tmp_path):
    dicom_folders.series(tmp_path, dicom_folders.hu(8))[3].unlink()
    found = dicom.find(tmp_path)
    assert any("1 slice missing between images 3 and 5" in note for note in found.notes)
    assert [len(stack.planes) for stack in found.stacks.values()] == [3, 4]


def test_spacings(tmp_path):
    def heights(*z):
        return {"ImagePositionPatient": lambda n: [-4.0, -3.0, z[n]]}

    dicom_folders.series(tmp_path / "a", dicom_folders.hu(6), **heights(0, 2.5, 5, 10, 15, 20))
    found = dicom.find(tmp_path / "a")
    assert any("the spacing changes from 2.50 to 5.00 mm between images 3 and 4" in note for note in found.notes)
    assert [nib.affines.voxel_sizes(dicom.read(stack)[1].affine)[2] for stack in found.stacks.values()] == [2.5, 5]
    # Rounded to one decimal, as some scanners write it.
    dicom_folders.series(tmp_path / "b", dicom_folders.hu(6), **heights(0, 0.6, 1.3, 1.9, 2.5, 3.1))
    assert len(only(tmp_path / "b")[1]) == 6
    dicom_folders.series(tmp_path / "c", dicom_folders.hu(9), **heights(0, 1, 4, 5, 9, 10, 17, 18, 29))
    with pytest.raises(CaseError, match=r"its slices lie from 1\.00 to 11\.00 mm apart, without an even spacing"):
        only(tmp_path / "c")


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "not axial"),
        ({"ImagePositionPatient": None}, "without a position"),
        ({"PixelSpacing": [0, 0.5]}, "a pixel spacing that no image has"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "an orientation or a pixel spacing that no image has"),
        ({"RescaleSlope": None}, "its HU are not known"),
        ({"RescaleType": "MGML"}, "not in HU"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "a secondary capture"),
        ({"Rows": 65535, "Columns": 65535}, "claims 65535 x 65535 pixels"),
        ({"Rows": 4000, "Columns": 4000}, "is cut off"),
        ({"NumberOfFrames": 2**31 - 1}, "claims 2147483647 frames, a CT image has one"),
        ({"SeriesInstanceUID": None}, "has no SeriesInstanceUID"),
    ],
)
def test_what_is_no_axial_ct_is_named(tmp_path, tags, reason):
    for n, path in enumerate(dicom_folders.series(tmp_path, HU[:2])):
        dataset = dicom_folders.changed(dcmread(path), tags | {"SOPInstanceUID": dicom_folders.uid(n)})
        dataset.save_as(path, overwrite=True)
    with pytest.raises(CaseError, match=reason) as raised:
        dicom.find(tmp_path)
    assert "\n" not in str(raised.value)


def test_more_voxels_than_a_head_has_are_not_made(tmp_path, monkeypatch):
    dicom_folders.series(tmp_path, HU)
    monkeypatch.setattr("hemojax.data.dicom.pixels.MOST_VOXELS", 900)
    with pytest.raises(CaseError, match="claims 16 x 12 x 5 voxels, more than any head CT has"):
        only(tmp_path)


def test_frames_that_are_claimed_are_described(tmp_path):
    dicom_folders.enhanced(tmp_path / "IM1", HU, NumberOfFrames=100_000)
    with pytest.raises(CaseError, match="IM1 left out: claims 100000 frames and describes 5"):
        dicom.find(tmp_path)


def test_a_compressed_image_that_claims_another_size_is_not_decoded(tmp_path):
    pytest.importorskip("openjpeg", reason="pylibjpeg-openjpeg is not installed")
    (path,) = dicom_folders.series(tmp_path, LARGE[:1], syntax=JPEG2000Lossless)
    content = path.read_bytes()
    at = content.index(b"\xff\x4f\xff\x51")
    path.write_bytes(content[: at + 8] + (60000).to_bytes(4, "big") * 2 + content[at + 16 :])
    with pytest.raises(CaseError, match="IM0003: its compressed pixels claim 60000 x 60000"):
        only(tmp_path)


def test_a_deflated_file_is_refused(tmp_path):
    dicom_folders.series(tmp_path, HU[:1])
    dataset = dcmread(tmp_path / "IM0003")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "IM0003", overwrite=True)
    with pytest.raises(CaseError, match="IM0003 left out: is deflated as a whole"):
        only(tmp_path)


def test_damaged_files_end_in_a_line(tmp_path):
    """Cut off anywhere, and with bytes changed anywhere: a volume, or one line without a name in it."""
    rng = np.random.default_rng(0)
    (whole,) = dicom_folders.series(tmp_path, HU[:1])
    content = whole.read_bytes()
    for n in range(150):
        damaged = bytearray(content[: rng.integers(len(content))] if n % 2 else content)
        for at in rng.integers(len(damaged), size=n % 5) if damaged else ():
            damaged[at] = rng.integers(256)
        whole.write_bytes(damaged)
        said = ""
        try:
            only(tmp_path)
        except CaseError as error:
            said = str(error)
        assert not any(word in said for word in (*NAMES, "\n"))


def test_nothing_but_the_named_tags_is_read():
    assert not {tag for tag in headers.TAGS if tag.startswith(("Patient", "Referring", "Institution", "Accession"))}


@pytest.mark.parametrize(
    ("kernel", "soft"),
    [
        *(("H30s", True), ("H60s", False), ("J40s\\3", True), ("Hr68", False), ("B70f", False), ("STANDARD", True)),
        *(("BONEPLUS", False), ("FC21", True), ("FC30", False), ("UB", True), ("YD", False), ("", True)),
    ],
)
def test_kernels(kernel, soft):
    assert is_soft(kernel) == soft


def test_the_choice_in_a_study(tmp_path):
    dicom_folders.series(tmp_path / "1", HU, name="contrast", ContrastBolusAgent="yes")
    dicom_folders.series(tmp_path / "2", dicom_folders.hu(8), name="neck", BodyPartExamined="CSPINE")
    dicom_folders.series(tmp_path / "3", HU[:3], name="thick")
    dicom_folders.series(tmp_path / "4", HU[:4], name="thin")
    dicom_folders.series(tmp_path / "5", HU[:2], name="other", study="another study")
    found = dicom.find(tmp_path)
    assert sorted(len(stack.planes) for stack in found.stacks.values()) == [2, 4]
    assert len(dicom.find(tmp_path, every_series=True).stacks) == 5


def test_jpeg_lossless_has_a_decoder():
    pytest.importorskip("libjpeg", reason="pylibjpeg-libjpeg is not installed")
    from pydicom.pixels import get_decoder

    assert get_decoder(JPEGLosslessSV1).is_available


def test_the_layout(tmp_path):
    masks, uids = {}, {}
    for n, name in enumerate(("p0", "p1")):
        hu = dicom_folders.hu(seed=n)
        paths = dicom_folders.series(tmp_path / "images" / name / "S1", hu, name=name, study=name)
        dicom_folders.scout(tmp_path / "images" / name / "S0", name=f"scout of {name}")
        uids |= {dcmread(path).SOPInstanceUID: (name, k) for k, path in enumerate(paths)}
        _, image = dicom.read(*dicom.find(tmp_path / "images" / name).stacks.values())
        masks[name] = np.zeros(image.shape, np.uint8)
        masks[name][4:6, 3:5, 2] = 2
        save(tmp_path / "masks" / f"{name}.nii.gz", masks[name], image.affine)
    cases = list(LAYOUTS["dicom"](tmp_path, BHSD_SUBTYPES))
    assert [case.name for case in cases] == ["p0", "p1"]
    for n, case in enumerate(cases):
        np.testing.assert_array_equal(case.hu.transpose(2, 1, 0), dicom_folders.hu(seed=n))
        np.testing.assert_array_equal(case.mask, masks[case.name][:, ::-1])
        assert (case.axes, case.spacing) == ("LPS", pytest.approx((0.5, 0.6, 5)))
        assert case.labels[:, 0].tolist() == [0, 0, 1, 0, 0]
    # A table by UID wins over the masks, if it is said so.
    rows = [{"SOPInstanceUID": uid, "hemorrhage_binary": int(place == ("p1", 4))} for uid, place in uids.items()]
    pd.DataFrame(rows).to_csv(tmp_path / "slices.csv", index=False)
    labels = [
        case.labels[:, 0].tolist()
        for case in LAYOUTS["dicom"](tmp_path, BHSD_SUBTYPES, PLAIN._replace(contradictions="table"))
    ]
    assert labels == [[0] * 5, [0, 0, 0, 0, 1]]
    pd.DataFrame([*rows, {"SOPInstanceUID": "1.2.3", "hemorrhage_binary": 0}]).to_csv(
        tmp_path / "slices.csv", index=False
    )
    with pytest.raises(CaseError, match=r"slices\.csv: 1 SOPInstanceUIDs are of no slice that is read: 1\.2\.3"):
        list(LAYOUTS["dicom"](tmp_path, BHSD_SUBTYPES))


def test_a_case_is_one_volume(tmp_path):
    paths = dicom_folders.series(tmp_path / "images" / "p0", HU)
    (tmp_path / "slices.csv").write_text("patient,slice,hemorrhage_binary\np0,0,1\n")
    paths[2].unlink()
    with pytest.raises(
        CaseError, match=r"p0: holds 2 volumes, one series without gaps was expected \(ct-.*: 1 slice missing"
    ):
        list(LAYOUTS["dicom"](tmp_path, BHSD_SUBTYPES))
    with pytest.raises(CaseError, match=r"images: has no folder .images., .* it holds p0"):
        list(LAYOUTS["dicom"](tmp_path / "images", BHSD_SUBTYPES))
