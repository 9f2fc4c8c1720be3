"""One slice of each case on one sheet, with the outline of its mask: what a census looked at."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Real
from matplotlib.figure import Figure

from hemojax.data import orientation
from hemojax.reporting import figures

COLUMNS = 8
TILE_INCHES = 1.7
TITLE_INCHES = 0.25
LONGEST_NAME = 26


class Tile(NamedTuple):
    """A slice in the canonical order, see `orientation`.

    Attributes:
        title: what stands above it.
        hu: Hounsfield units.
        mask: what is outlined.
        aspect: the distance of rows over that of columns.
    """

    title: str
    hu: Real[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    aspect: float


def draw(tiles: Sequence[Tile]) -> Figure:
    """The tiles in rows, in the brain window; anterior is up, the patient's right on the viewer's left."""
    columns = max(1, min(COLUMNS, len(tiles)))
    rows = max(1, math.ceil(len(tiles) / columns))
    height = rows * (TILE_INCHES + TITLE_INCHES)
    figure = figures.new_figure(columns * TILE_INCHES, height, background="black")
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.15})
    figure.subplots_adjust(left=0.002, right=0.998, bottom=0.002, top=1 - TITLE_INCHES / height)
    flips = orientation.flips(orientation.CANONICAL)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, tile in zip(grid.flat, tiles, strict=False):
        ct, mask = (orientation.display(plane, flips) for plane in (tile.hu, tile.mask))
        figures.overlay(axes, ct, None, aspect=1 / tile.aspect if flips.transpose else tile.aspect)
        figures.outline(axes, mask, figures.TRUE_COLOUR, 0.8)
        title = tile.title if len(tile.title) <= LONGEST_NAME else f"{tile.title[: LONGEST_NAME - 3]}..."
        axes.set_title(title, fontsize=5, color="white", pad=2, parse_math=False)
        axes.text(0.01, 0.5, flips.left, transform=axes.transAxes, color="white", fontsize=5, va="center")
    return figure
