"""A synthetic head-CT dataset with all five subtypes of haemorrhage and voxel-exact masks.

Not real anatomy and no substitute for it: it lets every program of the project run, train and be tested without
patient data. Brightness alone does not tell bleeding here (bone, dura, venous sinuses and physiological calcium are
bright too), nor does the level of a slice (bleeds are spread evenly from the posterior fossa to the vertex).
"""

import csv
import gzip
import json
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float32, Int16, UInt8
from scipy import ndimage

from hemojax.data.phantom.anatomy import grow_head
from hemojax.data.phantom.bleeds import bleed_fraction, effects
from hemojax.data.phantom.fields import SUBSLICES, Grid, blend, head_grid, smooth_field, soft
from hemojax.data.phantom.plans import SUBTYPES, Bleed, plan_bleeds
from hemojax.errors import UserError

VERSION = 1  # of the generator: a changed phantom is another dataset
BLEEDING = 0.6  # fraction of the cases with a bleed
SPLITS = {"train": 0.60, "validation": 0.15, "test": 0.25}
SMALLEST_AREA = 36 / 128**2  # of a slice: less blood of one subtype is not drawn at all
PARAMETERS_FILE = "phantom.json"


class PhantomCase(NamedTuple):
    """One head CT.

    Attributes:
        volume: HU; first axis from the patient's right to left, second from front to back, third upwards.
        mask: integers of `SUBTYPES` where more than half of a voxel is blood that the skull does not outshine.
        pixel: side of a pixel, mm.
        spacing: distance between slices, mm.
    """

    volume: Int16[np.ndarray, "h w s"]
    mask: UInt8[np.ndarray, "h w s"]
    pixel: float
    spacing: float


def make_case(seed: int, index: int, size: int, slices: int) -> PhantomCase:
    """Makes one head CT.

    Args:
        seed: of the dataset.
        index: of the case within the dataset.
        size: pixels on each side of a slice.
        slices: number of slices.

    Returns:
        The scan and its mask; the same arguments give the same case.
    """
    rng = np.random.default_rng([seed, index])
    grid = head_grid(rng, size, slices)
    bleeds = case_bleeds(rng, seed, index)
    push, efface, fill, dilate = effects(bleeds, grid)
    anatomy = grow_head(rng, grid, push, efface, fill, dilate=dilate)
    hu = anatomy.hu
    fractions, values = {}, {}
    for bleed in bleeds:
        blood, oedema = bleed_fraction(rng, bleed, grid, anatomy)
        blend(hu, rng.uniform(18, 24), 0.85 * oedema)
        fractions[bleed.subtype] = blood
        values[bleed.subtype] = bleed.hu + bleed.mixed * np.clip(smooth_field(rng, grid, 16), -1.5, 1.5)
    clear = slice_average(anatomy.depth) > grid.pixel
    mask = label(fractions, clear)
    for subtype, blood in fractions.items():
        blend(hu, values[subtype], blood)
    return PhantomCase(scan(rng, slice_average(hu), grid), mask, grid.pixel, grid.spacing)


def case_bleeds(rng: np.random.Generator, seed: int, index: int) -> list[Bleed]:
    """The bleeds of a case, none for two cases of five.

    Whether a case bleeds, at which level and of which subtype come from a three-dimensional additive recurrence
    (Roberts' R3 sequence), which is more even over few cases than independent draws.
    """
    start = np.random.default_rng(seed).random(3)
    plastic = 1.2207440846057596  # the real root of t**4 = t + 1
    bleeding, level, choice = (start + (index + 1) * plastic ** -np.arange(1.0, 4.0)) % 1
    if bleeding >= BLEEDING:
        return []
    return plan_bleeds(rng, -60 + 142 * level, choice)


def slice_average(planes: Float32[np.ndarray, "h w p"]) -> Float32[np.ndarray, "h w s"]:
    """Averages the planes within each slice's thickness."""
    return planes.reshape(*planes.shape[:2], -1, SUBSLICES).mean(axis=3)


