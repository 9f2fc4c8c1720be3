"""How well a binary classifier ranks and decides, from its logits. NaN where a figure is undefined, never a warning."""

from typing import SupportsInt

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats

Truth = Bool[np.ndarray, " n"] | Int[np.ndarray, " n"]
"""1 or True for a positive."""


def auroc(truth: Truth, logits: Float[np.ndarray, " n"]) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, a tie counting half.

    Computed from mid-ranks (Mann and Whitney 1947). NaN with one class only.
    """
    positive = np.asarray(truth, bool)
    n_positive, n_negative = np.count_nonzero(positive), np.count_nonzero(~positive)
    if not n_positive or not n_negative:
        return float("nan")
    ranks = stats.rankdata(logits)
    wins = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(wins / (n_positive * n_negative))


def average_precision(truth: Truth, logits: Float[np.ndarray, " n"]) -> float:
    """Mean precision over the steps of recall, tied logits taken together (as in scikit-learn). NaN with one class."""
    positive = np.asarray(truth, bool)
    if positive.all() or not positive.any():
        return float("nan")
    _, tp, predicted = _cumulative(positive, logits)
    steps = np.diff(tp, prepend=0) / tp[-1]
    return float((steps * tp / predicted).sum())


def decisions(truth: Truth, logits: Float[np.ndarray, " n"], threshold: float = 0.0) -> dict[str, float]:
    """Judges the rule "positive if logit > threshold".

    Args:
        truth: The true classes.
        logits: The classifier's logits.
        threshold: On the logit; 0 is a probability of 0.5.

    Returns:
        `sensitivity` and `specificity` (NaN without a positive, without a negative) and `f1` (NaN where there is no
        positive, neither true nor predicted).
    """
    positive, called = np.asarray(truth, bool), logits > threshold
    tp, tn = np.count_nonzero(positive & called), np.count_nonzero(~positive & ~called)
    n_positive, n_called = np.count_nonzero(positive), np.count_nonzero(called)
    return {
        "sensitivity": _ratio(tp, n_positive),
        "specificity": _ratio(tn, len(positive) - n_positive),
        "f1": _ratio(2 * tp, n_positive + n_called),
    }


def f1_threshold(truth: Truth, logits: Float[np.ndarray, " n"]) -> float:
    """Finds the logit threshold with the best F1, for `decisions` on data that had no part in the choice.

    It lies halfway between two neighbouring logits (below the lowest if all are to be called). Of equal F1 the
    highest threshold is taken. NaN without a positive.
    """
    positive = np.asarray(truth, bool)
    if not positive.any():
        return float("nan")
    values, tp, predicted = _cumulative(positive, logits)
    best = int(np.argmax(2 * tp / (tp[-1] + predicted)))
    below = values[best + 1] if best + 1 < len(values) else values[best] - 1
    return float((values[best] + below) / 2)


def _cumulative(
    positive: Bool[np.ndarray, " n"], logits: Float[np.ndarray, " n"]
) -> tuple[Shaped[np.ndarray, " v"], Int[np.ndarray, " v"], Int[np.ndarray, " v"]]:
    """Distinct logits, descending, with the positives and all the cases at or above each."""
    values, place = np.unique(-np.asarray(logits, np.float64), return_inverse=True)
    tp = np.cumsum(np.bincount(place, positive)).astype(np.int64)
    return -values, tp, np.cumsum(np.bincount(place))


def _ratio(part: SupportsInt, whole: SupportsInt) -> float:
    return int(part) / int(whole) if whole else float("nan")
