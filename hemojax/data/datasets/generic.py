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

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hemojax.data import case as cases_
from hemojax.data import intensity, volume
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import label_table
from hemojax.data.datasets.label_table import BOX
from hemojax.data.labels import LABELS
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
    """How the scans of the folder `images` are found and read.

    Attributes:
        find: the scans of a folder by case name.
        read: a scan's volume, of an array in the order `axes` where the scan does not say it.
        instances: the case and the slice of every image that has a UID, for tables that name slices by it.
    """

    find: Callable[[Path], dict[str, Path]]
    read: Callable[[Path, str], Volume]
    instances: Callable[[Mapping[str, Path]], dict[str, tuple[str, int]]]


def _without_uids(_: Mapping[str, Path]) -> dict[str, tuple[str, int]]:
    return {}


NIFTI = Scans(scans, volume.read, _without_uids)


def cases(
    root: Path, subtypes: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN, how: Scans = NIFTI
) -> Iterator[Case]:
    """Cases of a folder in the generic layout, by name.

    Args:
        root: the folder.
        subtypes: mask integers of the subtypes, used where slices.csv does not give their labels.
        reading: what the files do not say of themselves.
        how: scans are found and read.

    Raises:
        CaseError: with the path and the reason.
    """
    images = how.find(root / "images")
    masks = _nifti_files(root / "masks") if (root / "masks").is_dir() else {}
    for name in masks.keys() - images.keys():
        raise CaseError(masks[name], f"has no scan {root / 'images' / name}.nii.gz beside it")
    table_path = root / "slices.csv"
    table = label_table.read(table_path, COLUMNS, lambda: how.instances(images)) if table_path.exists() else None
    boxes_path = root / "boxes.csv"
    boxes = label_table.read_boxes(boxes_path) if boxes_path.exists() else None
    for name, path in images.items():
        scan = how.read(path, reading.axes)
        hu, numbers = intensity.to_hu(path, scan.array, reading.intensity), scan.numbers
        if name in masks:
            drawn = volume.read(masks[name], reading.axes)
            array = volume.on_grid_of(scan, masks[name], drawn, reading.resample_masks)
            mask = cases_.check_mask(masks[name], array, hu.shape)
        else:
            mask = np.zeros(hu.shape, np.uint16)
        labels = cases_.labels_from_mask(mask, subtypes, known=name in masks)
        split = None
        if table is not None:
            rows = table[table["patient"] == name]
            split = label_table.split_of(table_path, rows)
            outside = rows[(rows["slice"] < 0) | (rows["slice"] >= hu.shape[2])]
            if len(outside):
                raise CaseError(table_path, f"{name} has {hu.shape[2]} slices, not a slice {outside['slice'].iloc[0]}")
            given = rows[list(LABELS)].to_numpy(np.int8)
            at = numbers[rows["slice"].to_numpy()]
            labels[at] = np.where(given >= 0, given, labels[at])
        if (labels[:, 0] < 0).any():
            bare = int(numbers[labels[:, 0] < 0].min())
            raise CaseError(path, f"slice {bare} has neither a row in {table_path} nor a mask")
        if boxes is not None:
            drawn_boxes = boxes.loc[boxes["patient"] == name, BOX].to_numpy(np.int64)
            none = np.zeros(scan.own_shape, np.uint16)
            mask = mask + scan.from_own(cases_.add_boxes(boxes_path, none, drawn_boxes))
        yield Case(name, name, split, hu, mask, labels, numbers, CANONICAL, scan.spacing, scan.cosines)
