"""How often training draws each slice."""

import numpy as np
import pandas as pd
from jaxtyping import Float64

from hemojax.data import records
from hemojax.metrics import position

SAMPLINGS = ("uniform", "position")
LARGEST = 10.0
"""No slice is drawn more than ten times as often, or as rarely, as without weights."""


def weights(index: pd.DataFrame, label: str, sampling: str) -> Float64[np.ndarray, " n"] | None:
    """The weights of the training slices, or None for equal ones.

    With "position" a slice weighs P(y) / P(y | height), y its label and height its place in the scan: the inverse
    propensity (Rosenbaum and Rubin 1983), stabilised as Robins et al. (2000) do. In what is drawn the label has its
    share, and is independent of the height: a classifier gains nothing by telling the height from the picture.

    Args:
        index: of the training slices, see `data.records`.
        label: whose truth is known for each of them.
        sampling: one of SAMPLINGS.
    """
    if sampling == "uniform":
        return None
    truth, heights = index[label].to_numpy() == 1, records.heights(index)
    positive = position.kernel_regression(heights, truth, heights)
    propensity = np.where(truth, positive, 1 - positive)  # above 0: the slice itself is among those it is learnt from
    return np.clip(np.where(truth, truth.mean(), 1 - truth.mean()) / propensity, 1 / LARGEST, LARGEST)
