"""The generic layout, what a user with their own hospital's data has.

images/<case>.nii.gz   HU
masks/<case>.nii.gz    integers, 0 elsewhere (optional for a case whose labels stand in slices.csv)
slices.csv             optional: patient, slice (0-based), hemorrhage_binary, and if known EPH, SDH, SAH, IPH, IVH,
                       split (train, validation, test), subject; `patient` is the scan's name, and its patient's where
                       no subject is named. A table with a column `case` names scans there, and patients in `patient`
boxes.csv              optional: patient, slice, i0, j0, i1, j1: an expert's boxes in indices of the scan's array, the
                       upper ends exclusive; 256 among a mask target's integers stands for them

A file may store its array in any order that its affine names. Slice numbers and boxes are those of the file: a slice is
one across the body's axis, i and j are the two other axes of the array in their order.

A blank label is not known: the mask decides; without a mask the slice is left out. See docs/data.md.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int8, UInt16

from hemojax.data import agreement, intensity, refusals, volume
from hemojax.data import case as cases_
from hemojax.data.agreement import Pair
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import folder as folder_
from hemojax.data.datasets import label_table, mask_files, matching
from hemojax.data.datasets.csv_table import LINE
from hemojax.data.datasets.label_table import BOX, LABEL_COLUMNS
from hemojax.data.labels import LABELS
from hemojax.data.listing import Listing, Source, refuse
from hemojax.data.orientation import CANONICAL, Turn
from hemojax.data.reading import PLAIN, Reading
from hemojax.data.volume import Volume
from hemojax.errors import listed
from hemojax.progress import say

SUFFIXES = (".nii.gz", ".nii")
USED = ("images", "masks", "slices.csv", "boxes.csv")
COLUMNS = LABEL_COLUMNS | label_table.WHOSE | {"patient": "patient", "slice": "slice", "split": "split"}
COLUMNS["sopinstanceuid"] = "instance"

Labels = Int8[np.ndarray, "n 6"]


class Tables(NamedTuple):
    """What the tables of a folder say of each scan; None where there is no table.

    Attributes:
        slices: rows of slice labels, see `label_table.read`.
        boxes: rows of boxes, see `label_table.read_boxes`.
        path: of the table of slices, for messages.
    """

    slices: dict[str, pd.DataFrame] | None
    boxes: dict[str, pd.DataFrame] | None
    path: Path


class Found(NamedTuple):
    """What a layout finds in a folder: pairs of scans and masks, by the scans' names, and what tables say of them."""

    root: Path
    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    tables: Tables


def scans(folder: Path, *, strict: bool = False) -> dict[str, Path]:
    """The NIfTI files of a folder by case name, in order; hidden files are passed over, others too, but named.

    Args:
        folder: where they are.
        strict: whether scans of another format are refused.

    Raises:
        CaseError: the folder is missing or has none, or see `folder.files`.
    """
    if not folder.is_dir():
        raise CaseError(folder, "no such folder")
    found = folder_.files(folder, SUFFIXES, strict=strict)
    if not found:
        raise CaseError(folder, "holds no .nii.gz or .nii file")
    return found


class Scans(NamedTuple):
    """How scans and masks are found and read; other processes can be sent these functions.

    Attributes:
        find: the scans of a folder by case name.
        files: that a scan is read from.
        order: from the order of a scan's file to the canonical one, and how many slices it has; given the order `axes`
            of arrays that do not say it.
        read: its volume, likewise.
        without_order: of these files the ones that do not say their order.
        instances: the case and the slice of every image that has a UID, for tables that name slices by it.
        mask: the volume of a mask, given its file, its scan's, and the order of arrays that do not say it.
        patient: whose a scan is by its name, where no table says it.
    """

    find: Callable[[Path], dict[str, Path]]
    files: Callable[[Path], tuple[Path, ...]]
    order: Callable[[Path, str], tuple[Turn, int]]
    read: Callable[[Path, str], Volume]
    without_order: Callable[[Iterable[Path]], list[Path]]
    instances: Callable[[Mapping[str, Path]], dict[str, tuple[str, int]]]
    mask: Callable[[Path, Path, str], Volume] = mask_files.alone
    patient: Callable[[str], str] = str


def _itself(path: Path) -> tuple[Path, ...]:
    return (path,)


def _without_uids(_: Mapping[str, Path]) -> dict[str, tuple[str, int]]:
    return {}


NIFTI = Scans(partial(scans, strict=True), _itself, volume.order, volume.read, volume.without_order, _without_uids)


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN, how: Scans = NIFTI) -> Listing:
    """Cases of a folder in the generic layout, by name.

    Labels are put together before any scan is read; slices of which none is known are left out, and counted.

    Args:
        root: the folder.
        subtypes: mask integers of the subtypes, used where slices.csv does not give their labels.
        reading: what the files do not say of themselves.
        how: scans are found and read.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
    """
    folder_.check_layout(root)
    folder_.say_unused(root, USED)
    images = how.find(root / "images")
    masks = masks_of(root / "masks", images)
    return listing(Found(root, images, masks, _tables(root, images, how.instances)), subtypes, reading, how)


