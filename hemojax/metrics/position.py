"""Where a slice lies in its scan, as a classifier: what can be had without looking at the slice."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

BANDWIDTH = 0.05
"""Of the scan's length: about a slice and a half of thirty. Fixed, not chosen on any data."""


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
