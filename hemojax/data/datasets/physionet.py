"""PhysioNet's CT-ICH 1.3.1 (doi 10.13026/4nae-zg36).

ct_scans/<number>.nii             HU, numbers of three digits: 049 to 058 and 066 to 130
masks/<number>.nii                0 nothing, 255 haemorrhage of any subtype
hemorrhage_diagnosis_raw_ct.csv   PatientNumber (49 for 049), SliceNumber (from 1), Intraventricular, Intraparenchymal,
                                  Subarachnoid, Epidural, Subdural, No_Hemorrhage, Fracture_Yes_No

SliceNumber counts along the file's last axis. Messages about slices count from 0, as records do. Whether all affines of
scans and masks agree is not known here: a mask that does not lie on its scan's grid is refused.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hemojax.data import volume
from hemojax.data.case import CaseError
from hemojax.data.datasets import folder, generic, label_table, mask_files, matching
from hemojax.data.datasets.csv_table import LINE
from hemojax.data.datasets.folder import Place
from hemojax.data.datasets.generic import Found, Tables
from hemojax.data.listing import Listing
from hemojax.data.reading import PLAIN, Reading
from hemojax.errors import listed
from hemojax.progress import say

SCANS, MASKS, TABLE = "ct_scans", "masks", "hemorrhage_diagnosis_raw_ct.csv"
PLACE = Place(
    (SCANS, MASKS, TABLE), ("computed-tomography-images-for-intracranial-hemorrhage-detection-and-segmentation-1.3.1",)
)
OTHERS = ("Patient_demographics.csv", "split_raw_data.py")
"""What lies there too, and is not needed."""
COLUMNS = {
    "patientnumber": "patient",
    "slicenumber": "slice",
    "intraventricular": "IVH",
    "intraparenchymal": "IPH",
    "subarachnoid": "SAH",
    "epidural": "EPH",
    "subdural": "SDH",
    "no_hemorrhage": "none",
}


def cases(root: Path, _: Mapping[str, tuple[int, ...]], reading: Reading = PLAIN) -> Listing:
    """Cases of CT-ICH by name, which is also the patient's; subtypes are those of the table.

    Args:
        root: the folder, or the one that holds the data set's.
        reading: what the files do not say of themselves.

    Raises:
        CaseError: with the path and the reason; what concerns one case alone is raised when it is read.
    """
    home = PLACE.home(root)
    folder.say_unused(home, (*PLACE.needed, *OTHERS))
    images = generic.scans(home / SCANS, strict=True)
    masks = generic.masks_of(home / MASKS, images)
    tables = Tables(_rows(home / TABLE, images, reading), None, home / TABLE)
    return generic.listing(
        Found(home, images, masks, tables), {}, reading, generic.NIFTI._replace(mask=mask_files.binary)
    )


def _rows(path: Path, images: Mapping[str, Path], reading: Reading) -> dict[str, pd.DataFrame]:
    """The rows of each scan, its slices counted from 0."""
    table = label_table.read(path, COLUMNS, needed=("patient", "slice", "none"))
    padded = table["patient"].str.zfill(3)
    table["patient"] = padded.map(matching.match(path, padded, images, "patients"))
    found = {str(name): rows for name, rows in label_table.once(path, table, ["patient", "slice"]).groupby("patient")}
    bare = sorted(images.keys() - found.keys())
    if bare:
        say(f"{path}: {len(bare)} of {len(images)} scans have no row: {listed(bare)}")
    for name, rows in found.items():
        try:
            _, number = volume.order(images[name], reading.axes)
        except CaseError:  # is raised when the scan's turn comes
            continue
        outside = rows[~rows["slice"].between(1, number)]
        if len(outside):
            line, at = outside.iloc[0][[LINE, "slice"]]
            raise CaseError(path, f"line {line}: {name} has slices 1 to {number}, not a slice {at}")
    return {name: rows.assign(slice=rows["slice"] - 1) for name, rows in found.items()}