def pairs(root: Path, images: str, masks: str) -> Found:
    """The scans and masks of two folders, without a table.

    Raises:
        CaseError: see `scans` and `masks_of`.
    """
    folder_.say_unused(root, (images, masks))
    found = scans(root / images, strict=True)
    return Found(root, found, masks_of(root / masks, found), Tables(None, None, root))


def listing(
    found: Found, subtypes: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN, how: Scans = NIFTI
) -> Listing:
    """The cases of what was found in a folder.

    Raises:
        CaseError: see `cases`.
    """
    root, images, masks, tables = found
    if not reading.axes:
        _say_order(root, len(images), how.without_order(images.values()))
    labels, faults = _labels(root, images, masks, tables=tables, subtypes=subtypes, reading=reading, how=how)
    sources = {}
    for name, path in images.items():
        rows, boxes = ((part or {}).get(name) for part in (tables.slices, tables.boxes))
        files = how.files(path) if name not in masks else (*how.files(path), masks[name])
        said = f"{label_table.as_text(rows)} {label_table.as_text(boxes)}"
        if name in faults:
            sources[name] = Source(files, said, partial(refuse, faults[name]))
        elif (labels[name][:, 0] >= 0).any():
            read = partial(_case, root, name, image=path, mask=masks.get(name), rows=rows, boxes=boxes)
            read = partial(read, labels=labels[name], table=tables.path, reading=reading, how=how)
            sources[name] = Source(files, f"{said} {labels[name].tolist()}", read)
    return Listing(sources)


