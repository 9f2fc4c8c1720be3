"""What maps are scored against: masks and HU of the explained slices on the grid of `eval.size` pixels."""

import functools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from hemojax.benchmark import baselines
from hemojax.benchmark.explained import Explained
from hemojax.data import hounsfield, records
from hemojax.data.case import in_target
from hemojax.metrics.surface_distance import Spacing
from hemojax.run import Run


class Truth(NamedTuple):
    """What slices are scored against, on the square grid of `eval.size` pixels.

    Attributes:
        hu: as shown to the baselines, in HU.
        masks: one for each mask target, in the config's order.
    """

    hu: Float[np.ndarray, "s s"]
    masks: Bool[np.ndarray, "m s s"]


class Slices:
    """The truth of single slices, read from the records when asked for.

    Args:
        run: the run.
    """

    def __init__(self, run: Run):
        config = run.config
        self._size, self._masks = config.eval.size, [tuple(values) for values in config.data.masks.values()]
        self._source = functools.cache(lambda split: records.data_source(run.records, split))

    def __call__(self, split: str, record: int) -> Truth:
        """HU and masks of one record."""
        return Truth(self.hu(split, record), self.masks(split, record))

    def hu(self, split: str, record: int) -> Float[np.ndarray, "s s"]:
        """The HU of one record."""
        return hounsfield.resize_hu(self._source(split)[record]["hu"], self._size)

    def masks(self, split: str, record: int) -> Bool[np.ndarray, "m s s"]:
        """The masks of one record."""
        drawn = self._source(split)[record]["mask"]
        return np.stack([hounsfield.resize_mask(in_target(drawn, values), self._size) for values in self._masks])


def mean_training_mask(run: Run, truth: Slices) -> Float[np.ndarray, "s s"]:
    """Where lesions of any mask target lie in the training slices."""
    index = records.read_index(run.records, "train")
    drawn = index.loc[index["drawn"].map(len) > 0, "record"]
    return baselines.mean_mask_map(np.stack([truth.masks("train", record).any(axis=0) for record in drawn]))


def spacing(row: Any, size: int) -> Spacing:
    """The distance of pixels and slices on the grid of `size` pixels, mm; NaN where the data set does not say.

    Args:
        row: of the index, as `itertuples` gives it.
        size: side of the grid; a slice is padded to a square before it is resized to it.
    """
    scale = max(row.height, row.width) / size
    return row.spacing_i * scale, row.spacing_j * scale, row.spacing_k


def lesions(run: Run, explained: Explained, truth: Slices) -> pd.DataFrame:
    """The table `lesions`: a row an explained slice and mask target, with its area on the grid.

    Args:
        run: the run.
        explained: its explained slices.
        truth: their masks.
    """
    config, slices = run.config, explained.slices
    highest = explained.logits.groupby(["case", "slice"])["logit"].max()
    rows = []
    for row in slices.itertuples():
        i, j, _ = spacing(row, config.eval.size)
        drawn = set(row.drawn)
        names = {"run": config.name, "case": row.case, "patient": row.patient, "slice": row.slice, "split": row.split}
        subtypes = [name for name, values in config.data.subtypes.items() if drawn & set(values)]
        sine = (1 - row.cosine_ij**2) ** 0.5
        areas = truth.masks(row.split, row.record).sum(axis=(1, 2)).tolist()
        for mask, area in zip(config.data.masks, areas, strict=True):
            rows.append(
                {
                    **names,
                    "mask": mask,
                    "area": area,
                    "area_mm2": area * i * j * sine,
                    "subtypes": ",".join(subtypes),
                    "truth": getattr(row, config.data.labels[0]),
                    "called": bool(highest[row.case, row.slice] > 0),
                }
            )
    return pd.DataFrame(rows)
