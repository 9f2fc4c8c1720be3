"""Figures of the report and of a scan, as matplotlib Figures made without pyplot, so that no state is shared.

A slice is drawn as in radiology: anterior up, the patient's right on the viewer's left. The true mask is outlined in
green, the predicted one in cyan, predicted boxes are dashed, and a heat map lies over the CT in `HEAT_COLOURS`, clear
where it is 0.
"""

import math
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real, Shaped
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy import ndimage
from skimage import measure

from hemojax.files import replacing

DPI = 150
BRAIN_WINDOW = (0.0, 80.0)
HEAT_COLOURS = "inferno"
TRUE_COLOUR = "#2ee66b"
PREDICTED_COLOUR = "#35d0ff"
GALLERY = ("ct", "truth", "heat", "threshold", "dice", "kind", "mask", "case", "slice", "method", "stage")
KINDS = ("typical", "best", "worst")
TILE_INCHES, CAPTION_INCHES, HEADER_INCHES = 1.75, 1.3, 0.68
_CELL: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
_CAPTION: dict[str, Any] = {"ha": "right", "fontsize": 8, "parse_math": False}


def write_figure(path: Path, figure: Figure) -> None:
    """Writes a PNG; the same figure gives the same bytes."""
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of a script that the font does not have, in the name of a case
        figure.savefig(temporary, dpi=DPI, facecolor=figure.get_facecolor(), metadata={"Software": None})


def new_figure(width: float, height: float, background: str = "white") -> Figure:
    """An empty figure of that size in inches on the Agg canvas."""
    figure = Figure(figsize=(width, height), facecolor=background)
    FigureCanvasAgg(figure)
    return figure


def overlay(
    axes: Axes,
    ct: Real[np.ndarray, "rows columns"],
    heat: Float[np.ndarray, "rows columns"] | None,
    *,
    window: tuple[float, float] = BRAIN_WINDOW,
    aspect: float = 1.0,
) -> None:
    """Draws a CT slice in a window and, over it, a heat map in [0, 1] that is clear at 0 and half opaque at 1.

    Args:
      axes: where to.
      ct: values in the unit of `window`.
      heat: the map, or None.
      window: values drawn black and white.
      aspect: height of a pixel over its width.
    """
    axes.set_axis_off()
    axes.imshow(ct, cmap="gray", vmin=window[0], vmax=window[1], aspect=aspect, interpolation="antialiased")
    if heat is not None:
        alpha = 0.5 * np.sqrt(np.clip(heat, 0, 1))
        axes.imshow(heat, cmap=HEAT_COLOURS, vmin=0, vmax=1, alpha=alpha, aspect=aspect, interpolation="antialiased")


def outline(axes: Axes, mask: Bool[np.ndarray, "rows columns"], colour: str, width: float = 1.0) -> None:
    """Draws the border of a mask."""
    for line in measure.find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        axes.plot(line[:, 1] - 1, line[:, 0] - 1, color=colour, linewidth=width, solid_joinstyle="round")


def boxes(axes: Axes, mask: Bool[np.ndarray, "rows columns"], colour: str) -> None:
    """Draws one dashed box around each 8-connected component of a mask."""
    for region in measure.regionprops(measure.label(mask, connectivity=2)):
        top, left, bottom, right = region.bbox
        corner = (left - 0.5, top - 0.5)
        style: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": 0.9, "linestyle": (0, (3, 2))}
        axes.add_patch(Rectangle(corner, right - left, bottom - top, **style))


