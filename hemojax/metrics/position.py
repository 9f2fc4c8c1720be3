"""Where a slice lies in its scan, as a classifier: what can be had without looking at the slice."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int

BANDWIDTH = 0.05
"""Of the scan's length: about a slice and a half of thirty. Fixed, not chosen on any data."""


def heights(index: pd.DataFrame) -> Float[np.ndarray, " n"]:
    """Where each slice of a table lies in its scan, see `from_below`; the table is an index of `data.records`."""
    return from_below(index["position"].to_numpy(np.float64), "".join(axes[2] for axes in index["axes"]))


def from_below(position: Float[np.ndarray, " n"], growing: str) -> Float[np.ndarray, " n"]:
    """Positions counted from the feet's end of each scan.

    Args:
        position: of each slice in its scan, 0 for the first and 1 for the last.
        growing: a letter a slice: towards which side of the body its scan's slices are numbered. I turns the scan
            round; all others stay.
    """
    return np.where(np.array(list(growing), "U1") == "I", 1 - position, position)


def kernel_regression(
    train_position: Float[np.ndarray, " m"],
    train_truth: Bool[np.ndarray, " m"] | Int[np.ndarray, " m"],
    position: Float[np.ndarray, " n"],
    bandwidth: float = BANDWIDTH,
) -> Float64[np.ndarray, " n"]:
    """P(positive | position): the mean truth of the training slices, weighted by nearness (Nadaraya 1964, Watson 1964).

    Args:
        train_position: of the training slices; there is at least one.
        train_truth: 1 for a positive.
        position: where to ask.
        bandwidth: standard deviation of the Gaussian weights.
    """
    distance = np.square((position[:, None] - train_position) / bandwidth) / 2
    # The nearest weighs 1, so that no sum is 0 where all are far.
    weights = np.exp(distance.min(axis=1, keepdims=True) - distance)
    return weights @ np.asarray(train_truth, np.float64) / weights.sum(axis=1)
