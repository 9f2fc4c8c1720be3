"""DICOM files of a folder, and what their headers say of each image plane."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    AllTransferSyntaxes,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)

MULTI_FRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
LARGEST_SIDE = 4096
"""Pixels; a header that claims more is no head CT's, and is not believed."""
FARTHEST = 1e5
"""mm or HU: numbers beyond are damage."""
SQUARE = 1e-2
"""How far direction cosines may be from right angles and from length 1."""
TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType"),
    *("InstanceNumber", "AcquisitionNumber", "ConvolutionKernel", "ContrastBolusAgent", "BodyPartExamined"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""All that is read of a header but the pixels."""


class Unreadable(Exception):
    """A file whose header cannot be used; the message says why, without any of its values."""


class Plane(NamedTuple):
    """One image plane: a file, or a frame of a multi-frame file.

    Attributes:
        path: of the file.
        frame: 0-based; 0 in a file of one plane.
        instance: SOPInstanceUID.
        series: SeriesInstanceUID.
        study: StudyInstanceUID, or the series' where it is not given.
        number: InstanceNumber, or the frame's number from 1.
        acquisition: AcquisitionNumber, -1 where it is not given.
        multi_frame: whether the file has frames.
        left_out: why this is no plane of a head CT volume, or "".
        shape: rows and columns.
        position: of the centre of the first pixel; mm towards left, posterior, superior.
        orientation: directions in which the column's and then the row's index grows.
        spacing: of rows and of columns, mm.
        distance: SpacingBetweenSlices, or SliceThickness, mm; NaN where neither is given.
        kernel: of the reconstruction.
        contrast: whether a contrast agent is named.
        body_part: as it is written.
        slope: HU = slope * stored + intercept.
        intercept: HU.
    """

    path: Path
    frame: int
    instance: str
    series: str
    study: str
    number: int
    acquisition: int
    multi_frame: bool
    left_out: str
    shape: tuple[int, int] = (0, 0)
    position: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    distance: float = float("nan")
    kernel: str = ""
    contrast: bool = False
    body_part: str = ""
    slope: float = 1.0
    intercept: float = 0.0


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log line of the DICOM packages, which show values; values beyond the standard are taken."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom", "openjpeg", "libjpeg")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def files(folder: Path) -> Iterator[Path]:
    """The files in a folder and its folders, in order; links are followed, each folder is visited once.

    Links to nowhere and folders that may not be read are given too: opening them fails, so that they are named.
    """
    seen, waiting = set(), [folder]
    while waiting:
        here = waiting.pop()
        try:
            real = os.path.realpath(here, strict=True)
            if real in seen:
                continue
            entries = sorted(here.iterdir())
        except OSError:
            yield here
            continue
        seen.add(real)
        folders = []
        for path in entries:
            if path.is_dir():
                folders.append(path)
            elif path.is_file() or not path.exists():  # neither a pipe nor a device, which may never end
                yield path
        waiting.extend(reversed(folders))


def is_dicom(path: Path) -> bool:
    """Whether a file, or any file of a folder, begins as DICOM files do."""
    for file in files(path) if path.is_dir() else [path]:
        with contextlib.suppress(OSError):
            if _begins_as_dicom(file):
                return True
    return False


def _begins_as_dicom(path: Path) -> bool:
    """By the word behind the preamble; or, in old files without it, by a first element of group 8."""
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or (
        start[:2] == b"\x08\x00" and start[2:4] in (b"\x00\x00", b"\x05\x00", b"\x08\x00")
    )


def planes(path: Path) -> list[Plane]:
    """The planes of a file; none, where it is no DICOM file or the directory of a medium.

    Raises:
        Unreadable: it cannot be opened; or it is DICOM, and its header cannot be used.
    """
    try:
        if not _begins_as_dicom(path):
            return []
    except OSError:
        raise Unreadable("cannot be opened; check that it is there, and its rights") from None
    try:
        with quiet(), path.open("rb") as file:
            header = _read(file, TAGS)
            if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
                return []
            return _planes(path, header, path.stat().st_size - file.tell())
    except Unreadable:
        raise
    except (Exception, MemoryError):  # of a damaged header pydicom raises errors of many kinds
        raise Unreadable("its header is damaged; copy it again") from None


def read(path: Path, tags: Sequence[str]) -> Dataset:
    """These elements of a file, and its file meta information.

    Raises:
        Unreadable: its transfer syntax is not known, or deflates it as a whole, so that its size is not known before it
            is read.
    """
    with path.open("rb") as file:
        return _read(file, tags)


def _read(file: BinaryIO, tags: Sequence[str]) -> Dataset:
    """As `read`; leaves the file at the pixels, if these are not among the tags."""
    file.seek(128)
    if file.read(4) == b"DICM":
        syntax = read_file_meta_info(file.name).get("TransferSyntaxUID", ImplicitVRLittleEndian)
        if syntax == DeflatedExplicitVRLittleEndian:
            raise Unreadable("is deflated as a whole; store it in another transfer syntax")
        if syntax not in AllTransferSyntaxes:
            raise Unreadable("has a transfer syntax that is not in the standard; store it in another one")
    file.seek(0)
    dataset = dcmread(file, specific_tags=list(tags), force=True, stop_before_pixels="PixelData" not in tags)
    if "TransferSyntaxUID" not in dataset.file_meta:  # an old file
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _planes(path: Path, header: Dataset, left: int) -> list[Plane]:
    """The planes of a file with so many bytes left behind its header."""
    kind = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", ""))
    if not kind and header.get("Modality") == "CT":  # as in files of RSNA 2019, whose makers removed most elements
        kind = CTImageStorage
    number, acquisition = (int(_first(header.get(f"{name}Number"), -1)) for name in ("Instance", "Acquisition"))
    plane = Plane(
        path,
        frame=0,
        instance=str(header.get("SOPInstanceUID", "")),
        series=str(header.get("SeriesInstanceUID", "")),
        study=str(header.get("StudyInstanceUID") or header.get("SeriesInstanceUID", "")),
        number=number,
        acquisition=acquisition,
        multi_frame=kind in MULTI_FRAME,
        left_out=_other_object(header, kind),
    )
    if not (plane.instance and plane.series):
        raise Unreadable("has no SeriesInstanceUID or SOPInstanceUID")
    if plane.left_out:
        return [plane]
    if "BitsAllocated" not in header or "Rows" not in header:
        raise Unreadable("has no pixels")
    rows, columns, frames = (int(header.get(name, 1) or 1) for name in ("Rows", "Columns", "NumberOfFrames"))
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE):
        raise Unreadable(f"claims {rows} x {columns} pixels; up to {LARGEST_SIDE} a side are read")
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    own = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    if plane.multi_frame and frames != len(own):
        raise Unreadable(f"claims {frames} frames and describes {len(own)}")
    if not plane.multi_frame and frames != 1:
        raise Unreadable(f"claims {frames} frames, a CT image has one")
    claimed = rows * columns * frames * int(header.BitsAllocated) // 8
    if claimed > left and not header.file_meta.TransferSyntaxUID.is_compressed:
        raise Unreadable("is cut off: it is smaller than its pixels; copy it again")
    plane = plane._replace(shape=(rows, columns))
    if not plane.multi_frame:
        return [_plane(plane, [header])]
    frames_of = (plane._replace(frame=n, number=n + 1) for n in range(frames))
    return [_plane(frame, [groups, *shared, header]) for frame, groups in zip(frames_of, own, strict=True)]


def _other_object(header: Dataset, kind: str) -> str:
    if header.get("Modality", "CT") != "CT" or kind not in (CTImageStorage, *MULTI_FRAME, SecondaryCaptureImageStorage):
        return "no CT image (a dose report, a segmentation, ...)"
    if kind == SecondaryCaptureImageStorage or int(header.get("SamplesPerPixel", 1) or 1) != 1:
        return "a secondary capture"
    return ""


def _plane(plane: Plane, groups: Sequence[Dataset]) -> Plane:
    """With what the first of these that says it says of the plane: a frame's groups, the shared ones, the header."""

    def value(keyword: str, sequence: str = "") -> Any:
        for group in groups:
            inner = list(group.get(sequence) or []) if sequence in group else [group]
            for holder in inner[:1]:
                if holder.get(keyword) not in (None, ""):
                    return holder[keyword].value
        return None

    frame_type = value("FrameType", "CTImageFrameTypeSequence")
    kinds = {str(word).upper() for word in _several(frame_type or value("ImageType"))}
    plane = plane._replace(
        kernel=" ".join(str(word) for word in _several(value("ConvolutionKernel", "CTReconstructionSequence"))),
        contrast=value("ContrastBolusAgent") is not None,
        body_part=str(value("BodyPartExamined") or ""),
    )
    if "LOCALIZER" in kinds:
        return plane._replace(left_out="a scout")
    if kinds & {"MIP", "MINIP", "PROJECTION", "PROJECTION IMAGE", "VOLUME_RENDERED"}:
        return plane._replace(left_out="a projection")
    position = _numbers(value("ImagePositionPatient", "PlanePositionSequence"), 3)
    orientation = _numbers(value("ImageOrientationPatient", "PlaneOrientationSequence"), 6)
    spacing = _numbers(value("PixelSpacing", "PixelMeasuresSequence"), 2)
    if not (position and orientation and spacing):
        return plane._replace(left_out="without a position, an orientation or a pixel spacing")
    if not _is_geometry(position, orientation, spacing):
        return plane._replace(left_out="with a position, an orientation or a pixel spacing that no image has")
    slope, intercept = (
        _numbers(value(f"Rescale{name}", "PixelValueTransformationSequence"), 1) for name in ("Slope", "Intercept")
    )
    if not (slope and intercept) or slope[0] == 0 or abs(slope[0]) > FARTHEST or abs(intercept[0]) > FARTHEST:
        return plane._replace(left_out="without a rescale slope and intercept, so that its HU are not known")
    unit = str(value("RescaleType", "PixelValueTransformationSequence") or "HU").upper()
    if unit not in ("HU", "US"):
        return plane._replace(left_out="not in HU")
    distance = _numbers(value("SpacingBetweenSlices", "PixelMeasuresSequence"), 1) or _numbers(
        value("SliceThickness", "PixelMeasuresSequence"), 1
    )
    return plane._replace(
        position=position,
        orientation=orientation,
        spacing=spacing,
        distance=abs(distance[0]) if distance and abs(distance[0]) < FARTHEST else float("nan"),
        slope=slope[0],
        intercept=intercept[0],
    )


def _is_geometry(position: tuple[float, ...], orientation: tuple[float, ...], spacing: tuple[float, ...]) -> bool:
    """Whether the two directions are of length 1 and at right angles, and no length is absurd."""
    along = np.reshape(orientation, (2, 3))
    square = bool(np.abs(along @ along.T - np.eye(2)).max() < SQUARE) if max(map(abs, orientation)) < 2 else False
    return square and min(spacing) > 0 and max(*spacing, *map(abs, position)) < FARTHEST


def _several(value: Any) -> list[Any]:
    """Of an element that may hold one value, several or none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


def _first(value: Any, otherwise: Any) -> Any:
    return next(iter(_several(value)), otherwise)


def _numbers(value: Any, many: int) -> tuple[float, ...]:
    """So many finite numbers, or none."""
    numbers = tuple(float(number) for number in _several(value))
    finite = all(abs(number) < float("inf") for number in numbers)  # NaN is not
    return numbers if len(numbers) == many and finite else ()
