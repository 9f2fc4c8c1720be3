"""PxAP and pixel AUROC, pooled over the pixels of all slices, with intervals over patients.

From the curves table: of each patient and map the pixels of each of 1,024 levels, inside and outside the mask.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Real

from hemojax.metrics.curves import auroc, average_precision
from hemojax.statistics import bootstrap

_AT_ONCE = 100
"""Resampled curves at once: a few MB, which stay in a core's cache."""


def summarise(
    table: pd.DataFrame, cells: pd.DataFrame, resamples: int = bootstrap.RESAMPLES, split: str = "test"
) -> pd.DataFrame:
    """Pooled `pxap` and `pixel_auroc` of some cells, seeds averaged, with their 95 % intervals over patients.

    Args:
        table: The curves table.
        cells: Columns mask, stage, method.
        resamples: Of the patients.
        split: Which.

    Returns:
        One row a cell: mask, stage, method, pxap, pxap_low, pxap_high, pixel_auroc, pixel_auroc_low,
        pixel_auroc_high.
    """
    keys = ["mask", "stage", "method"]
    rows = table[table["split"] == split].merge(cells[keys].drop_duplicates(), on=keys)
    found = []
    for key, cell in rows.groupby(keys, observed=True):
        points, drawn = [], []
        for _, of_seed in cell.sort_values("patient").groupby("seed", observed=True):
            sums = np.stack([np.stack(of_seed[side].to_list(), axis=-1) for side in ("inside", "outside")])
            points.append(_figures(sums.sum(axis=-1, keepdims=True)))
            draws = bootstrap.patient_draws(sums.shape[-1], resamples)
            parts = np.array_split(draws, -(-resamples // _AT_ONCE))
            drawn.append(np.concatenate([_figures(bootstrap.resampled_sums(part, sums)) for part in parts], axis=-1))
        px, area = np.mean(points, axis=0)[:, 0]
        ends = bootstrap.interval(np.mean(drawn, axis=0))
        found.append((*key, px, *ends[:, 0], area, *ends[:, 1]))
    names = [f"{figure}{end}" for figure in ("pxap", "pixel_auroc") for end in ("", "_low", "_high")]
    return pd.DataFrame(found, columns=[*keys, *names])


def _figures(sums: Real[np.ndarray, "2 levels n"]) -> Float[np.ndarray, "2 n"]:
    inside, outside = np.ascontiguousarray(np.swapaxes(sums, 1, 2))
    return np.stack([average_precision(inside, outside), auroc(inside, outside)])
