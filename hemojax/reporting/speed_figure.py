"""How many times faster hemojax makes its maps, as a picture."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hemojax.reporting.figures import new_figure

COLOURS = ("#1f5a94", "#8fb8de", "#b5541c", "#eebd96", "#3d7d3d", "#a9d3a0")
BAR = 0.16  # inches


def ratios(rows: pd.DataFrame, ours: str) -> Figure:
    """A group of bars for each kind of maps, a bar for each other contender, on a logarithmic axis.

    Args:
      rows: network, maps, contender, ratio, lowest and highest, in the table's order.
      ours: the contender that the ratios are against, which has no bar.
    """
    others = rows[rows["contender"] != ours].iloc[::-1]
    names = [name for name in rows["contender"].unique() if name != ours]
    colours = dict(zip(names, COLOURS, strict=False))
    groups = (others["network"] + ": " + others["maps"]).to_numpy()
    places = np.arange(len(others)) + np.cumsum(np.r_[0, groups[1:] != groups[:-1]])
    height = BAR * (places[-1] + 1) + 1.3
    figure = new_figure(8.0, float(height))
    axes = figure.add_axes((0.4, 0.6 / height, 0.55, BAR * (places[-1] + 1) / height))
    ratio = others["ratio"].to_numpy()
    spread = np.abs(others[["lowest", "highest"]].to_numpy().T - ratio)
    axes.barh(places, ratio - 1, left=1, color=[colours[name] for name in others["contender"]], height=0.85)
    axes.errorbar(ratio, places, xerr=spread, fmt="none", ecolor="0.2", elinewidth=0.8)
    for place, value in zip(places, ratio, strict=True):
        axes.text(
            max(value, 1) * 1.08, place, f"{value:.2g}" if value < 100 else f"{value:.0f}", va="center", fontsize=7
        )
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, 0.8 * ratio.min()), 2.2 * ratio.max())
    axes.axvline(1, color="0.2", linewidth=0.8)
    ticks = {group: places[groups == group].mean() for group in groups}
    axes.set_yticks(list(ticks.values()), list(ticks), fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("time of the other library over hemojax's", fontsize=8)
    handles = [axes.barh(np.nan, np.nan, color=colours[name], label=name) for name in names]
    figure.legend(handles=handles, ncols=2, fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0.02, 0.995))
    return figure
