"""How often a box is found, over the slices of a table."""

from collections.abc import Sequence

import pandas as pd

from hemojax.metrics.boxes import BOX_THRESHOLDS

DELTAS = (0.3, 0.5, 0.7)
"""The IoUs at which a box counts as found in MaxBoxAccV2."""


def max_box_accuracy(counts: pd.DataFrame, deltas: Sequence[float] = DELTAS) -> pd.DataFrame:
    """MaxBoxAccV2 (Choe et al. 2020): how often the best pair of boxes has an IoU of delta, at the best threshold.

    Leaky: on whatever split, the threshold is the one that is best for that very split, another one for each delta.

    Args:
        counts: The counts table; its rows at `BOX_THRESHOLDS` with a `box_best` count.
        deltas: The IoUs that count as found.

    Returns:
        One row a (split, mask, stage, method, seed): `max_box_accuracy`, the mean over the deltas of the highest share
        of slices.
    """
    key = ["split", "mask", "stage", "method", "seed"]
    rows = counts[counts["box_best"].notna() & counts["threshold"].isin(BOX_THRESHOLDS)]
    found = pd.DataFrame({delta: rows["box_best"] >= delta for delta in deltas})
    shares = pd.concat([rows[[*key, "threshold"]], found], axis=1).groupby([*key, "threshold"], observed=True).mean()
    best = shares.groupby(key, observed=True).max()
    return best.mean(axis=1).rename("max_box_accuracy").reset_index()
