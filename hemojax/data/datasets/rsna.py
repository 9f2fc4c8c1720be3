"""RSNA 2019 (doi 10.1148/ryai.2020190211): labels of slices without masks, a DICOM file each.

stage_2_train/ID_<image>.dcm   one folder for the slices of all scans
stage_2_train.csv              ID_<image>_<label>,Label: epidural, intraparenchymal, intraventricular, subarachnoid,
                               subdural, any; a few rows stand there twice

Files name their series, study and patient by made-up IDs, and no class of object. A scan is a series, whose slices lie
as their positions say; their distances need not be even. Slices without a row, rows without a file (of a part of the
data set), and files that cannot be read (ID_6431af929 is cut off) are left out, and counted.

Some files hold signed values of 12 bits, and their headers call them unsigned: air stands as 3096 with an intercept
near 0. Such a slice is put right. The labels of stage_2_test are not public.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int8, Int16

from hemojax.data import intensity, volume
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import folder, label_table
from hemojax.data.datasets.csv_table import LINE
from hemojax.data.datasets.folder import Place
from hemojax.data.dicom import headers, pixels
from hemojax.data.dicom.headers import Plane, Unreadable
from hemojax.data.labels import LABELS
from hemojax.data.listing import Listing, Source
from hemojax.data.orientation import CANONICAL
from hemojax.data.reading import PLAIN, Reading
from hemojax.errors import listed
from hemojax.progress import Progress, say

IMAGES, TABLE = "stage_2_train", "stage_2_train.csv"
PLACE = Place((IMAGES, TABLE), ("rsna-intracranial-hemorrhage-detection",))
OTHERS = ("stage_2_test", "stage_2_sample_submission.csv")
"""What lies there too, and has no labels."""
WORDS = {"any": "any", "epidural": "EPH", "subdural": "SDH", "subarachnoid": "SAH"}
WORDS |= {"intraparenchymal": "IPH", "intraventricular": "IVH"}
ID = re.compile(r"ID_[0-9a-f]+")
LOWEST = -1000
"""HU of air, from which values of 12 bits are counted that were meant to be signed."""
UNSIGNED = -100
"""With an intercept above this, in HU, unsigned values hold no air."""
UNEVEN = 0.05
"""Distances of slices that differ by more than this share of them are no spacing."""


def cases(root: Path, _: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN) -> Listing:
    """Cases of RSNA 2019, by the name of their study, and of their series where a study has several.

    Args:
        root: the folder, or the one that holds the data set's.
        reading: what the values are.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
    """
    home = PLACE.home(root)
    folder.say_unused(home, (*PLACE.needed, *OTHERS))
    paths = folder.files(home / IMAGES, (".dcm",))
    labels = _labels(home / TABLE, list(paths))
    series = _series(home / IMAGES, [paths[name] for name in labels.index])
    studies = Counter(study for study, _ in series)
    sources = {}
    for (study, name), files in sorted(series.items()):
        known = labels.loc[[file.stem for file in files]].to_numpy(np.int8)
        case = study if studies[study] == 1 else f"{study}_{name}"
        sources[case] = Source(tuple(files), repr(known.tolist()), partial(_case, case, files, known, reading))
    return Listing(sources)


def _labels(path: Path, images: Sequence[str]) -> pd.DataFrame:
    """The labels of each image, by its name."""
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=["ID", "Label"])
    except (OSError, ValueError) as error:
        raise CaseError(path, f"is no table of ID and Label ({str(error).splitlines()[0]})") from None
    parts = raw["ID"].str.extract(rf"^({ID.pattern})_([a-z]+)$")
    rows = pd.DataFrame({"image": parts[0], "label": parts[1].map(WORDS), "value": raw["Label"], LINE: raw.index + 2})
    odd = rows["label"].isna() | ~rows["value"].isin(["0", "1"])
    if odd.any():
        line = rows.loc[odd, LINE].iloc[0]
        raise CaseError(path, f"line {line}: '{','.join(raw.loc[line - 2])}' is not ID_<image>_<label> and 0 or 1")
    once = rows.drop_duplicates(["image", "label", "value"])
    twice = once[once.duplicated(["image", "label"])]
    if len(twice):
        image, label, line = twice.iloc[0][["image", "label", LINE]]
        raise CaseError(path, f"line {line}: contradicts another row on {label} of {image}")
    if len(once) < len(rows):
        say(f"{path}: {len(rows) - len(once)} rows stand there twice and count once")
    wide = once.pivot(index="image", columns="label", values="value").reindex(columns=list(LABELS)).fillna("-1")
    table = wide.astype(np.int8).assign(**{LINE: once.groupby("image")[LINE].min()})
    bare = sorted(set(images) - set(table.index))
    if bare:
        say(f"{path}: {len(bare)} images have no row and are left out: {listed(bare)}")
    missing = len(table.index.difference(images))
    if missing == len(table):
        raise CaseError(path, f"none of its {missing} images is in {IMAGES}; {folder.there(path.with_name(IMAGES))}")
    if missing:
        say(f"{path}: {missing} of {len(table)} images are not in {IMAGES}")
    known = label_table.completed(path, table.loc[table.index.intersection(images)].sort_index())
    unknown = known.index[known["any"] < 0]
    if len(unknown):
        say(
            f"{path}: of {len(unknown)} images it is not known whether they bleed, they are left out: {listed(unknown)}"
        )
    return known.loc[known["any"] >= 0, list(LABELS)]


class _Header(NamedTuple):
    """Whose slice a file is; or why it is none."""

    study: str
    series: str
    fault: str = ""


def _series(where: Path, paths: Sequence[Path]) -> dict[tuple[str, str], list[Path]]:
    """The files of each study's series."""
    found: dict[tuple[str, str], list[Path]] = {}
    faults: dict[str, list[str]] = {}
    with Progress("reading headers", len(paths)) as progress:
        for path, header in zip(paths, map(_header, paths), strict=True):
            if header.fault:
                faults.setdefault(header.fault, []).append(path.name)
            else:
                found.setdefault((header.study, header.series), []).append(path)
            progress.advance()
    for fault, names in faults.items():
        say(f"{where}: {len(names)} images are left out ({fault}): {listed(names)}")
    return found


