"""The generic layout, what a user with their own hospital's data has.

images/<case>.nii.gz   HU
masks/<case>.nii.gz    integers, 0 elsewhere (optional for a case whose labels stand in slices.csv)
slices.csv             optional: patient, slice (0-based), hemorrhage_binary, and if known EPH, SDH, SAH, IPH, IVH,
                       split (train, validation, test); a case's name is its patient's
boxes.csv              optional: patient, slice, i0, j0, i1, j1: an expert's boxes in indices of the scan's array, the
                       upper ends exclusive; 256 among a mask target's integers stands for them
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from hemojax.data import case as cases_
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import label_table
from hemojax.data.datasets.label_table import BOX
from hemojax.data.labels import LABELS
from hemojax.data.listing import Listing, Source

SUFFIXES = (".nii.gz", ".nii")
COLUMNS = {"patient": "patient", "slice": "slice", "hemorrhage_binary": "any", "split": "split"} | {
    label: label for label in LABELS[1:]
}


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


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]]) -> Listing:
    """Cases of a folder in the generic layout, by name.

    Args:
        root: the folder.
        subtypes: mask integers of the subtypes, used where slices.csv does not give their labels.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
    """
    images = scans(root / "images")
    masks = _nifti_files(root / "masks") if (root / "masks").is_dir() else {}
    for name in masks.keys() - images.keys():
        raise CaseError(masks[name], f"has no scan {root / 'images' / name}.nii.gz beside it")
    table_path = root / "slices.csv"
    table = label_table.read(table_path, COLUMNS) if table_path.exists() else None
    boxes_path = root / "boxes.csv"
    boxes = label_table.read_boxes(boxes_path) if boxes_path.exists() else None
    rows_of, boxes_of = (label_table.by_patient(frame) for frame in (table, boxes))
    sources = {}
    for name, path in images.items():
        mask = masks.get(name)
        rows = None if table is None else rows_of.get(name, table[:0])
        drawn = None if boxes is None else boxes_of.get(name, boxes[:0])
        read = partial(_case, root, name, image=path, mask=mask, rows=rows, boxes=drawn, subtypes=subtypes)
        files = (path,) if mask is None else (path, mask)
        sources[name] = Source(files, f"{label_table.as_text(rows)} {label_table.as_text(drawn)}", read)
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
) -> Case:
    """One case from its files and its rows of the tables, which are None where the data set has no such table."""
    table_path = root / "slices.csv"
    array, grid = cases_.read_nifti(image)
    hu = cases_.check_hu(image, array)
    if mask is not None:
        array, mask_grid = cases_.read_nifti(mask)
        drawn = cases_.check_mask(mask, array, hu.shape)
        if not np.allclose(mask_grid.affine, grid.affine, atol=1e-2):
            raise CaseError(mask, "the mask's affine is not the scan's; resample it to the scan's grid")
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
        at = rows["slice"].to_numpy()
        labels[at] = np.where(given >= 0, given, labels[at])
    if (labels[:, 0] < 0).any():
        bare = int(np.flatnonzero(labels[:, 0] < 0)[0])
        raise CaseError(image, f"slice {bare} has neither a row in {table_path} nor a mask")
    if boxes is not None:
        drawn = cases_.add_boxes(root / "boxes.csv", drawn, boxes[BOX].to_numpy(np.int64))
    spacing, axes = cases_.check_spacing(image, grid.affine), "".join(nib.aff2axcodes(grid.affine))
    return Case(name, name, split, hu, drawn, labels, np.arange(hu.shape[2]), axes, spacing)
