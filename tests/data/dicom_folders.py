"""Small DICOM folders as hospitals export them: nested, without endings, a name in every tag that can hold one."""

from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.datadict import DicomDictionary
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    XRayRadiationDoseSRStorage,
    generate_uid,
)

NAMES = ("Plantagenet", "19510203")
"""Of the patient; they stand in the tags that every scanner fills, and on request in every tag of text and of dates."""
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SPACING = (0.6, 0.5)
STRUCTURE = {"Modality", "ImageType", "SpecificCharacterSet", "PhotometricInterpretation", "RescaleType", "FrameType"}


def hu(slices: int = 5, rows: int = 12, columns: int = 16, seed: int = 0) -> np.ndarray:
    """A block of tissue in air, (slices, rows, columns), and nothing that a flip leaves as it was."""
    values = np.full((slices, rows, columns), -1000, np.int16)
    inside = np.random.default_rng(seed).integers(0, 90, values.shape)
    values[:, 2:-3, 3:-2] = inside[:, 2:-3, 3:-2]
    return values


def uid(*words: object) -> str:
    return generate_uid(entropy_srcs=[str(word) for word in words])


def named(everywhere: bool = False) -> Dataset:
    """A patient's name and birth date in the elements that scanners fill, or in all that may hold one."""
    dataset = Dataset()
    usual = (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "AccessionNumber",
        "StudyDate",
        "StudyID",
        "StudyDescription",
    )
    usual = {*usual, "InstitutionName", "ReferringPhysicianName", "SeriesDescription", "StationName", "ProtocolName"}
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if keyword in usual or (everywhere and keyword and keyword not in STRUCTURE and 0x0008 <= tag >> 16 <= 0x0040):
            if vr in {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE"}:
                dataset.add_new(tag, vr, NAMES[0])
            elif vr == "DA":
                dataset.add_new(tag, vr, NAMES[1])
    return dataset


def image(
    pixels: np.ndarray, *, series: str, number: int, study: str = "study", everywhere: bool = False, **tags: object
) -> Dataset:
    """A CT image; `pixels` are stored values, `tags` replace elements by keyword, None removes one."""
    dataset = named(everywhere)
    rows, columns = pixels.shape
    dataset.update(
        {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": uid(series, number),
            "SeriesInstanceUID": uid(series),
            "StudyInstanceUID": uid(study),
            "FrameOfReferenceUID": uid(study, "frame"),
        }
    )
    values = {
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "PatientSex": "O",
        "ConvolutionKernel": "H30s",
        "ContrastBolusAgent": None,
        "BodyPartExamined": "HEAD",
        "InstanceNumber": number,
        "SeriesNumber": 2,
        "AcquisitionNumber": 1,
        "ImageOrientationPatient": list(AXIAL),
        "ImagePositionPatient": [-4.0, -3.0, 5.0 * number],
        "PixelSpacing": list(SPACING),
        "SliceThickness": 5.0,
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "RescaleType": "HU",
        "PixelData": pixels.tobytes(),
    }
    return changed(dataset, values | tags)


def changed(dataset: Dataset, tags: dict[str, object]) -> Dataset:
    for keyword, value in tags.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def save(path: Path, dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, values: np.ndarray, *, name: str = "series", syntax: str = ExplicitVRLittleEndian, **tags):
    """Axial images of `values` (HU), from below to above; a callable among `tags` is given the slice's number.

    Files are named so that their order is not that of the slices.
    """
    paths = []
    for n, plane in enumerate(values):
        own = {keyword: value(n) if callable(value) else value for keyword, value in tags.items()}
        stored = (plane.astype(np.int32) - own.get("RescaleIntercept", -1024)) / own.get("RescaleSlope", 1)
        dataset = image(stored.astype(own.pop("stored", np.uint16)), series=name, number=n + 1, **own)
        paths.append(save(folder / f"IM{(7 * n + 3) % 100:04d}", dataset, syntax))
    return paths


def scout(folder: Path, name: str = "scout") -> Path:
    pixels = np.full((8, 8), 1000, np.uint16)
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
    return save(folder / "IM0001", image(pixels, series=name, number=1, **tags))


def dose_report(folder: Path) -> Path:
    dataset = image(np.zeros((1, 1), np.uint16), series="dose", number=1, Modality="SR", PixelData=None)
    dataset.SOPClassUID = XRayRadiationDoseSRStorage
    return save(folder / "IM0001", dataset)


def directory(folder: Path) -> Path:
    """A DICOMDIR, which begins as every DICOM file does; its class stands in the file's meta information alone."""
    dataset = changed(named(), {"SOPClassUID": MediaStorageDirectoryStorage, "SOPInstanceUID": uid("directory")})
    path = save(folder / "DICOMDIR", dataset)
    del dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.save_as(path, overwrite=True)
    return path


def enhanced(path: Path, values: np.ndarray, name: str = "enhanced", order: tuple[int, ...] = (), **tags) -> Path:
    """A multi-frame CT of `values`, its frames in another order than the slices'."""
    order = order or tuple(reversed(range(len(values))))
    dataset = image((values[0] + 1024).astype(np.uint16), series=name, number=1)
    moved = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "ConvolutionKernel")
    for keyword in (*moved, "RescaleSlope", "RescaleIntercept", "RescaleType"):
        delattr(dataset, keyword)
    dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedCTImageStorage, len(values)
    shared, frames = Dataset(), []
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(AXIAL))
    shared.PixelMeasuresSequence = item(PixelSpacing=list(SPACING), SliceThickness=5.0)
    shared.CTReconstructionSequence = item(ConvolutionKernel="H30s")
    for n in order:
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[-4.0, -3.0, 5.0 * (n + 1)])
        frame.PixelValueTransformationSequence = item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
        frame.CTImageFrameTypeSequence = item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.PixelData = (values[list(order)] + 1024).astype(np.uint16).tobytes()
    return save(path, changed(dataset, tags))


def item(**tags: object) -> Sequence:
    return Sequence([changed(Dataset(), tags)])
