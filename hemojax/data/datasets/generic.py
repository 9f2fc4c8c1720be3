"""The generic layout, what a user with their own hospital's data has.

images/<case>.nii.gz   HU
masks/<case>.nii.gz    integers, 0 elsewhere (optional for a case whose labels stand in slices.csv)
slices.csv             optional: patient, slice (0-based), hemorrhage_binary, and if known EPH, SDH, SAH, IPH, IVH,
                       split (train, validation, test); a case's name is its patient's
boxes.csv              optional: patient, slice, i0, j0, i1, j1: an expert's boxes in indices of the scan's array, the
                       upper ends exclusive; 256 among a mask target's integers stands for them
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Shaped

from hemojax.data import case as cases_
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import label_table
from hemojax.data.datasets.label_table import BOX
from hemojax.data.labels import LABELS

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
        read: a scan's array, and an image with its affine.
        instances: the case and the slice of every image that has a UID, for tables that name slices by it.
    """

    find: Callable[[Path], dict[str, Path]]
    read: Callable[[Path], tuple[Shaped[np.ndarray, "h w n"], nib.Nifti1Image]]
    instances: Callable[[Mapping[str, Path]], dict[str, tuple[str, int]]]


NIFTI = Scans(scans, cases_.read_nifti, lambda _: {})


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]], how: Scans = NIFTI) -> Iterator[Case]:
    """Cases of a folder in the generic layout, by name.

    Args:
        root: the folder.
        subtypes: mask integers of the subtypes, used where slices.csv does not give their labels.
        how: the scans are found and read.

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
        array, image = how.read(path)
        hu = cases_.check_hu(path, array)
        if name in masks:
            array, mask_image = cases_.read_nifti(masks[name])
            mask = cases_.check_mask(masks[name], array, hu.shape)
            if not np.allclose(mask_image.affine, image.affine, atol=1e-2):
                raise CaseError(masks[name], "the mask's affine is not the scan's; resample it to the scan's grid")
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
            at = rows["slice"].to_numpy()
            labels[at] = np.where(given >= 0, given, labels[at])
        if (labels[:, 0] < 0).any():
            bare = int(np.flatnonzero(labels[:, 0] < 0)[0])
            raise CaseError(path, f"slice {bare} has neither a row in {table_path} nor a mask")
        if boxes is not None:
            mask = cases_.add_boxes(boxes_path, mask, boxes.loc[boxes["patient"] == name, BOX].to_numpy(np.int64))
        spacing, axes = cases_.check_spacing(path, image.affine), "".join(nib.aff2axcodes(image.affine))
        yield Case(name, name, split, hu, mask, labels, np.arange(hu.shape[2]), axes, spacing)
