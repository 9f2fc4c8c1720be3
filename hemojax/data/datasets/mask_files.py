"""How a mask's file is read, which in published data sets is not always integers of subtypes on its scan's grid."""

import dataclasses
from pathlib import Path

import numpy as np

from hemojax.data import volume
from hemojax.data.case import CaseError
from hemojax.data.volume import Volume

BLOOD = 1
"""The integer of a mask that tells no subtypes apart."""


def alone(mask: Path, _: Path, axes: str) -> Volume:
    """A mask as its own file says."""
    return volume.read(mask, axes)


def voxel_by_voxel(mask: Path, scan: Path, axes: str) -> Volume:
    """A mask whose affine may be wrong, and whose voxels are its scan's; see `volume.read_like`."""
    return volume.read_like(mask, scan, axes)


def binary(mask: Path, _: Path, axes: str) -> Volume:
    """A mask of two values, of which the one that is not 0 becomes BLOOD: 1 and 255 mean the same.

    Raises:
        CaseError: it has other values, or see `volume.read`.
    """
    found = volume.read(mask, axes)
    if found.array.dtype.kind not in "biuf":
        raise CaseError(mask, "is in colour or no picture; 0 and one other value were expected")
    nothing, drawn = found.array == 0, np.rint(found.array.max())
    if not (nothing | ((np.rint(found.array) == drawn) & (drawn >= 1))).all():
        values = np.unique(found.array)
        shown = ", ".join(f"{value:g}" for value in values[:5])
        raise CaseError(mask, f"holds {shown}{', ...' if len(values) > 5 else ''}; 0 and one other value were expected")
    return dataclasses.replace(found, array=np.where(nothing, np.uint8(0), np.uint8(BLOOD)))
