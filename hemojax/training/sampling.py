"""How often training draws each slice."""

import numpy as np
import pandas as pd
from jaxtyping import Float64

from hemojax.data import records
from hemojax.metrics import position

SAMPLINGS = ("uniform", "position")
LARGEST = 10.0
"""No slice weighs more than ten times as much as the mean one of its label, or less than a tenth; what that cuts off or
adds is shared among the slices of the label."""


def weights(index: pd.DataFrame, label: str, sampling: str) -> Float64[np.ndarray, " n"] | None:
    """The weights of the training slices, or None for equal ones.

    With "position" a slice weighs P(y) / P(y | height), y its label and height its place in the scan: the inverse
    propensity (Rosenbaum and Rubin 1983), stabilised as Robins et al. (2000) do. In what is drawn the label has its
    share, and is independent of the height, as far as LARGEST allows: a classifier gains next to nothing by telling the
    height from the picture.

    Args:
        index: of the training slices, see `data.records`.
        label: whose truth is known for each of them, and which some have and some have not.
        sampling: one of SAMPLINGS.
    """
    if sampling == "uniform":
        return None
    truth, heights = index[label].to_numpy() == 1, records.heights(index)
    positive = position.kernel_regression(heights, truth, heights)
    found = 1 / np.where(truth, positive, 1 - positive)  # above 0: the slice itself is among those it is learnt from
    for alike in (truth, ~truth):
        found[alike] = np.clip(found[alike] / found[alike].mean(), 1 / LARGEST, LARGEST)
        found[alike] /= found[alike].mean()
    return found
