"""Hemorica (arXiv 2509.22993), as its group's public pipeline reads it.

images/<patient_name>_<slice_number>.npy   one slice, HU
masks/<patient_name>_<slice_number>.npy    > 0 is haemorrhage; a missing file means no lesion
*.csv                                      patient_name, slice_number, hemorrhage_binary, and if known IVH, ICH
                                           (our IPH), SDH, EPH, SAH; a table named train, validation (val) or test
                                           gives its patients that split; pixel_mm and slice_mm, if they are there,
                                           the distance of pixels and of slices
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from hemojax.data import case as cases_
from hemojax.data import intensity, orientation
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import label_table
from hemojax.data.labels import LABELS
from hemojax.data.listing import Listing, Source
from hemojax.data.orientation import CANONICAL
from hemojax.data.reading import PLAIN, Reading
from hemojax.errors import UserError

AXES = "PLS"
"""The slices are stored as they are shown: rows from the front to the back, columns to the patient's left.

Their numbers rise to the head. `data.axes` says where it is otherwise; its last letter is that of the numbers.
"""

COLUMNS = {"patient_name": "patient", "slice_number": "slice", "hemorrhage_binary": "any", "ICH": "IPH"} | {
    label: label for label in LABELS[1:]
}


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN) -> Listing:
    """Cases of a folder in the Hemorica layout: the slices of one patient are one case.

    Args:
        root: the folder.
        subtypes: mask integers of the subtypes, used where the tables do not give their labels.
        reading: what the files do not say of themselves.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
        UserError: by the option `data.axes` the slices are not axial.
    """
    if reading.axes and reading.axes[2] not in "SI":
        raise UserError(f"--config.data.axes={reading.axes}: Hemorica's files are axial slices, end with S or I")
    for folder in (root, root / "images"):
        if not folder.is_dir():
            raise CaseError(folder, "no such folder")
    tables = sorted(root.glob("*.csv"))
    if not tables:
        raise CaseError(root, "holds no .csv table of slice labels")
    frames = []
    for path in tables:
        frame = label_table.read(path, COLUMNS)
        named = [split for key, split in label_table.SPLIT_NAMES.items() if path.stem.lower().startswith(key)]
        frames.append(frame.assign(split=named[0] if named else None))
    table = pd.concat(frames)
    sources = {}
    for patient, rows in label_table.by_patient(table).items():
        rows = rows.sort_values("slice")
        names = [f"{patient}_{number}.npy" for number in rows["slice"]]
        files = [root / folder / name for folder in ("images", "masks") for name in names]
        read = partial(_case, root, rows, subtypes, reading)
        sources[patient] = Source(tuple(files), label_table.as_text(rows), read)
    return Listing(sources)


def _case(root: Path, rows: pd.DataFrame, subtypes: Mapping[str, tuple[int, ...]], reading: Reading) -> Case:
    patient, turn = str(rows["patient"].iloc[0]), orientation.turn(reading.axes or AXES)
    names = [f"{patient}_{number}.npy" for number in rows["slice"]]
    planes = [_read(root / "images" / name) for name in names]
    shape = planes[0].shape
    for name, plane in zip(names, planes, strict=True):
        if plane.shape != shape:
            raise CaseError(root / "images" / name, f"its shape {plane.shape} is not that of the first slice, {shape}")
    masks = []
    for name in names:
        path = root / "masks" / name
        drawn = _read(path) if path.exists() else np.zeros(shape, np.uint8)
        masks.append(cases_.check_mask(path, drawn[..., None], (*shape, 1)))
    mask = turn.canonical(np.concatenate(masks, axis=2))
    numbers = turn.numbers(len(rows))
    labels = cases_.labels_from_mask(mask, subtypes, known=True)
    given = rows[list(LABELS)].to_numpy(np.int8)[numbers]
    hu = intensity.to_hu(root / "images" / names[0], turn.canonical(np.stack(planes, axis=2)), reading.intensity)
    split = label_table.split_of(root, rows)
    labels = np.where(given >= 0, given, labels)
    spacing = label_table.spacing_of(root, rows)
    return Case(patient, patient, split, hu, mask, labels, rows["slice"].to_numpy()[numbers], CANONICAL, spacing)


def _read(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise CaseError(path, "no such file, though a table of labels names it") from None
    except (OSError, EOFError, ValueError) as error:
        raise CaseError(path, f"cannot be read, copy it again ({str(error).splitlines()[0]})") from None
    if array.ndim != 2:
        raise CaseError(path, f"is not one slice: its shape is {array.shape}")
    return array
