"""The figure that tells whether the classifier's probabilities come true."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hemojax.metrics import classification
from hemojax.reporting import figures


def reliability_diagram(slices: pd.DataFrame, label: str = "any", split: str = "test") -> Figure:
    """How often a slice of a given probability is positive, and how many slices have that probability.

    Args:
        slices: the table of logits; it has slices of this label and split.
        label: which label.
        split: which split.
    """
    rows = slices[(slices["label"] == label) & (slices["split"] == split)]
    truth, logits = rows["truth"].to_numpy(bool), rows["logit"].to_numpy(np.float64)
    found = classification.reliability(truth, logits)
    figure = figures.new_figure(4.4, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1), "hspace": 0.08})
    figure.subplots_adjust(left=0.14, right=0.97, bottom=0.1, top=0.86)
    upper.plot((0, 1), (0, 1), color="0.6", linewidth=1, linestyle="--")
    filled = found.cases > 0
    # Points, without a line, and as large as their slices are many: most bins hold few.
    area = 12 + 200 * found.cases[filled] / len(rows)
    upper.scatter(found.probability[filled], found.frequency[filled], area, color="#1f6fb4", zorder=3, clip_on=False)
    upper.set_ylabel("share of positives", fontsize=8)
    edges = np.linspace(0, 1, len(found.cases) + 1)
    lower.bar(edges[:-1], found.cases, width=edges[1], align="edge", color="0.7", edgecolor="white")
    lower.set_ylabel("slices", fontsize=8)
    lower.set_xlabel("probability of a positive", fontsize=8)
    for axes in (upper, lower):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1)
    figure.text(0.14, 0.965, f"Do the probabilities come true? {label}, {split}", fontsize=10, weight="bold", va="top")
    error, brier = classification.expected_calibration_error(truth, logits), classification.brier(truth, logits)
    note = f"calibration error {error:.3f}, Brier score {brier:.3f}; "
    note += f"n = {len(rows)} slices of {rows['patient'].nunique()} patients"
    figure.text(0.14, 0.915, note, fontsize=7, color="0.35", va="top")
    return figure
