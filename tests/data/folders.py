"""Small data sets on disk for the tests of this folder."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

AFFINE = np.array([[-0.5, 0, 0, 60], [0, 0.5, 0, -70], [0, 0, 5, 3], [0, 0, 0, 1]])


def volumes(rng: np.random.Generator, size: int = 24, slices: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """HU and mask of a scan with blood (mask 2) in slices 1 and 2, and air at the border."""
    hu = np.full((size, size, slices), -1000, np.int16)
    hu[2:-2, 2:-2] = rng.integers(0, 60, (size - 4, size - 4, slices))
    mask = np.zeros(hu.shape, np.uint8)
    mask[5:9, 6:12, 1:3] = 2
    return hu, mask


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def generic(root: Path, cases: int = 9, clean: tuple[int, ...] = ()) -> Path:
    """A data set in the generic layout without slices.csv; the cases in `clean` have no blood."""
    rng = np.random.default_rng(0)
    for n in range(cases):
        hu, mask = volumes(rng)
        save(root / "images" / f"p{n}.nii.gz", hu)
        save(root / "masks" / f"p{n}.nii.gz", mask * (n not in clean))
    return root


def hemorica(root: Path) -> Path:
    """A data set in the Hemorica layout: two patients, one of them without a mask file, in two tables."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for patient, table in (("ann", "train.csv"), ("bob", "val.csv")):
        for number in (3, 4):
            plane = np.pad(rng.integers(0, 60, (12, 12)), 2, constant_values=-1000)
            np.save(root / "images" / f"{patient}_{number}.npy", plane.astype(np.float32))
        rows = {"patient_name": patient, "slice_number": [3, 4], "hemorrhage_binary": [1, 0], "ICH": ["True", "0"]}
        pd.DataFrame(rows).to_csv(root / table, index=False)
    mask = np.zeros((16, 16))
    mask[2:5, 3:9] = 1
    np.save(root / "masks" / "ann_3.npy", mask)
    return root