def masks_of(folder: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """The masks of a folder, which need not be there, under their scans' names.

    Raises:
        CaseError: a mask is of no scan, or several are of one.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        refusals.refuse(CaseError(folder, "is no folder, or a link to nowhere; mend or remove it"))
    files = folder_.files(folder, SUFFIXES) if folder.is_dir() else {}
    scan_of = matching.match(folder, files, images, "masks")
    number = Counter(scan_of.values())
    twice = [name for name, scan in scan_of.items() if number[scan] > 1]
    if twice:
        refusals.refuse(CaseError(folder, f"several masks are of one scan: {listed(twice)}"))
    if files and len(files) < len(images):
        bare = sorted(images.keys() - scan_of.values())
        say(f"{folder}: {len(bare)} of {len(images)} scans have no mask: {listed(bare)}")
    return {scan: files[name] for name, scan in scan_of.items()}


def _say_order(folder: Path, number: int, unsaid: Sequence[Path]) -> None:
    """A word about scans whose files do not say their order."""
    if unsaid:
        names = listed(path.name for path in unsaid)
        say(
            f"{folder}: {len(unsaid)} of {number} scans do not say the order of their arrays and are read as LAS: "
            f"{names}; name another order: --config.data.axes"
        )


def _tables(
    root: Path, images: Mapping[str, Path], instances: Callable[[Mapping[str, Path]], dict[str, tuple[str, int]]]
) -> Tables:
    found: list[dict[str, pd.DataFrame] | None] = []
    for name, key in (("slices.csv", ["patient", "slice"]), ("boxes.csv", ["patient", *BOX])):
        path = root / name
        if not os.path.lexists(path):  # a link to nowhere is no table either, and is refused below
            found.append(None)
            continue
        try:
            if name == "slices.csv":
                table = label_table.read(path, COLUMNS, instances=partial(instances, images))
            else:
                table = label_table.read_boxes(path)
        except CaseError as error:
            refusals.refuse(error)
            found.append(None)
            continue
        table["patient"] = table["patient"].map(matching.match(path, table["patient"], images, "patients"))
        once = label_table.once(path, table.dropna(subset="patient"), key)
        found.append({str(scan): rows for scan, rows in once.groupby("patient")})
    slices, boxes = found
    if slices is not None:
        path = root / "slices.csv"
        bare = sorted(images.keys() - slices.keys())
        if bare:
            say(f"{path}: {len(bare)} of {len(images)} scans have no row: {listed(bare)}")
        given = {scan for scan, rows in slices.items() if rows["split"].notna().any()}
        if given and len(given) < len(images):
            without = sorted(images.keys() - given)
            say(f"{path}: {len(without)} scans have no split there and are dealt: {listed(without)}")
    return Tables(slices, boxes, root / "slices.csv")


def _labels(
    root: Path,
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    *,
    tables: Tables,
    subtypes: Mapping[str, tuple[int, ...]],
    reading: Reading,
    how: Scans,
) -> tuple[dict[str, Labels], dict[str, CaseError]]:
    """The labels of every scan's slices, by their numbers in its file; and why those of others cannot be told.

    Raises:
        CaseError: a table names a slice that its scan does not have, or contradicts most masks.
    """
    drawn, given, placed = {}, {}, {}
    faults: dict[str, CaseError] = {}
    for name, path in images.items():
        boxes = (tables.boxes or {}).get(name)
        try:
            mask, number = _own_mask(path, masks.get(name), reading, how)
        except CaseError as error:
            faults[name] = error
            continue
        if mask is None:
            drawn[name] = np.full((number, len(LABELS)), -1, np.int8)
        else:
            drawn[name] = cases_.labels_from_mask(mask, subtypes, known=True)
            if boxes is not None:
                placed[name] = agreement.placed(mask, boxes[BOX].to_numpy(np.int64))
        given[name] = np.full_like(drawn[name], -1)
        if tables.slices and name in tables.slices:
            rows = _inside(tables.path, tables.slices[name], number)
            given[name][rows["slice"]] = rows[list(LABELS)].to_numpy(np.int8)
    labels = label_table.together(tables.path, given, drawn, reading.contradictions)
    if tables.boxes is not None:
        readable = {name: rows for name, rows in tables.boxes.items() if name in labels}
        _check_boxes(root / "boxes.csv", readable, labels, reading.contradictions)
        agreement.check_placed(root / "boxes.csv", placed, reading.contradictions)
    label_table.say_unknown(root, labels)
    return labels, faults


def _own_mask(
    image: Path, mask: Path | None, reading: Reading, how: Scans
) -> tuple[UInt16[np.ndarray, "_ _ n"] | None, int]:
    """A scan's mask in the scan's own order, if it has one, and how many slices the scan has."""
    turn, number = how.order(image, reading.axes)
    if mask is None:
        return None, number
    drawn = how.mask(mask, image, reading.axes)
    array = drawn.array
    if reading.resample_masks or array.shape[2] != number:
        array = volume.on_grid_of(how.read(image, reading.axes), mask, drawn, reading.resample_masks)
    return turn.slices_last(turn.stored(cases_.check_mask(mask, array, array.shape))), number


def _inside(path: Path, rows: pd.DataFrame, number: int) -> pd.DataFrame:
    """The rows of slices that a scan of so many has; others are refused."""
    inside = rows["slice"].between(0, number - 1)
    if not inside.all():
        line, name, at = rows[~inside].iloc[0][[LINE, "patient", "slice"]]
        why = "; slices are counted from 0" if at == number and rows["slice"].min() > 0 else ""
        refusals.refuse(CaseError(path, f"line {line}: {name} has {number} slices, not a slice {at}{why}"))
    return rows[inside]


def _check_boxes(
    path: Path, boxes: Mapping[str, pd.DataFrame], labels: Mapping[str, Labels], contradictions: str
) -> None:
    pairs = {}
    for name, rows in boxes.items():
        boxed = np.full(len(labels[name]), -1, np.int8)
        boxed[_inside(path, rows, len(labels[name]))["slice"]] = 1
        pairs[name] = Pair(boxed, labels[name][:, 0])
    agreement.check(path, pairs, what=("the boxes", "the labels"), choice=contradictions)


def _case(
    root: Path,
    name: str,
    *,
    image: Path,
    mask: Path | None,
    rows: pd.DataFrame | None,
    boxes: pd.DataFrame | None,
    labels: Labels,
    table: Path,
    reading: Reading,
    how: Scans,
) -> Case:
    """One case from its files, its rows of the tables, and its labels by the numbers of its slices."""
    scan = how.read(image, reading.axes)
    hu, numbers = intensity.to_hu(image, scan.array, reading.intensity), scan.numbers
    drawn = np.zeros(hu.shape, np.uint16)
    if mask is not None:
        array = volume.on_grid_of(scan, mask, how.mask(mask, image, reading.axes), reading.resample_masks)
        drawn = cases_.check_mask(mask, array, hu.shape)
    split, patient = None, how.patient(name)
    if rows is not None:
        split = label_table.split_of(table, rows)
        patient = label_table.subject_of(table, rows, otherwise=patient)
    if boxes is not None:
        none = np.zeros(scan.own_shape, np.uint16)
        own = cases_.add_boxes(root / "boxes.csv", none, boxes[BOX].to_numpy(np.int64))
        drawn = drawn + scan.from_own(own)
    kept = np.flatnonzero(labels[numbers, 0] >= 0)
    labels, numbers = labels[numbers[kept]], numbers[kept]
    at = (Ellipsis, kept)
    place = (CANONICAL, scan.spacing, scan.cosines, scan.turn.codes)
    return Case(name, patient, split, hu[at], drawn[at], labels, numbers, *place)
