"""How a slice of an array is turned to be looked at."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped


class Flips(NamedTuple):
    """How a slice (first two array axes) becomes a picture: transposed first, then rows and columns reversed.

    `left` is the letter of the body's side that comes to lie on the viewer's left: R, or A on a sagittal slice.
    """

    transpose: bool
    rows: bool
    columns: bool
    left: str


def flips(axes: Sequence[str]) -> Flips:
    """The turn that puts anterior up and the patient's right on the viewer's left.

    For slices that are not axial, superior is up, and anterior is on the left of a sagittal slice.

    Args:
      axes: towards which side of the body the index of each axis grows, as `nibabel.aff2axcodes` gives it.
    """
    rank = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
    codes = tuple(axes[:2])
    transpose = rank[codes[0]] < rank[codes[1]]
    down, across = codes[::-1] if transpose else codes
    # A code names the end towards which the index grows; on a picture it grows down and to the viewer's right.
    return Flips(transpose, rows=down in "RAS", columns=across in "RAS", left="R" if across in "RL" else "A")


def display(slice_2d: Shaped[np.ndarray, "h w"], flips: Flips) -> Shaped[np.ndarray, "rows columns"]:
    """A slice of the array turned into rows (from the top) and columns (from the left) of a picture."""
    turned = slice_2d.T if flips.transpose else slice_2d
    return turned[:: -1 if flips.rows else 1, :: -1 if flips.columns else 1]