def head_window(hu: Real[np.ndarray, "h w s"], margin: float = 0.03) -> tuple[slice, slice]:
    """The part of the first two axes that holds the head in any slice, with a margin (share of the axis)."""
    inside = (hu > 0).any(axis=2)
    # Opening takes the thin shell of a head holder away; the largest piece that is left is the head.
    inside = ndimage.binary_opening(inside, iterations=max(1, min(inside.shape) // 128))
    labels = measure.label(inside)
    if not labels.any():
        return slice(None), slice(None)
    head = labels == 1 + np.argmax(np.bincount(labels.flat)[1:])
    ranges = []
    for axis, size in enumerate(head.shape):
        found, extra = np.flatnonzero(head.any(axis=1 - axis)), round(margin * size)
        ranges.append(slice(max(found[0] - extra, 0), min(found[-1] + 1 + extra, size)))
    return ranges[0], ranges[1]


def depth(stage: str) -> tuple[int, str]:
    """Sorts the names of stages as data flows: stem, stage1, stage2, ..., head; inner taps after their stage."""
    number = re.match(r"stage(\d+)", stage)
    return (0 if stage.startswith("stem") else int(number[1]) if number else sys.maxsize), stage


def dice_grid(judged: pd.DataFrame, mask: str, chosen: tuple[str, str] | None = None) -> Figure:
    """Stage x method heat map of the test split's pooled Dice.

    Args:
      judged: rows of `summary.summarise`, of one rule and population, on test; baselines are left out.
      mask: name of the mask target.
      chosen: (stage, method) that was chosen on validation: its cell is framed.
    """
    rows = judged[(judged["mask"] == mask) & ~judged["baseline"].astype(bool)]
    best = rows.groupby("method")["dice"].max().sort_values(ascending=False, kind="stable")
    stages = sorted(set(rows["stage"]), key=depth, reverse=True)  # the deepest at the top, as networks are drawn
    values, slices = (
        rows.pivot(index="stage", columns="method", values=name).loc[stages, best.index].to_numpy()
        for name in ("dice", "slices")
    )
    most, patients = rows["slices"].max(), rows["patients"].max()

    # In inches: room for the names of stages and, turned, of methods; a letter of 8 pt takes about 0.065.
    longest = 0.065 * max(map(len, best.index))
    left = max(0.2 + 0.065 * max(map(len, stages)), 0.1 + 0.8 * (longest - 0.33))
    across, down = max(0.66 * len(best), 6.8 - left), max(0.36 * len(stages), 0.9)
    below, above = 0.25 + 0.55 * longest, 0.5
    width, height = left + across + 0.95, below + down + above
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, below / height, across / width, down / height))
    top = max(0.1, math.ceil(10 * np.nanmax(values)) / 10)
    image = axes.pcolormesh(values, cmap="viridis", vmin=0, vmax=top, edgecolors="white", linewidth=1.5)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(best)) + 0.5, best.index, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(stages)) + 0.5, stages)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    for row, column in np.argwhere(np.isfinite(values)):
        words = f"{values[row, column]:.2f}" + ("*" if slices[row, column] < most else "")
        colour = "white" if values[row, column] < 0.6 * top else "black"
        axes.text(column + 0.5, row + 0.52, words, **_CELL, color=colour)
    if chosen is not None:
        corner = (list(best.index).index(chosen[1]), stages.index(chosen[0]))
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#e8432e", linewidth=1.8, zorder=3, clip_on=False))
    beside = ((left + across + 0.15) / width, below / height, 0.18 / width, down / height)
    bar = figure.colorbar(image, cax=figure.add_axes(beside))
    bar.set_label("pooled Dice", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    title = f"Pooled Dice of the {mask} by stage and method"
    figure.text(left / width, 1 - 0.08 / height, title, fontsize=10, weight="bold", va="top")
    note = f"test split, threshold rule {rows['rule'].iloc[0]}; n = {most} slices of {patients} patients"
    note += ("; * fewer slices" if (slices < most).any() else "") + ("; framed: chosen on validation" if chosen else "")
    figure.text(left / width, 1 - 0.29 / height, note, fontsize=8, color="0.35", va="top")
    return figure


def gallery(arrays: Mapping[str, Shaped[np.ndarray, "..."]], mask: str) -> Figure:
    """Typical, best and worst slices, a row each: CT, true outline, heat map, and predicted mask with its boxes.

    Args:
      arrays: what `gallery.npz` holds, (n, h, w) images already turned for display: `ct` uint8 in the display window,
        `truth` bool, `heat` float32 in [0, 1]; and (n,) `threshold`, `dice`, `kind` (typical, best or worst), `mask`,
        `case`, `slice`, `method`, `stage`.
      mask: the mask target to draw.
    """
    chosen = sorted(np.flatnonzero(arrays["mask"] == mask), key=lambda index: KINDS.index(arrays["kind"][index]))
    columns = ("brain window", "true mask", "heat map", "predicted mask, boxes")
    total = len(chosen) * TILE_INCHES + HEADER_INCHES
    figure = new_figure(CAPTION_INCHES + TILE_INCHES * len(columns), total)
    grid = figure.subplots(len(chosen), len(columns), squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    start = CAPTION_INCHES / figure.get_figwidth()
    figure.subplots_adjust(left=start, right=0.998, bottom=0.01, top=1 - HEADER_INCHES / total)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name, fontsize=8, pad=3)
    for row, index in zip(grid, chosen, strict=True):
        ct, truth, heat = (arrays[name][index] for name in ("ct", "truth", "heat"))
        predicted = heat > arrays["threshold"][index]
        top, left, side = square(ct)
        for axes, map_2d in zip(row, (None, None, heat, None), strict=True):
            overlay(axes, ct, map_2d, window=(0.0, 255.0))
            axes.set_xlim(left - 0.5, left + side - 0.5)
            axes.set_ylim(top + side - 0.5, top - 0.5)
        outline(row[1], truth, TRUE_COLOUR)
        outline(row[3], truth, TRUE_COLOUR, 0.7)
        outline(row[3], predicted, PREDICTED_COLOUR)
        boxes(row[3], predicted, PREDICTED_COLOUR)
        words = [f"case {arrays['case'][index]}", f"slice {arrays['slice'][index]}"]
        words += [f"Dice {arrays['dice'][index]:.2f}", f"threshold {arrays['threshold'][index]:.2f}"]
        row[0].text(
            -0.04, 0.56, str(arrays["kind"][index]), transform=row[0].transAxes, **_CAPTION, va="bottom", weight="bold"
        )
        row[0].text(-0.04, 0.5, "\n".join(words), transform=row[0].transAxes, **_CAPTION, va="top")
    method, stage = arrays["method"][chosen[0]], arrays["stage"][chosen[0]]
    figure.text(0.01, 1 - 0.08 / total, f"{method} at {stage}: {mask}", fontsize=10, weight="bold", va="top")
    note = "green: true; cyan: predicted, its boxes dashed; heat map from 0 (clear) to 1 (yellow)"
    figure.text(0.01, 1 - 0.3 / total, note, fontsize=7.5, color="0.35", va="top")
    return figure


def square(ct: Real[np.ndarray, "rows columns"]) -> tuple[int, int, int]:
    """Top, left and side of the square around the head, so that small bleeds are not lost in the air around it."""
    window = head_window(ct[..., None])
    edges = [part.indices(size)[:2] for part, size in zip(window, ct.shape, strict=True)]
    side = min(max(stop - start for start, stop in edges), *ct.shape)
    top, left = (
        min(max((start + stop - side) // 2, 0), size - side)
        for (start, stop), size in zip(edges, ct.shape, strict=True)
    )
    return top, left, side
