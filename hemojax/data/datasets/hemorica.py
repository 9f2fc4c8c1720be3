"""Hemorica (arXiv 2509.22993), as its group's public pipeline reads it.

images/<patient_name>_<slice_number>.npy   one slice, HU
masks/<patient_name>_<slice_number>.npy    > 0 is haemorrhage; a missing file means that nothing is drawn
*.csv                                      patient_name, slice_number, hemorrhage_binary, and if known IVH, ICH
                                           (our IPH), SDH, EPH, SAH; a table named train, validation (val) or test
                                           gives its patients that split; pixel_mm and slice_mm, if they are there,
                                           the distance of pixels and of slices

A blank label is not known: the mask decides; without a mask the slice is left out. See docs/data.md.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from hemojax.data import case as cases_
from hemojax.data import intensity, orientation, refusals
from hemojax.data.case import Case, CaseError
from hemojax.data.datasets import folder, label_table, matching
from hemojax.data.datasets.csv_table import LINE
from hemojax.data.labels import LABELS
from hemojax.data.listing import Listing, Source, refuse
from hemojax.data.orientation import CANONICAL
from hemojax.data.reading import PLAIN, Reading
from hemojax.errors import UserError, first_line, listed
from hemojax.progress import say

AXES = "PLS"
"""The slices are stored as they are shown: rows from the front to the back, columns to the patient's left.

Their numbers rise to the head. `data.axes` says where it is otherwise; its last letter is that of the numbers.
"""

COLUMNS = label_table.LABEL_COLUMNS | {
    "patient_name": "patient",
    "slice_number": "slice",
    "ich": "IPH",
    **{name: name for name in label_table.SPACINGS},
}
ENDINGS = (".npy",)


def cases(root: Path, subtypes: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN) -> Listing:
    """Cases of a folder in the Hemorica layout: the slices of one patient are one case.

    Labels are put together before any slice is read; slices whose label is not known are left out, and counted.

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
    folder.check_layout(root)
    table = _located(root, _table(root))
    patients = {str(patient): rows.sort_values("slice") for patient, rows in table.groupby("patient")}
    drawn: dict[str, np.ndarray] = {}
    faults: dict[str, CaseError] = {}
    for name, rows in patients.items():
        try:
            drawn[name] = _drawn(rows, subtypes)
        except CaseError as error:
            faults[name] = error
    given = {name: patients[name][list(LABELS)].to_numpy(np.int8) for name in drawn}
    labels = label_table.together(root, given, drawn, reading.contradictions)
    bare = [name for name, rows in patients.items() if (rows["mask"].isna() & (rows["any"] == 1)).any()]
    if bare:
        number = sum(int((patients[name]["mask"].isna() & (patients[name]["any"] == 1)).sum()) for name in bare)
        say(f"{root / 'masks'}: {number} positive slices of {len(bare)} patients have no mask: {listed(bare)}")
    label_table.say_unknown(root, labels)
    sources = {}
    for name, rows in patients.items():
        files = tuple(path for column in ("image", "mask") for path in rows[column] if isinstance(path, Path))
        said = label_table.as_text(rows.drop(columns=["image", "mask"]))
        if name in faults:
            sources[name] = Source(files, said, partial(refuse, faults[name]))
        elif (known := labels[name][:, 0] >= 0).any():
            read = partial(_case, root, rows[known], labels[name][known], reading)
            sources[name] = Source(files, f"{said} {labels[name].tolist()}", read)
    return Listing(sources)


