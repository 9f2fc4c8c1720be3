"""The generic layout, what a user with their own hospital's data has.

images/<case>.nii.gz   HU
masks/<case>.nii.gz    integers, 0 elsewhere (optional for a case whose labels stand in slices.csv)
slices.csv             optional: patient, slice (0-based), hemorrhage_binary, and if known EPH, SDH, SAH, IPH, IVH,
                       split (train, validation, test), subject; `patient` is the scan's name, and its patient's where
                       no subject is named. A table with a column `case` names scans there, and patients in `patient`
boxes.csv              optional: patient, slice, i0, j0, i1, j1: an expert's boxes in indices of the scan's array, the
                       upper ends exclusive; 256 among a mask target's integers stands for them

A blank label is not known: the mask decides; without a mask the slice is left out. See docs/data.md.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
from jaxtyping import Int8
from nibabel.filebasedimages import ImageFileError

from hemojax.data import agreement
from hemojax.data import case as cases_
from hemojax.data.agreement import Pair
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import folder as folder_
from hemojax.data.datasets import label_table, matching
from hemojax.data.datasets.csv_table import LINE, listed
from hemojax.data.datasets.label_table import BOX, LABEL_COLUMNS
from hemojax.data.labels import LABELS
from hemojax.progress import say

SUFFIXES = (".nii.gz", ".nii")
USED = ("images", "masks", "slices.csv", "boxes.csv")
COLUMNS = LABEL_COLUMNS | label_table.WHOSE | {"patient": "patient", "slice": "slice", "split": "split"}

Labels = Int8[np.ndarray, "n 6"]


class Tables(NamedTuple):
    """What the tables of a folder say of each scan; None where there is no table."""

    slices: dict[str, pd.DataFrame] | None
    boxes: dict[str, pd.DataFrame] | None


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


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]], contradictions: str = "refuse") -> Iterator[Case]:
    """Cases of a folder in the generic layout, by name.

    Labels are put together before any scan is read; slices of which none is known are left out, and counted.

    Args:
        root: the folder.
        subtypes: mask integers of the subtypes, used where slices.csv does not give their labels.
        contradictions: what counts where table and masks contradict each other in most scans, see `agreement.CHOICES`.

    Raises:
        CaseError: with the path and the reason.
    """
    images = scans(root / "images", strict=True)
    folder_.say_unused(root, USED)
    masks = _masks(root / "masks", images)
    tables = _tables(root, images)
    labels = _labels(root, images, masks, tables=tables, subtypes=subtypes, contradictions=contradictions)
    for name, path in images.items():
        if (labels[name][:, 0] >= 0).any():
            yield _case(root, name, path, masks.get(name), tables=tables, labels=labels[name])


def _masks(folder: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """The masks under their scans' names."""
    files = folder_.files(folder, SUFFIXES) if folder.is_dir() else {}
    scan_of = matching.match(folder, files, images, "masks")
    number = Counter(scan_of.values())
    twice = [name for name in files if number[scan_of[name]] > 1]
    if twice:
        raise CaseError(folder, f"several masks are of one scan: {listed(twice)}")
    if files and len(files) < len(images):
        bare = sorted(images.keys() - scan_of.values())
        say(f"{folder}: {len(bare)} of {len(images)} scans have no mask: {listed(bare)}")
    return {scan_of[name]: path for name, path in files.items()}


def _tables(root: Path, images: Mapping[str, Path]) -> Tables:
    found: list[dict[str, pd.DataFrame] | None] = []
    for name, key in (("slices.csv", ["patient", "slice"]), ("boxes.csv", ["patient", *BOX])):
        path = root / name
        if not path.exists():
            found.append(None)
            continue
        table = label_table.read(path, COLUMNS) if name == "slices.csv" else label_table.read_boxes(path)
        table["patient"] = table["patient"].map(matching.match(path, table["patient"], images, "patients"))
        found.append({str(scan): rows for scan, rows in label_table.once(path, table, key).groupby("patient")})
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
    return Tables(slices, boxes)