def label(
    fractions: dict[str, Float32[np.ndarray, "h w p"]], clear: Bool[np.ndarray, "h w s"]
) -> UInt8[np.ndarray, "h w s"]:
    """Draws the mask, and removes from `fractions` (in place) the blood of slices where it is too little to see.

    Args:
        fractions: by subtype, the fraction of blood in each voxel.
        clear: where the skull's blur does not hide blood.

    Returns:
        The mask: where blood is more than half of a clear voxel, the subtype that has most of it.
    """
    mask = np.zeros(clear.shape, np.uint8)
    if not fractions:
        return mask
    names = list(fractions)
    blood = np.stack([slice_average(fractions[name]) for name in names])
    subtype = np.where(clear & (blood.sum(0) > 0.5), blood.argmax(0), -1)
    reach = np.ones((5, 5, 1), bool)
    for number, name in enumerate(names):
        here = subtype == number
        here &= here.sum((0, 1)) >= SMALLEST_AREA * here[:, :, 0].size
        mask[here] = SUBTYPES[name]
        # A faint haze of partial volume stays only beside labelled blood.
        fractions[name] = fractions[name] * np.repeat(ndimage.binary_dilation(here, reach), SUBSLICES, axis=2)
    return mask


def scan(rng: np.random.Generator, hu: Float32[np.ndarray, "h w s"], grid: Grid) -> Int16[np.ndarray, "h w s"]:
    """What a scanner makes of the tissue: point spread, beam hardening, streaks, noise, and a head holder."""
    middle = slice(SUBSLICES // 2, None, SUBSLICES)
    x, a, z = grid.x[:, :, middle], grid.a[:, :, middle], grid.z[:, :, middle]
    if rng.random() < 0.7:
        radius, thickness = rng.uniform(104, 116), rng.uniform(1.0, 2.5)
        arm = thickness - np.abs(np.hypot(x, np.minimum(a + rng.uniform(0, 8), 0)) - radius)
        arm = soft(np.minimum(arm, rng.uniform(-40, 30) - a), grid.pixel) * (hu < -900)
        blend(hu, rng.uniform(-100, 400), arm)
    blur = rng.uniform(0.75, 1.1) / grid.pixel
    hu = ndimage.gaussian_filter(hu, (blur, blur, 0))

    low = np.exp(-np.square((z + 32) / 12))  # the level of the petrous bones
    band = np.exp(-np.square((a + 4) / 9)) * (np.abs(x) < 45)
    angle = rng.uniform(-0.6, 0.6)
    across = np.float32(np.cos(angle)) * a - np.float32(np.sin(angle)) * x
    streaks = np.sin(across * rng.uniform(0.35, 0.6) + rng.uniform(0, 6)) * np.sin(across * 0.13)
    hu += low * (rng.uniform(-7, 0) * band + rng.uniform(0.5, 3.0) * streaks)

    noise = rng.standard_normal(hu.shape, np.float32)
    kernel = max(rng.uniform(1.0, 1.5) / grid.pixel, 0.5)
    noise = ndimage.gaussian_filter(noise, (kernel, kernel, 0))
    hu += noise * (rng.uniform(1.4, 2.6) / noise.std()) * (1 + 0.5 * low)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def split_cases(main_subtypes: list[int], seed: int) -> list[str]:
    """Assigns every case to train, validation or test, evenly over bleeding and clean cases and over subtypes.

    Args:
        main_subtypes: for each case the integer of its largest bleed, 0 if it has none.
        seed: of the dataset.

    Returns:
        The split of each case.
    """
    rng = np.random.default_rng([seed, len(main_subtypes)])
    subtypes = np.asarray(main_subtypes)
    tie = rng.permutation(len(subtypes))
    splits = np.full(len(subtypes), "train", dtype=object)
    for stratum in (subtypes > 0, subtypes == 0):
        cases = np.flatnonzero(stratum)
        cases = cases[np.lexsort((tie[cases], subtypes[cases]))]
        least = min(1, len(cases) // 3)
        counts = {name: max(least, round(share * len(cases))) for name, share in SPLITS.items()}
        counts["train"] = len(cases) - counts["validation"] - counts["test"]
        # Each split takes evenly spaced places in the order of subtypes.
        places = [((k + 0.5) / count, name) for name, count in counts.items() for k in range(count)]
        splits[cases] = [name for _, name in sorted(places)]
    return splits.tolist()


def write_phantom(root: Path, *, cases: int, size: int, slices: int, seed: int) -> None:
    """Writes a phantom dataset in the generic layout, or does nothing where the same one is already complete.

    `root` gets `images/<case>.nii.gz` (int16 HU), `masks/<case>.nii.gz` (uint8, `SUBTYPES`), `slices.csv` and
    `phantom.json`. The files depend on the arguments only, to the byte; `root` appears when all are written.

    Args:
        root: the dataset's folder, which must not exist, be empty, or hold a phantom.
        cases: number of cases.
        size: pixels on each side of a slice.
        slices: slices a case.
        seed: of the dataset.

    Raises:
        UserError: if `root` holds something else, or a number is too small.
    """
    if cases < 1 or slices < 1 or size < 32:
        raise UserError(f"phantom: needs cases >= 1, slices >= 1 and size >= 32, not {cases}, {slices} and {size}")
    parameters = {"version": VERSION, "cases": cases, "size": size, "slices": slices, "seed": seed}
    if root.is_dir() and any(root.iterdir()):
        if not (root / PARAMETERS_FILE).is_file():
            raise UserError(f"{root}: is not empty and not a phantom; give another folder for the phantom")
        if json.loads((root / PARAMETERS_FILE).read_text()) == parameters:
            return
    root.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        fill(building, parameters)
        building.chmod(0o755)
        if root.is_dir():
            shutil.rmtree(root)
        building.rename(root)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def fill(folder: Path, parameters: dict[str, int]) -> None:
    """Writes all files of a phantom into an existing folder."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    present, main_subtypes = [], []
    for index in range(parameters["cases"]):
        case = make_case(parameters["seed"], index, parameters["size"], parameters["slices"])
        affine = np.diag([-case.pixel, -case.pixel, case.spacing, 1.0])
        affine[:2, 3] = case.pixel * (parameters["size"] - 1) / 2
        save_nifti(folder / "images" / f"{case_name(index)}.nii.gz", case.volume, affine)
        save_nifti(folder / "masks" / f"{case_name(index)}.nii.gz", case.mask, affine)
        present.append({name: (case.mask == value).any((0, 1)) for name, value in SUBTYPES.items()})
        sizes = np.bincount(case.mask.ravel(), minlength=6)[1:]
        main_subtypes.append(int(sizes.argmax() + 1) if sizes.any() else 0)
    splits = split_cases(main_subtypes, parameters["seed"])
    columns = tuple(SUBTYPES)
    with (folder / "slices.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("patient", "slice", "hemorrhage_binary", *columns, "split"))
        for index, subtypes in enumerate(present):
            for number in range(parameters["slices"]):
                flags = [int(subtypes[name][number]) for name in columns]
                writer.writerow((case_name(index), number, max(flags), *flags, splits[index]))
    (folder / PARAMETERS_FILE).write_text(json.dumps(parameters, indent=2) + "\n")


def case_name(index: int) -> str:
    """The name of a case: `phantom-0007`."""
    return f"phantom-{index:04d}"


def save_nifti(path: Path, array: Int16[np.ndarray, "h w s"] | UInt8[np.ndarray, "h w s"], affine: np.ndarray) -> None:
    """Writes a gzipped NIfTI file without a time stamp, so that equal content is equal bytes."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=3, mtime=0))
