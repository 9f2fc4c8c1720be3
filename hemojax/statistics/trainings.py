"""Several trainings of one config, which differ in their seed: what holds whatever the seed.

Each training chooses its thresholds on its own validation slices; the stage of a method is chosen for all together.
"""

from collections.abc import Mapping

import pandas as pd

from hemojax.statistics.summary import of_protocol
from hemojax.statistics.thresholds import Protocol

CELL = ["mask", "method", "stage"]
FIGURES = ["dice", "iou", "patient_dice", "box_dice", "box_loose"]


def best_stages(summaries: Mapping[int, pd.DataFrame], protocol: Protocol) -> pd.DataFrame:
    """Of each method the stage with the best validation Dice, averaged over the trainings.

    Args:
        summaries: of each seed, see `summary.summarise`.
        protocol: by which is judged.

    Returns:
        a row a (mask, method): `stage`, and `baseline`.
    """
    known = _together(summaries, protocol, "validation")
    known = known[known["dice"].notna()]
    cells = known.groupby(CELL, observed=True).agg(
        dice=("dice", "mean"), trainings=("training", "nunique"), baseline=("baseline", "first")
    )
    cells = cells[cells["trainings"] == len(summaries)].reset_index()
    best = cells.loc[cells.groupby(["mask", "method"], observed=True)["dice"].idxmax()]
    return best[[*CELL, "baseline"]].reset_index(drop=True)


def spread(summaries: Mapping[int, pd.DataFrame], best: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Mean and standard deviation over the trainings of each method's figures on test, at its best stage.

    Args:
        summaries: of each seed, see `summary.summarise`.
        best: see `best_stages`.
        protocol: by which is judged.

    Returns:
        a row a (mask, method), the best mean Dice of a mask first: `stage`, `baseline`, `slices`, `patients`, and of
        each of FIGURES `..._mean` and `..._sd` (of a sample: NaN for one training).
    """
    judged = best.merge(_together(summaries, protocol, "test"), on=[*CELL, "baseline"])
    cells = judged.groupby([*CELL, "baseline"], observed=True)
    found = cells[FIGURES].agg(["mean", "std"])
    found.columns = [f"{name}_{'sd' if kind == 'std' else kind}" for name, kind in found.columns]
    table = found.join(cells[["slices", "patients"]].max()).reset_index()
    return table.sort_values(["mask", "dice_mean"], ascending=[True, False], kind="stable", ignore_index=True)


def _together(summaries: Mapping[int, pd.DataFrame], protocol: Protocol, split: str) -> pd.DataFrame:
    parts = [of_protocol(summary, protocol, split).assign(training=seed) for seed, summary in summaries.items()]
    return pd.concat(parts, ignore_index=True)
