"""How arrays are turned: a volume from the order of its file to the canonical one, a slice to be looked at.

An order is written as nibabel's codes: towards which side of the body the index of each axis grows.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

CANONICAL = "LPS"
"""The order in which every volume is looked at: slices on the last axis, from the feet to the head."""

ORDERS = tuple(
    "".join(codes) for sides in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*sides)
)
"""The 48 orders in which a volume can be stored."""


class Turn(NamedTuple):
    """Between the order of a file and the canonical one; no value changes.

    A file's slices are those across the axis of the body, whichever of its array's axes that is. They have the numbers
    that they have in the file, and their pixels the indices of the two other axes, in the file's order.

    Attributes:
        axes: which axis of the file's array becomes the first, second and last.
        reversed: of these, which run the other way.
    """

    axes: tuple[int, int, int]
    reversed: tuple[bool, bool, bool]

    def canonical(self, stored: Shaped[np.ndarray, "_ _ _"]) -> Shaped[np.ndarray, "h w n"]:
        """A file's array in the canonical order."""
        return stored.transpose(self.axes)[self._steps()]

    def stored(self, canonical: Shaped[np.ndarray, "h w n"]) -> Shaped[np.ndarray, "_ _ _"]:
        """An array in the canonical order as the file has it."""
        return canonical[self._steps()].transpose(np.argsort(self.axes))

    def slices_last(self, stored: Shaped[np.ndarray, "_ _ _"]) -> Shaped[np.ndarray, "_ _ _"]:
        """A file's array with its slices on the last axis, and its other axes in their order."""
        return stored.transpose(self.order_slices_last())

    def order_slices_last(self) -> list[int]:
        """The axes of a file's array, with that of the slices at the end."""
        return [*sorted(self.axes[:2]), self.axes[2]]

    def numbers(self, slices: int) -> Int[np.ndarray, " n"]:
        """The number in the file of each slice of the canonical order, of so many; and the other way round."""
        return np.arange(slices)[:: -1 if self.reversed[2] else 1]

    def affine(self, stored: Float[np.ndarray, "4 4"], shape: Sequence[int]) -> Float[np.ndarray, "4 4"]:
        """The canonical array's affine, given that of a file's array of this shape."""
        turned = np.eye(4)
        turned[:3, 3] = stored[:3, 3]
        for to, (axis, other_way) in enumerate(zip(self.axes, self.reversed, strict=True)):
            step = stored[:3, axis]
            turned[:3, to] = -step if other_way else step
            turned[:3, 3] += (shape[axis] - 1) * step if other_way else 0
        return turned

    @property
    def codes(self) -> str:
        """The order of the file, see `turn`."""
        towards = [("LPS", "RAI")[other_way][n] for n, other_way in enumerate(self.reversed)]
        return "".join(towards[self.axes.index(axis)] for axis in range(3))

    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if other_way else 1) for other_way in self.reversed)


def turn(codes: Sequence[str]) -> Turn:
    """From an order, one of ORDERS, to the canonical one."""
    sides = {"R": "L", "A": "P", "I": "S"}
    axes = [sides.get(code, code) for code in codes]
    i, j, k = (axes.index(code) for code in CANONICAL)
    return Turn((i, j, k), (codes[i] in sides, codes[j] in sides, codes[k] in sides))


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
