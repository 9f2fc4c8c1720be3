"""Tiny copies of published data sets, with the names, tables and oddities that theirs have."""

from pathlib import Path

import numpy as np
import pandas as pd
from data import dicom_folders
from data.folders import AFFINE, save, volumes
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from hemojax.data.dicom import headers

PHYSIONET = "hemorrhage_diagnosis_raw_ct.csv"
BHSD = ("ID_02b882cc_ID_a4892e60ae", "ID_2db7ee14_ID_2591d00dfc", "ID_2db7ee14_ID_f27e38fdfd")
"""Two patients, the second with two studies."""
RSNA = {"ID_0c1": ("ID_eeaf99e7", "ID_aa01", "ID_ab01"), "ID_0c2": ("ID_eeaf99e7", "ID_aa02", "ID_ab02")}
"""Studies with patient, series, and the beginning of their images' IDs."""
WORDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")


def junk(folder: Path, name: str) -> None:
    """What macOS puts beside a file in an archive."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"._{name}").write_bytes(b"\x00\x05\x16\x07")


def bhsd(root: Path) -> Path:
    """Three scans; the second one's mask has an affine of its own, turned the other way."""
    rng = np.random.default_rng(0)
    for n, name in enumerate(BHSD):
        hu, mask = volumes(rng)
        home = root / "label_192"
        save(home / "images" / f"{name}.nii.gz", hu)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE if n == 1 else AFFINE
        save(home / "ground truths" / f"{name}.nii.gz", mask + (mask > 0) * np.uint8(n), affine)
        junk(home / "ground truths", f"{name}.nii.gz")
        junk(root / "__MACOSX" / "label_192" / "ground truths", f"{name}.nii.gz")
    return root


def physionet(root: Path) -> Path:
    """Patients 049, with blood in slices 2 and 3 of 1 to 4, and 066 without."""
    rng = np.random.default_rng(0)
    rows = []
    for number, subtype in ((49, "Intraventricular"), (66, "")):
        hu, mask = volumes(rng)
        save(root / "ct_scans" / f"{number:03d}.nii", hu)
        save(root / "masks" / f"{number:03d}.nii", (mask > 0) * np.uint8(255 if subtype else 0))
        for at in range(1, 5):
            there = int(subtype != "" and at in (2, 3))
            names = ("Intraventricular", "Intraparenchymal", "Subarachnoid", "Epidural", "Subdural")
            row = {"PatientNumber": number, "SliceNumber": at} | {name: there * (name == subtype) for name in names}
            rows.append(row | {"No_Hemorrhage": 1 - there, "Fracture_Yes_No": 0})
    pd.DataFrame(rows).to_csv(root / PHYSIONET, index=False)
    (root / "Patient_demographics.csv").write_text("Patient Number,Age,Gender,Hemorrhage type,,,,,\n,,,IVH,IPH,,,,\n")
    (root / "SHA256SUMS.txt").write_text("")
    return root


def instance(root: Path) -> Path:
    """Two scans of train_2, numbered from 001."""
    rng = np.random.default_rng(0)
    for number in (1, 2):
        hu, mask = volumes(rng)
        save(root / "train_2" / "data" / f"{number:03d}.nii.gz", hu)
        save(root / "train_2" / "label" / f"{number:03d}.nii.gz", (mask > 0).astype(np.uint8))
    return root


def seg_cq500(root: Path) -> Path:
    """Two scans, the second with the shear of a tilted gantry; a folder that is in no row, and macOS's files."""
    rng = np.random.default_rng(0)
    home, rows = root / "Seg-CQ500" / "data" / "volumes", []
    for n, name in enumerate(("CQ500-CT-20", "CQ500-CT-243")):
        hu, mask = volumes(rng)
        affine = AFFINE.copy()
        affine[1, 2] = n * 0.4
        save(home / name / "CT.nii", hu, affine)
        save(home / name / "ICH_mask.nii.gz", (mask > 0).astype(np.uint8), affine)
        save(home / name / "brain.nii.gz", (hu > 0).astype(np.uint8), affine)
        rows.append({"name": name, "CT_fn": f"volumes/{name}/CT.nii", "mask_fn": f"volumes/{name}/ICH_mask.nii.gz"})
        junk(root / "__MACOSX" / "Seg-CQ500" / "data" / "volumes" / name, "CT.nii")
        junk(home / name, "CT.nii")
    (home / "CQ500-CT-61").mkdir()
    pd.DataFrame(rows).assign(ICH=0.98, IPH=0.1, MassEffect=0.99).to_csv(home / "info.csv", index=False)
    return root


def rsna(root: Path) -> Path:
    """Two studies of one patient, of four slices each: in the first the third slice bleeds, in the second none."""
    rows = []
    for n, (study, (patient, series, begin)) in enumerate(RSNA.items()):
        for at, plane in enumerate(dicom_folders.hu(4, seed=n)):
            # Names do not follow the slices.
            image = f"{begin}{(3 * at + 1) % 4}"
            tags = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "PatientID": patient}
            rsna_image(root / "stage_2_train" / f"{image}.dcm", plane, number=at, **tags)
            bleeds = int(n == 0 and at == 2)
            rows += [(f"{image}_{word}", bleeds * (word in ("subdural", "any"))) for word in WORDS]
    rows += rows[:6]  # as some stand there twice
    pd.DataFrame(rows, columns=["ID", "Label"]).to_csv(root / "stage_2_train.csv", index=False)
    pd.DataFrame({"ID": ["ID_0f_any"], "Label": [0.5]}).to_csv(root / "stage_2_sample_submission.csv", index=False)
    return root


@headers.quiet()
def rsna_image(path: Path, hu: np.ndarray, *, number: int, signed: bool = True, **tags: object) -> None:
    """A file with the few elements that RSNA's have; not signed: 12 bits that should be, and an intercept of 0."""
    stored = hu + 1024 if signed else hu % 4096
    source = dicom_folders.image(stored.astype(np.uint16), series="x", number=number + 1, **tags)
    dataset = Dataset()
    kept = (
        *("Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "ImagePositionPatient"),
        *("ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "PixelSpacing"),
        *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
        "PixelData",
    )
    for keyword in kept:
        dataset[keyword] = source[keyword]
    dataset.SOPInstanceUID, dataset.StudyID = path.stem, ""
    if not signed:
        dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 12, 11, 0
    dataset.file_meta, dataset.preamble = FileMetaDataset(), b"\0" * 128
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)