def _header(path: Path) -> _Header:
    try:
        planes = headers.planes(path)
    except Unreadable as error:
        return _Header("", "", str(error))
    if len(planes) != 1:
        return _Header("", "", "no DICOM file of one image")
    if not (ID.fullmatch(planes[0].study) and ID.fullmatch(planes[0].series)):
        return _Header("", "", "its study or series is none of RSNA's, which begin with ID_")
    return _Header(planes[0].study, planes[0].series, planes[0].left_out)


def _case(name: str, files: Sequence[Path], labels: Int8[np.ndarray, "n 6"], reading: Reading) -> Case:
    """A scan of its slices, in any order, and their labels in the same."""
    planes = [_plane(file) for file in files]
    normal = np.cross(*np.reshape(planes[0].orientation, (2, 3)))
    along = np.array([np.dot(plane.position, normal) for plane in planes])
    order = np.argsort(along, kind="stable")
    planes, steps = [planes[n] for n in order], np.diff(along[order])
    for plane in planes:
        if plane.shape != planes[0].shape or not np.allclose(plane.orientation, planes[0].orientation, atol=2e-3):
            why = f"its shape or direction is not that of {planes[0].path.name}, which is of the same series"
            raise CaseError(plane.path, why)
    if abs(normal[2]) < np.sqrt(0.5):
        raise CaseError(planes[0].path, "its series is not axial")
    if len(steps) and steps.sum() == 0:
        raise CaseError(planes[0].path, "all slices of its series stand at one place")
    array, image = pixels.read(name, [plane._replace(distance=1.0) for plane in planes])
    signed = [_signed(array[..., n], plane.intercept) for n, plane in enumerate(planes)]
    wrong = sum(not np.array_equal(hu, array[..., n]) for n, hu in enumerate(signed))
    if wrong:
        say(f"{name}: {wrong} slices hold signed values that their headers call unsigned; they are read as signed")
    array = np.stack(signed, axis=2)
    scan = volume.canonical(planes[0].path, array, np.array(image.affine, np.float64))
    hu = intensity.to_hu(planes[0].path, scan.array, reading.intensity)
    i, j, between = scan.spacing
    even = len(steps) > 0 and np.ptp(steps) <= UNEVEN * steps.max()
    spacing = (i, j, between if even else float("nan"))
    patient, known = _patient(planes[0].path), labels[order][scan.numbers]
    mask = np.zeros(hu.shape, np.uint16)
    return Case(name, patient, None, hu, mask, known, scan.numbers, CANONICAL, spacing, scan.cosines)


def _plane(path: Path) -> Plane:
    try:
        (plane,) = headers.planes(path)
    except (Unreadable, ValueError):
        raise CaseError(path, "cannot be read any more") from None
    return plane


def _signed(hu: Int16[np.ndarray, "h w"], intercept: float) -> Int16[np.ndarray, "h w"]:
    """A slice's HU, where values of 12 bits that were meant to be signed were taken for unsigned."""
    stored = hu - np.rint(intercept).astype(np.int16)
    inside = hu != pixels.AIR  # not padded
    if intercept <= UNSIGNED or not inside.any() or stored[inside].min() < 0 or stored[inside].max() >= 4096:
        return hu
    return np.where(inside, (stored - LOWEST) % 4096 + LOWEST, hu)


def _patient(path: Path) -> str:
    """The patient's ID, which is the data set's own."""
    try:
        with headers.quiet():
            found = str(headers.read(path, ["PatientID"]).get("PatientID", ""))
    except (OSError, Unreadable):
        raise CaseError(path, "cannot be read any more") from None
    if not ID.fullmatch(found):
        raise CaseError(path, "its PatientID is none of RSNA's, which begin with ID_; use the layout dicom")
    return found
