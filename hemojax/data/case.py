"""One scan of one patient, checked."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int, Int8, Int16, Shaped, UInt16

from hemojax.data.labels import LABELS
from hemojax.errors import UserError

BOXED = 256
"""Added to the mask's integers inside the boxes that an expert drew; as a mask target it stands for these boxes."""

SPLITS = ("train", "validation", "test")

MOST_DRAWN = 0.5
"""Share of a mask's pixels; where more are drawn, the background is."""


class CaseError(UserError):
    """A scan that cannot be used: its path, the reason, and what to do."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type["CaseError"], tuple[Path, str]]:
        """So that another process can be sent it."""
        return CaseError, (self.path, self.reason)


@dataclasses.dataclass(frozen=True)
class Case:
    """A scan as every later step sees it.

    Attributes:
        name: unique in the data set.
        patient: splits never separate two cases of one patient.
        split: one of SPLITS, or None where the data set does not say.
        hu: the volume in HU, in the canonical orientation (`data.orientation`): slices on the last axis.
        mask: integers of the expert's mask, 0 elsewhere; all 0 where nothing was drawn. Inside an expert's box BOXED is
            added.
        labels: a row a slice, columns as in LABELS.
        slices: the scan's own number of each slice (0-based); falling where its file begins at the head.
        axes: towards which side of the body the index of each axis grows, as nibabel's codes: "LPS".
        spacing: distance of neighbouring voxels along each axis, mm; NaN where the data set does not say.
        cosines: of the angles between the first axis and the second, the first and the slices' numbers, the second and
            the slices' numbers; not 0 where the gantry was tilted.
        stored: the order of its file, likewise; "" where nobody says it.
    """

    name: str
    patient: str
    split: str | None
    hu: Int16[np.ndarray, "h w n"]
    mask: UInt16[np.ndarray, "h w n"]
    labels: Int8[np.ndarray, "n 6"]
    slices: np.ndarray
    axes: str
    spacing: tuple[float, float, float]
    cosines: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stored: str = ""

    @property
    def heights(self) -> Float64[np.ndarray, " n"]:
        """Where each slice lies in the scan by its number: 0 at the feet's end and 1 at the other."""
        last = int(self.slices.max())
        return (self.slices if self.slices[0] <= self.slices[-1] else last - self.slices) / max(last, 1)


def check_mask(path: Path, array: Shaped[np.ndarray, "h w n"], shape: tuple[int, ...]) -> UInt16[np.ndarray, "h w n"]:
    """The mask's integers.

    Raises:
        CaseError: another shape than the scan's, values that are no integers from 0 to 255, or a drawn background.
    """
    if array.shape != shape:
        raise CaseError(path, f"the mask's shape {array.shape} is not the scan's {shape}")
    if array.dtype.kind not in "biuf":
        raise CaseError(path, "the mask is in colour or no picture; write integers from 0 to 255")
    odd = array[~((array >= 0) & (array <= 255) & (array % 1 == 0))] if array.dtype != np.uint8 else array[:0]
    if odd.size:
        raise CaseError(path, f"the mask holds {odd[0]:g}; write integers from 0 to 255, 0 where nothing is drawn")
    drawn = np.count_nonzero(array)
    if drawn > MOST_DRAWN * array.size:
        share = f"{100 * drawn / array.size:.0f} % of the mask"
        raise CaseError(path, f"{share} is drawn, more than a haemorrhage can be; write 0 where there is none")
    return array.astype(np.uint16)


def add_boxes(
    path: Path, mask: UInt16[np.ndarray, "h w n"], boxes: Int[np.ndarray, "boxes 5"]
) -> UInt16[np.ndarray, "h w n"]:
    """The mask with BOXED added inside the boxes.

    Args:
        path: of the boxes, for the message.
        mask: the mask's integers.
        boxes: slice, i0, j0, i1, j1: indices into the scan's array, the upper ends exclusive.

    Raises:
        CaseError: a box lies outside of the scan or is empty.
    """
    boxed = np.zeros(mask.shape, np.uint16)
    height, width, slices = mask.shape
    for n, i0, j0, i1, j1 in boxes.tolist():
        if not (0 <= n < slices and 0 <= i0 < i1 <= height and 0 <= j0 < j1 <= width):
            raise CaseError(path, f"the box {i0}, {j0}, {i1}, {j1} of slice {n} is not inside a scan of {mask.shape}")
        boxed[i0:i1, j0:j1, n] = BOXED
    return mask + boxed


def drawn_in(mask: UInt16[np.ndarray, "*shape"]) -> list[int]:
    """The integers drawn in a mask, and BOXED if a box is."""
    found = np.unique(mask)
    return sorted({int(n) % BOXED for n in found} - {0} | ({BOXED} if (found >= BOXED).any() else set()))


def chief_target(masks: Mapping[str, Sequence[int]]) -> str:
    """Of the mask targets the first that is not boxes alone, or the first: what is meant where nobody names one."""
    return next((name for name, values in masks.items() if tuple(values) != (BOXED,)), next(iter(masks)))


def in_target(mask: UInt16[np.ndarray, "*shape"], values: tuple[int, ...]) -> Bool[np.ndarray, "*shape"]:
    """Where a mask has one of these integers; BOXED among them stands for the inside of boxes."""
    inside = np.isin(mask % BOXED, [value for value in values if value != BOXED])
    return inside | (mask >= BOXED) if BOXED in values else inside


def labels_from_mask(
    mask: UInt16[np.ndarray, "h w n"], subtypes: Mapping[str, tuple[int, ...]], known: bool
) -> Int8[np.ndarray, "n 6"]:
    """Slice labels where no table gives them: a slice is positive if anything is drawn in it.

    Args:
        mask: integers of the mask.
        subtypes: the mask integers of each subtype; the others stay unknown.
        known: whether an expert drew a mask for this scan at all.
    """
    labels = np.full((mask.shape[2], len(LABELS)), -1, np.int8)
    if known:
        labels[:, 0] = (mask > 0).any(axis=(0, 1))
        for name, values in subtypes.items():
            labels[:, LABELS.index(name)] = np.isin(mask, values).any(axis=(0, 1))
    return labels
