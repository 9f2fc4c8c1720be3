"""The generic layout, what a user with their own hospital's data has.

images/<case>.nii.gz   HU
masks/<case>.nii.gz    integers, 0 elsewhere (optional for a case whose labels stand in slices.csv)
slices.csv             optional: patient, slice (0-based), hemorrhage_binary, and if known EPH, SDH, SAH, IPH, IVH,
                       split (train, validation, test); a case's name is its patient's
boxes.csv              optional: patient, slice, i0, j0, i1, j1: an expert's boxes in indices of the scan's array, the
                       upper ends exclusive; 256 among a mask target's integers stands for them

A file may store its array in any order that its affine names. Slice numbers and boxes are those of the file: a slice is
one across the body's axis, i and j are the two other axes of the array in their order.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from hemojax.data import case as cases_
from hemojax.data import intensity, volume
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import label_table
from hemojax.data.datasets.label_table import BOX
from hemojax.data.labels import LABELS
from hemojax.data.listing import Listing, Source
from hemojax.data.orientation import CANONICAL
from hemojax.data.reading import PLAIN, Reading
from hemojax.data.volume import Volume

SUFFIXES = (".nii.gz", ".nii")
COLUMNS = {
    "patient": "patient",
    "slice": "slice",
    "SOPInstanceUID": "instance",
    "hemorrhage_binary": "any",
    "split": "split",
} | {label: label for label in LABELS[1:]}


def scans(folder: Path) -> dict[str, Path]:
    """The NIfTI files of a folder by case name, in order; hidden files are passed over.

    Raises:
        CaseError: the folder is missing or has none.
    """
    if not folder.is_dir():
        raise CaseError(folder, "no such folder")
    found = _nifti_files(folder)
    if not found:
        raise CaseError(folder, "holds no .nii.gz or .nii file")
    return found


def _nifti_files(folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
        if suffix and not path.name.startswith("."):
            found[path.name.removesuffix(suffix)] = path
    return found


class Scans(NamedTuple):
    """How the scans of the folder `images` are found and read; other processes can be sent these functions.

    Attributes:
        find: the scans of a folder by case name.
        files: that a scan is read from.
        read: a scan's volume, of an array in the order `axes` where the scan does not say it.
        instances: the case and the slice of every image that has a UID, for tables that name slices by it.
    """

    find: Callable[[Path], dict[str, Path]]
    files: Callable[[Path], tuple[Path, ...]]
    read: Callable[[Path, str], Volume]
    instances: Callable[[Mapping[str, Path]], dict[str, tuple[str, int]]]


def _itself(path: Path) -> tuple[Path, ...]:
    return (path,)


def _without_uids(_: Mapping[str, Path]) -> dict[str, tuple[str, int]]:
    return {}


NIFTI = Scans(scans, _itself, volume.read, _without_uids)


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN, how: Scans = NIFTI) -> Listing:
    """Cases of a folder in the generic layout, by name.

    Args:
        root: the folder.
        subtypes: mask integers of the subtypes, used where slices.csv does not give their labels.
        reading: what the files do not say of themselves.
        how: scans are found and read.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
    """
    images = how.find(root / "images")
    masks = _nifti_files(root / "masks") if (root / "masks").is_dir() else {}
    for name in masks.keys() - images.keys():
        raise CaseError(masks[name], f"has no scan {root / 'images' / name}.nii.gz beside it")
    table_path = root / "slices.csv"
    table = label_table.read(table_path, COLUMNS, lambda: how.instances(images)) if table_path.exists() else None
    boxes_path = root / "boxes.csv"
    boxes = label_table.read_boxes(boxes_path) if boxes_path.exists() else None
    rows_of, boxes_of = (label_table.by_patient(frame) for frame in (table, boxes))
    sources = {}
    for name, path in images.items():
        mask = masks.get(name)
        rows = None if table is None else rows_of.get(name, table[:0])
        drawn = None if boxes is None else boxes_of.get(name, boxes[:0])
        read = partial(_case, root, name, image=path, mask=mask, rows=rows, boxes=drawn, subtypes=subtypes)
        files = how.files(path) if mask is None else (*how.files(path), mask)
        said = f"{label_table.as_text(rows)} {label_table.as_text(drawn)}"
        sources[name] = Source(files, said, partial(read, reading=reading, volume_of=how.read))
    return Listing(sources)


def _case(
    root: Path,
    name: str,
    *,
    image: Path,
    mask: Path | None,
    rows: pd.DataFrame | None,
    boxes: pd.DataFrame | None,
    subtypes: Mapping[str, tuple[int, ...]],
    reading: Reading,
    volume_of: Callable[[Path, str], Volume],
) -> Case:
    """One case from its files and its rows of the tables, which are None where the data set has no such table."""
    table_path = root / "slices.csv"
    scan = volume_of(image, reading.axes)
    hu, numbers = intensity.to_hu(image, scan.array, reading.intensity), scan.numbers
    if mask is not None:
        array = volume.on_grid_of(scan, mask, volume.read(mask, reading.axes), reading.resample_masks)
        drawn = cases_.check_mask(mask, array, hu.shape)
    else:
        drawn = np.zeros(hu.shape, np.uint16)
    labels = cases_.labels_from_mask(drawn, subtypes, known=mask is not None)
    split = None
    if rows is not None:
        split = label_table.split_of(table_path, rows)
        outside = rows[(rows["slice"] < 0) | (rows["slice"] >= hu.shape[2])]
        if len(outside):
            raise CaseError(table_path, f"{name} has {hu.shape[2]} slices, not a slice {outside['slice'].iloc[0]}")
        given = rows[list(LABELS)].to_numpy(np.int8)
        at = numbers[rows["slice"].to_numpy()]
        labels[at] = np.where(given >= 0, given, labels[at])
    if (labels[:, 0] < 0).any():
        bare = int(numbers[labels[:, 0] < 0].min())
        raise CaseError(image, f"slice {bare} has neither a row in {table_path} nor a mask")
    if boxes is not None:
        none = np.zeros(scan.own_shape, np.uint16)
        own = cases_.add_boxes(root / "boxes.csv", none, boxes[BOX].to_numpy(np.int64))
        drawn = drawn + scan.from_own(own)
    return Case(name, name, split, hu, drawn, labels, numbers, CANONICAL, scan.spacing, scan.cosines)
