"""The figure of slices with and without their bleed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped
from matplotlib.figure import Figure

from hemojax.reporting import figures

REMOVAL = ("before", "surroundings", "other side", "mask", "case", "slice")


def removal_gallery(arrays: Mapping[str, Shaped[np.ndarray, "..."]], mask: str) -> Figure:
    """Slices as they are, and with the bleed filled in both ways, a row each.

    Args:
        arrays: what `removal.npz` holds, see REMOVAL: (n, h, w) uint8 images turned for display; (n,) names.
        mask: the mask target to draw; it has a slice.
    """
    chosen = np.flatnonzero(arrays["mask"] == mask)
    columns = {
        "before": "as it is",
        "surroundings": "filled from its surroundings",
        "other side": "mirrored other side",
    }
    tile, caption, header = figures.TILE_INCHES, figures.CAPTION_INCHES, 0.5
    width, height = caption + tile * len(columns), len(chosen) * tile + header
    figure = figures.new_figure(width, height)
    grid = figure.subplots(len(chosen), len(columns), squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    figure.subplots_adjust(left=caption / width, right=0.998, bottom=0.01, top=1 - header / height)
    for axes, name in zip(grid[0], columns.values(), strict=True):
        axes.set_title(name, fontsize=8, pad=3)
    for row, index in zip(grid, chosen, strict=True):
        top, left, side = figures.square(arrays["before"][index])
        for axes, name in zip(row, columns, strict=True):
            figures.overlay(axes, arrays[name][index], None, window=(0.0, 255.0))
            axes.set_xlim(left - 0.5, left + side - 0.5)
            axes.set_ylim(top + side - 0.5, top - 0.5)
        words = f"case {arrays['case'][index]}\nslice {arrays['slice'][index]}"
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8, "parse_math": False}
        row[0].text(-0.04, 0.5, words, transform=row[0].transAxes, **style)
    figure.text(0.01, 1 - 0.08 / height, f"Without the {mask}", fontsize=10, weight="bold", va="top")
    return figure
