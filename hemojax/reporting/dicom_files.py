"""What `explain` gives back for a DICOM series: a segmentation of the mask and a parametric map of the heat.

Both refer to the series, image by image, and open on it. highdicom writes them; it comes with the extra `dicom`.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

import hemojax
from hemojax.data.case import CaseError
from hemojax.data.dicom import headers
from hemojax.files import replacing

SHORT = 64
"""Characters of DICOM's LO, and 1024 of ST (PS3.5, 6.2)."""
LONG = 1024
SERIES_NUMBERS = {"SEG": 9001, "HEAT": 9002}


class Origin(NamedTuple):
    """Of what, and by what, the objects are made.

    Attributes:
        scan: the scan's name.
        sources: headers of the images, one a plane in order; or that of the one multi-frame image.
        frames: the frame of each plane, 0-based; empty where each plane is an image.
        numbers: of each plane as viewers show it: its image's InstanceNumber, or its frame's number from 1.
        run: name of the run and a digest of its config.
        method: method, stage and threshold in words.
        identified: whether the sources name the patient.
    """

    scan: str
    sources: Sequence[Dataset]
    frames: Sequence[int]
    numbers: Sequence[int]
    run: str
    method: str
    identified: bool


def available() -> bool:
    """Whether highdicom is installed."""
    return importlib.util.find_spec("highdicom") is not None


def write(
    folder: Path,
    origin: Origin,
    *,
    mask: Bool[np.ndarray, "n rows columns"],
    heat: Float32[np.ndarray, "n rows columns"],
    positive: Bool[np.ndarray, " n"],
) -> None:
    """Writes `<scan>_mask.dcm`, a segmentation, and `<scan>_heat.dcm`, a parametric map in [0, 1].

    Args:
        folder: where to.
        origin: of what they are made.
        mask: in the order of the planes.
        heat: in the same order.
        positive: planes that the classifier called positive; the descriptions name them.

    Raises:
        CaseError: the headers lack what the objects need.
    """
    try:
        with headers.quiet():
            made = {"mask": _segmentation(origin, mask, positive), "heat": _parametric_map(origin, heat, positive)}
    except (AttributeError, KeyError, TypeError, ValueError):  # highdicom's, which may quote a header
        raise CaseError(
            Path(origin.scan), "no DICOM objects: its headers lack what these need; NIfTI was written"
        ) from None
    for kind, dataset in made.items():
        if not origin.identified:
            dataset.PatientIdentityRemoved = "YES"
            dataset.DeidentificationMethod = "patient and study left blank, UIDs kept"
        with replacing(folder / f"{origin.scan}_{kind}.dcm") as temporary, headers.quiet():
            dataset.save_as(temporary, enforce_file_format=True)


def _segmentation(
    origin: Origin, mask: Bool[np.ndarray, "n rows columns"], positive: Bool[np.ndarray, " n"]
) -> Dataset:
    import highdicom as hd

    algorithm = hd.AlgorithmIdentificationSequence(
        name="hemojax",
        version=hemojax.__version__,
        family=codes.cid7162.ArtificialIntelligence,
        parameters={"run": origin.run, "map": origin.method},
    )
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="haemorrhage",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Hemorrhage,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    dataset = hd.seg.Segmentation(
        source_images=origin.sources,
        pixel_array=_all_frames(origin, mask.astype(np.uint8)),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        **_common(origin, "SEG", positive),
    )
    dataset.SegmentSequence[0].SegmentDescription = _described(origin, positive, LONG)
    return dataset


def _parametric_map(
    origin: Origin, heat: Float32[np.ndarray, "n rows columns"], positive: Bool[np.ndarray, " n"]
) -> Dataset:
    import highdicom as hd

    unit = hd.pm.RealWorldValueMapping(
        lut_label="heat",
        lut_explanation="class activation map, 0 to 1",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
    )
    return hd.pm.ParametricMap(
        source_images=origin.sources,
        pixel_array=_all_frames(origin, heat),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[unit],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="HEAT",
        **_common(origin, "HEAT", positive),
    )


def _common(origin: Origin, kind: str, positive: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """What both objects share. UIDs are made of what went in: the same run gives the same object again."""
    series = [str(source.SOPInstanceUID) for source in origin.sources]
    entropy = [kind, *series, origin.scan, origin.run, origin.method]
    return {
        "series_instance_uid": generate_uid(entropy_srcs=[*entropy, "series"]),
        "series_number": SERIES_NUMBERS[kind],
        "series_description": f"hemojax {kind.lower()}, not for diagnosis",
        "sop_instance_uid": generate_uid(entropy_srcs=entropy),
        "instance_number": 1,
        "manufacturer": "hemojax",
        "manufacturer_model_name": "hemojax",
        "software_versions": hemojax.__version__,
        "device_serial_number": origin.run[-SHORT:],
        "content_description": _described(origin, positive, SHORT),
    }


def _described(origin: Origin, positive: Bool[np.ndarray, " n"], longest: int) -> str:
    """Which slices were called positive, and by which run, in so many characters."""
    many = f"{int(positive.sum())} of {len(positive)} images positive"
    called = f"{many} ({ranges([n for n, yes in zip(origin.numbers, positive, strict=True) if yes])})"
    whole = f"{called}; run {origin.run}; {origin.method}"
    short = (whole, f"{called}; run {origin.run}", f"{many}; run {origin.run}")
    return next((text for text in short if len(text) <= longest), short[-1][:longest])


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers in order, neighbours put together: 3-5, 9."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "none"


def _all_frames(
    origin: Origin, planes: Shaped[np.ndarray, "n rows columns"]
) -> Shaped[np.ndarray, "frames rows columns"]:
    """Planes in the order of their source: of a multi-frame file a plane for each frame, 0 where there was none."""
    if not len(origin.frames):
        return planes
    every = np.zeros((int(origin.sources[0].NumberOfFrames), *planes.shape[1:]), planes.dtype)
    every[list(origin.frames)] = planes
    return every
