"""Rows of the result tables that a batch of maps gives."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from ml_collections import ConfigDict

from hemojax.benchmark.stored_maps import MapBatch

Place = Int[np.ndarray, " rows"]


def kept(batch: MapBatch, masks: Bool[np.ndarray, "b m s s"]) -> tuple[Place, Place, Place]:
    """Place of the slice, map and mask target of each row.

    There is a row where the mask is not empty, and for every mask target of a false positive.
    """
    wanted = masks.any(axis=(2, 3)) | ~batch.rows["lesion"].to_numpy(bool)[:, None]
    at_slice, at_map, at_mask = np.nonzero(np.repeat(wanted[:, None], len(batch.names), axis=1))
    return at_slice, at_map, at_mask


def names(config: ConfigDict, batch: MapBatch, at: tuple[Place, Place, Place]) -> pd.DataFrame:
    """The columns that say what a row is about, of the rows at these places."""
    at_slice, at_map, at_mask = at
    frame = batch.rows[["case", "patient", "slice", "split"]].iloc[at_slice].reset_index(drop=True)
    return frame.assign(
        run=config.name,
        stage=batch.stage,
        method=np.array([name for name, _ in batch.names])[at_map],
        seed=np.array([seed for _, seed in batch.names], np.int16)[at_map],
        mask=np.array(list(config.data.masks))[at_mask],
        target=config.cam.target,
        size=np.int16(config.eval.size),
        baseline=batch.baseline,
    )