def _labels(
    root: Path,
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    *,
    tables: Tables,
    subtypes: Mapping[str, tuple[int, ...]],
    contradictions: str,
) -> dict[str, Labels]:
    """The labels of every scan's slices, in the order in which its file has them.

    Raises:
        CaseError: a table names a slice that its scan does not have, or contradicts most masks.
    """
    drawn, given, placed = {}, {}, {}
    for name, path in images.items():
        if name in masks:
            array, _ = cases_.read_nifti(masks[name])
            mask = cases_.check_mask(masks[name], array, array.shape)
            drawn[name] = cases_.labels_from_mask(mask, subtypes, known=True)
            if tables.boxes and name in tables.boxes:
                placed[name] = agreement.placed(mask, tables.boxes[name][BOX].to_numpy(np.int64))
        else:
            drawn[name] = np.full((_slices(path), len(LABELS)), -1, np.int8)
        given[name] = np.full_like(drawn[name], -1)
        if tables.slices and name in tables.slices:
            rows = tables.slices[name]
            _check_slices(root / "slices.csv", rows, len(drawn[name]))
            given[name][rows["slice"]] = rows[list(LABELS)].to_numpy(np.int8)
    labels = label_table.together(root / "slices.csv", given, drawn, contradictions)
    if tables.boxes is not None:
        _check_boxes(root / "boxes.csv", tables.boxes, labels, contradictions)
        agreement.check_placed(root / "boxes.csv", placed, contradictions)
    label_table.say_unknown(root, labels)
    return labels


def _slices(path: Path) -> int:
    """How many slices a scan has, of which no voxel is read."""
    try:
        return int(nib.load(path).shape[2])  # type: ignore[attr-defined]
    except (OSError, EOFError, ValueError, IndexError, ImageFileError):
        return cases_.read_nifti(path)[0].shape[2]  # which says what is wrong


def _check_slices(path: Path, rows: pd.DataFrame, number: int) -> None:
    outside = rows[(rows["slice"] < 0) | (rows["slice"] >= number)]
    if len(outside):
        line, name, at = outside.iloc[0][[LINE, "patient", "slice"]]
        why = "; slices are counted from 0" if at == number and rows["slice"].min() > 0 else ""
        raise CaseError(path, f"line {line}: {name} has {number} slices, not a slice {at}{why}")


def _check_boxes(
    path: Path, boxes: Mapping[str, pd.DataFrame], labels: Mapping[str, Labels], contradictions: str
) -> None:
    pairs = {}
    for name, rows in boxes.items():
        _check_slices(path, rows, len(labels[name]))
        boxed = np.full(len(labels[name]), -1, np.int8)
        boxed[rows["slice"]] = 1
        pairs[name] = Pair(boxed, labels[name][:, 0])
    agreement.check(path, pairs, what=("the boxes", "the labels"), choice=contradictions)


def _case(root: Path, name: str, path: Path, mask_path: Path | None, *, tables: Tables, labels: Labels) -> Case:
    array, image = cases_.read_nifti(path)
    hu = cases_.check_hu(path, array)
    mask = np.zeros(hu.shape, np.uint16)
    if mask_path:
        array, mask_image = cases_.read_nifti(mask_path)
        mask = cases_.check_mask(mask_path, array, hu.shape)
        if not np.allclose(mask_image.affine, image.affine, atol=1e-2):
            raise CaseError(mask_path, "the mask's affine is not the scan's; resample it to the scan's grid")
    split, patient = None, name
    if tables.slices and name in tables.slices:
        rows = tables.slices[name]
        split = label_table.split_of(root / "slices.csv", rows)
        patient = label_table.subject_of(root / "slices.csv", rows, otherwise=name)
    if tables.boxes and name in tables.boxes:
        mask = cases_.add_boxes(root / "boxes.csv", mask, tables.boxes[name][BOX].to_numpy(np.int64))
    spacing, axes = cases_.check_spacing(path, image.affine), "".join(nib.aff2axcodes(image.affine))
    kept = np.flatnonzero(labels[:, 0] >= 0)
    return Case(name, patient, split, hu[..., kept], mask[..., kept], labels[kept], kept, axes, spacing)
