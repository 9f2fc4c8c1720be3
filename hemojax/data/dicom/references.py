"""What an object that is made of a series has to know of the series' files, to open on them."""

from pydicom import Dataset
from pydicom.sequence import Sequence

from hemojax.data.case import CaseError
from hemojax.data.dicom import headers
from hemojax.data.dicom.headers import Plane
from hemojax.data.dicom.series import Stack

IDENTITY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
"""What the standard asks of every object of a study, filled or blank (PS3.3, C.7.1.1 and C.7.2.1)."""
SEXES = ("M", "F", "O")


def sources(stack: Stack, *, identity: bool) -> list[Dataset]:
    """The headers of a stack's files: one a plane, in order, or one of a multi-frame file.

    Args:
        stack: the stack.
        identity: whether patient and study are named as they are in the files; else these elements are blank. UIDs are
            always the files' own, without which no object opens on its series.

    Raises:
        CaseError: a file cannot be read any more; or the series has no frame of reference.
    """
    tags = (*headers.TAGS, "FrameOfReferenceUID", *(("SpecificCharacterSet", *IDENTITY) if identity else ()))
    planes = stack.planes[:1] if stack.planes[0].multi_frame else stack.planes
    found = []
    for plane in planes:
        try:
            with headers.quiet():
                header = headers.read(plane.path, tags)
        except (OSError, headers.Unreadable):
            raise CaseError(plane.path.relative_to(plane.path.parent), "cannot be read any more") from None
        if "FrameOfReferenceUID" not in header:
            raise CaseError(plane.path.relative_to(plane.path.parent), "has no FrameOfReferenceUID to refer to")
        for keyword in IDENTITY:
            if keyword not in header:
                setattr(header, keyword, "")
        if header.PatientSex not in SEXES:
            header.PatientSex = ""
        _complete(header, stack.planes[0])
        found.append(header)
    return found


def has_class(stack: Stack) -> bool:
    """Whether a stack's first file names its class, without which nothing can refer to it; RSNA 2019's do not."""
    try:
        with headers.quiet():
            return bool(headers.read(stack.planes[0].path, ["SOPClassUID"]).get("SOPClassUID"))
    except (OSError, headers.Unreadable):
        return True  # `sources` says what is wrong


def _complete(header: Dataset, first: Plane) -> None:
    """Orientation and thickness stand where they are looked for, and are the same for all planes of a stack."""
    measures = {"PixelSpacing": list(first.spacing), "SliceThickness": first.distance}
    if not first.multi_frame:
        header.ImageOrientationPatient = list(first.orientation)
        header.SliceThickness = header.get("SliceThickness") or first.distance
        return
    shared = header.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in header else Dataset()
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    if "PlaneOrientationSequence" not in shared:
        shared.PlaneOrientationSequence = _item({"ImageOrientationPatient": list(first.orientation)})
    if "PixelMeasuresSequence" not in shared:
        shared.PixelMeasuresSequence = _item(measures)


def _item(elements: dict[str, object]) -> Sequence:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])