def _table(root: Path) -> pd.DataFrame:
    """The rows of all tables, each slice once, with the split that their tables' names give."""
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")
    if not tables:
        raise CaseError(root, "holds no .csv table of slice labels")
    frames = []
    for path in tables:
        frame = label_table.once(path, label_table.read(path, COLUMNS), ["patient", "slice"])
        named = [split for key, split in label_table.SPLIT_NAMES.items() if path.stem.lower().startswith(key)]
        frames.append(frame.assign(split=named[0] if named else None, table=path.name))
    table = pd.concat(frames, ignore_index=True)
    splits = {patient: label_table.split_of(root, rows) for patient, rows in table.groupby("patient")}
    table["split"] = table["patient"].map(splits)
    table = table.drop_duplicates(["patient", "slice", *LABELS])
    twice = table[table.duplicated(["patient", "slice"], keep=False)].sort_values(["patient", "slice"])
    if len(twice):
        first, second = twice.iloc[0], twice.iloc[1]
        where = f"{first['table']} line {first[LINE]} and {second['table']} line {second[LINE]}"
        why = f"{where} contradict each other on slice {first['slice']} of {first['patient']}"
        refusals.refuse(CaseError(root, why))
        table = table.drop_duplicates(["patient", "slice"])
    return table


def _located(root: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the file of each slice, and of its mask or None.

    Raises:
        CaseError: a row has no slice, or a mask none.
    """
    images = folder.files(root / "images", ENDINGS)
    masks = folder.files(root / "masks", ENDINGS) if (root / "masks").is_dir() else {}
    names = table["patient"] + "_" + table["slice"].astype(str)
    image_of = matching.match(root / "images", names, images, what="rows of the tables", target="file")
    scan_of = matching.match(root / "masks", masks, images, what="masks", target="slice in images/")
    unused = sorted(images.keys() - image_of.values())
    if unused:
        say(f"{root / 'images'}: {len(unused)} slices stand in no table and are left out: {listed(unused)}")
    number = Counter(scan_of.values())
    twice = [name for name, scan in scan_of.items() if number[scan] > 1]
    if twice:
        refusals.refuse(CaseError(root / "masks", f"several masks are of one slice: {listed(twice)}"))
    mask_of = {scan: masks[name] for name, scan in scan_of.items()}
    stems = names.map(image_of)
    table, stems = table[stems.notna()], stems.dropna()
    return table.assign(image=stems.map(images), mask=stems.map(mask_of).astype(object))


def _drawn(rows: pd.DataFrame, subtypes: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """The labels (n, 6) of a patient's masks; -1 where there is none."""
    found = np.full((len(rows), len(LABELS)), -1, np.int8)
    for at, path in enumerate(rows["mask"]):
        if isinstance(path, Path):
            plane = read_slice(path)[..., None]
            found[at] = cases_.labels_from_mask(cases_.check_mask(path, plane, plane.shape), subtypes, known=True)[0]
    return found


def _case(root: Path, rows: pd.DataFrame, labels: np.ndarray, reading: Reading) -> Case:
    patient, turn = str(rows["patient"].iloc[0]), orientation.turn(reading.axes or AXES)
    planes = [read_slice(path) for path in rows["image"]]
    shape = planes[0].shape
    for path, plane in zip(rows["image"], planes, strict=True):
        if plane.shape != shape:
            raise CaseError(path, f"its shape {plane.shape} is not that of the first slice, {shape}")
    masks = []
    for path in rows["mask"]:
        drawn = isinstance(path, Path)
        empty = np.zeros((*shape, 1), np.uint16)
        masks.append(cases_.check_mask(path, read_slice(path)[..., None], empty.shape) if drawn else empty)
    mask = turn.canonical(np.concatenate(masks, axis=2))
    numbers = turn.numbers(len(rows))
    hu = intensity.to_hu(rows["image"].iloc[0], turn.canonical(np.stack(planes, axis=2)), reading.intensity)
    split = label_table.split_of(root, rows)
    spacing = label_table.spacing_of(root, rows)
    slices = rows["slice"].to_numpy()[numbers]
    return Case(patient, patient, split, hu, mask, labels[numbers], slices, CANONICAL, spacing, stored=turn.codes)


def read_slice(path: Path) -> np.ndarray:
    """One slice or its mask, as it is stored; a pickle in it is not run.

    Raises:
        CaseError: the file is missing, damaged or holds another array.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # no header makes it allocate what is not there
        shape = array.shape
    except Exception as error:  # a damaged file can make a reader fail in any way
        raise CaseError(path, f"cannot be read, copy it again ({first_line(error)})") from None
    if len(shape) != 2:
        raise CaseError(path, f"is not one slice: its shape is {shape}")
    return np.array(array)
