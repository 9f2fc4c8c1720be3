"""Do two trainings of one config point at the same place? The overlap of their masks, whatever the truth is."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float64, UInt8

from hemojax.benchmark import explained, full_maps
from hemojax.metrics import overlap
from hemojax.progress import Progress
from hemojax.run import Run

THRESHOLD = 0.5


def measure(runs: Mapping[int, Run], cells: pd.DataFrame) -> pd.DataFrame:
    """Mean IoU between the masks of two trainings, each its map above 0.5.

    Args:
        runs: by seed, at least two; their maps are there.
        cells: with columns `stage` and `method`.

    Returns:
        the table `consistency`: a row for each cell and pair of trainings, over the slices that both explained and for
        which one of the masks, at least, is not empty.
    """
    described = {seed: explained.of_run(run) for seed, run in runs.items()}
    name, rows = next(iter(runs.values())).config.name, []
    pairs = list(cells[["stage", "method"]].drop_duplicates().itertuples(index=False, name=None))
    with Progress("consistency", len(pairs)) as progress:
        for stage, method in pairs:
            masks = {seed: _masks(run, described[seed], stage, method) for seed, run in runs.items()}
            for one, other in combinations(masks, 2):
                shared = masks[one].keys() & masks[other].keys()
                drawn = sorted(key for key in shared if masks[one][key].any() or masks[other][key].any())
                if drawn:
                    values = _iou(*(np.stack([masks[seed][key] for key in drawn]) for seed in (one, other)))
                    rows.append((stage, method, one, other, len(drawn), values.mean()))
            progress.advance()
    columns = ["stage", "method", "first", "second", "slices", "iou"]
    return pd.DataFrame(rows, columns=columns).assign(run=name)


def _masks(run: Run, slices: explained.Explained, stage: str, method: str) -> dict[tuple[str, int], np.ndarray]:
    """Of each slice the pixels above the threshold, eight to a byte."""
    heats = full_maps.heat_of(run, slices, stage=stage, method=method)
    return {(case, number): np.packbits(heat > THRESHOLD) for case, number, heat in heats}


def _iou(one: UInt8[np.ndarray, "n bytes"], other: UInt8[np.ndarray, "n bytes"]) -> Float64[np.ndarray, " n"]:
    def pixels(bits: UInt8[np.ndarray, "n bytes"]) -> Float64[np.ndarray, " n"]:
        return np.unpackbits(bits, axis=1).sum(axis=1, dtype=np.float64)

    return overlap.iou(pixels(one & other), pixels(~one & other), pixels(one & ~other))
