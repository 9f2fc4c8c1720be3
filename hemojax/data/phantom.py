"""A synthetic head-CT dataset with all five subtypes of haemorrhage and voxel-exact masks.

Not real anatomy and no substitute for it: it lets every program of the project run, train and be tested without
patient data. Brightness alone does not tell bleeding here (bone, dura, venous sinuses and physiological calcium are
bright too), nor does the level of a slice (bleeds are spread evenly from the posterior fossa to the vertex).
"""

import csv
import gzip
import json
import os
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float32, Int16, UInt8
from scipy import ndimage

from hemojax.data.phantom_anatomy import blend, grow_head
from hemojax.data.phantom_bleeds import SUBTYPES, Bleed, bleed_fraction, effects, plan_bleeds
from hemojax.data.phantom_fields import SUBSLICES, Grid, head_grid, smooth_field, soft
from hemojax.errors import UserError

VERSION = 1  # of the generator: a changed phantom is another dataset
BLEEDING = 0.6  # fraction of the cases with a bleed
SPLITS = {"train": 0.60, "validation": 0.15, "test": 0.25}
SMALLEST_AREA = 12 / 128**2  # of a labelled bleed in a slice, as a fraction of the slice


def make_case(
    seed: int, index: int, size: int, slices: int
) -> tuple[Int16[np.ndarray, "h w s"], UInt8[np.ndarray, "h w s"], tuple[float, float]]:
    """Makes one head CT.

    Args:
        seed: of the dataset.
        index: of the case within the dataset.
        size: pixels on each side of a slice.
        slices: number of slices.

    Returns:
        The volume in HU (first axis: patient's right to left; second: front to back; third: upwards), the mask with
        the integers of `SUBTYPES` (a voxel more than half of which is blood), and (pixel, slice spacing) in mm.
    """
    rng = np.random.default_rng([seed, index])
    grid = head_grid(rng, size, slices)
    bleeds = case_bleeds(rng, seed, index)
    consequences = effects(bleeds, grid)
    anatomy = grow_head(rng, grid, consequences)
    hu = anatomy.hu
    fractions = dict.fromkeys(SUBTYPES, np.float32(0))
    values = []
    for bleed in bleeds:
        blood, oedema = bleed_fraction(rng, bleed, grid, anatomy)
        blend(hu, rng.uniform(18, 24), 0.85 * oedema)
        fractions[bleed.subtype] = blood
        values.append(bleed.hu + bleed.mixed * np.clip(smooth_field(rng, grid, 16), -1.5, 1.5))
    mask, visible = label(fractions, (size, size, slices))
    for bleed, value in zip(bleeds, values, strict=True):
        blend(hu, value, fractions[bleed.subtype] * visible[bleed.subtype])
    volume = scan(rng, average(hu), grid)
    return volume, mask, (grid.pixel, grid.spacing)
