"""The objects that are written refer to their series, lie on it and say what they are, as highdicom reads them."""

import numpy as np
import pytest
from data import dicom_folders
from pydicom import dcmread

from hemojax.data import dicom
from hemojax.errors import UserError
from hemojax.reporting import dicom_files

hd = pytest.importorskip("highdicom", reason="highdicom is not installed (the extra dicom)")

RNG = np.random.default_rng(0)
HU = dicom_folders.hu()
MASK = RNG.random(HU.shape) > 0.7
MASK[[0, 3]] = False
HEAT = RNG.random(HU.shape, dtype=np.float32)
POSITIVE = MASK.any(axis=(1, 2))


def written(folder, stack, *, mask=MASK, identity=False, positive=POSITIVE):
    planes = stack.planes
    origin = dicom_files.Origin(
        scan=stack.name,
        sources=dicom.sources(stack, identity=identity),
        frames=[plane.frame for plane in planes] if planes[0].multi_frame else [],
        numbers=[plane.number for plane in planes],
        run="smoke-1a2b3c4d5e6f",
        method="gradcam at stage2 > 0.35",
        identified=identity,
    )
    dicom_files.write(folder, origin, mask=mask, heat=HEAT, positive=positive)
    return hd.seg.segread(folder / f"{stack.name}_mask.dcm"), dcmread(folder / f"{stack.name}_heat.dcm")


def only(folder):
    (stack,) = dicom.find(folder).stacks.values()
    return stack


def test_mask_and_heat_of_a_series(tmp_path):
    cosine, sine = np.cos(np.radians(15)), np.sin(np.radians(15))
    paths = dicom_folders.series(tmp_path / "in", HU, ImageOrientationPatient=[1, 0, 0, 0, cosine, sine])
    segmentation, heat = written(tmp_path, only(tmp_path / "in"))
    images = [dcmread(path) for path in paths]
    uids = [image.SOPInstanceUID for image in images]
    back = segmentation.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=False, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(back[..., 0], MASK)
    assert {
        item.ReferencedSOPInstanceUID for item in segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    } <= {*uids}
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == images[0].SeriesInstanceUID
    for made in (segmentation, heat):
        assert made.StudyInstanceUID == images[0].StudyInstanceUID
        assert made.FrameOfReferenceUID == images[0].FrameOfReferenceUID
        measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert list(measures.PixelSpacing) == list(dicom_folders.SPACING)
        orientation = made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
        np.testing.assert_allclose(orientation, [1, 0, 0, 0, cosine, sine], atol=1e-6)
        for frame in made.PerFrameFunctionalGroupsSequence:
            source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            position = images[uids.index(source)].ImagePositionPatient
            np.testing.assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, position)
    order = [
        uids.index(frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        for frame in heat.PerFrameFunctionalGroupsSequence
    ]
    np.testing.assert_array_equal(np.frombuffer(heat.FloatPixelData, np.float32).reshape(HU.shape), HEAT[order])


def test_the_description_says_which_images_and_which_run(tmp_path):
    dicom_folders.series(tmp_path / "in", HU)
    segmentation, heat = written(tmp_path, only(tmp_path / "in"))
    described = segmentation.SegmentSequence[0].SegmentDescription
    assert described == "3 of 5 images positive (2-3, 5); run smoke-1a2b3c4d5e6f; gradcam at stage2 > 0.35"
    assert heat.ContentDescription == "3 of 5 images positive (2-3, 5); run smoke-1a2b3c4d5e6f"
    again, _ = written(tmp_path, only(tmp_path / "in"))
    assert again.SOPInstanceUID == segmentation.SOPInstanceUID


def test_a_scan_without_a_finding(tmp_path):
    dicom_folders.series(tmp_path / "in", HU)
    none = np.zeros_like(MASK)
    segmentation, _ = written(tmp_path, only(tmp_path / "in"), mask=none, positive=none.any(axis=(1, 2)))
    assert not segmentation.pixel_array.any()
    assert segmentation.SegmentSequence[0].SegmentDescription.startswith("0 of 5 images positive (none); run smoke")


@pytest.mark.parametrize("own_orientation", [False, True])
def test_a_multi_frame_series(tmp_path, own_orientation):
    path = dicom_folders.enhanced(tmp_path / "in" / "IM1", HU, order=(2, 0, 1, 4, 3))
    if own_orientation:  # of each frame, not shared
        dataset = dcmread(path)
        moved = dataset.SharedFunctionalGroupsSequence[0].pop("PlaneOrientationSequence")
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            frame.add(moved)
        dataset.save_as(path, overwrite=True)
    segmentation, _ = written(tmp_path, only(path.parent))
    back = segmentation.get_pixels_by_source_frame(
        dcmread(path).SOPInstanceUID, [2, 3, 1, 5, 4], assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(back[..., 0], MASK)


def test_the_patient_is_named_on_request_only(tmp_path):
    dicom_folders.series(tmp_path / "in", HU)
    for made in written(tmp_path, only(tmp_path / "in")):
        assert made.PatientName == made.PatientID == made.PatientBirthDate == made.AccessionNumber == ""
        assert made.PatientIdentityRemoved == "YES"
    for made in written(tmp_path, only(tmp_path / "in"), identity=True):
        assert (made.PatientName, made.PatientBirthDate) == dicom_folders.NAMES
        assert "PatientIdentityRemoved" not in made


def test_a_series_without_a_frame_of_reference_is_refused(tmp_path):
    dicom_folders.series(tmp_path / "in", HU, FrameOfReferenceUID=None)
    with pytest.raises(UserError, match=r"^IM0003: has no FrameOfReferenceUID to refer to$"):
        written(tmp_path, only(tmp_path / "in"))


def test_what_highdicom_refuses_ends_in_a_line_without_a_name(tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("no such value: Plantagenet")

    dicom_folders.series(tmp_path / "in", HU)
    monkeypatch.setattr(dicom_files, "_segmentation", refuse)
    with pytest.raises(UserError, match=r"^ct-\w{12}: no DICOM objects: its headers lack what these need"):
        written(tmp_path, only(tmp_path / "in"))


@pytest.mark.parametrize(("numbers", "text"), [([], "none"), ([4], "4"), ([9, 3, 4, 5], "3-5, 9")])
def test_ranges(numbers, text):
    assert dicom_files.ranges(numbers) == text
