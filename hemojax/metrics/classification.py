"""How well a binary classifier ranks and decides, from its logits. NaN where a figure is undefined, never a warning."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import special, stats

from hemojax.metrics.ratio import ratio

Truth = Bool[np.ndarray, " n"] | Int[np.ndarray, " n"]
"""1 or True for a positive."""

BINS = 15
"""Equal bins of probability (Guo et al. 2017)."""


class Reliability(NamedTuple):
    """A reliability diagram: the cases of each bin of the probability of a positive, lowest bin first.

    Attributes:
        cases: in the bin.
        probability: their mean, NaN without a case.
        frequency: the share of them that is positive, NaN without a case.
    """

    cases: Int[np.ndarray, " bins"]
    probability: Float[np.ndarray, " bins"]
    frequency: Float[np.ndarray, " bins"]


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
        "sensitivity": float(ratio(tp, n_positive)),
        "specificity": float(ratio(tn, len(positive) - n_positive)),
        "f1": float(ratio(2 * tp, n_positive + n_called)),
    }


def reliability(truth: Truth, logits: Float[np.ndarray, " n"], bins: int = BINS) -> Reliability:
    """Compares probabilities with how often they come true, in equal bins, each with its upper end (Guo et al. 2017).

    Of the probability of a positive, as in scikit-learn's `calibration_curve`, not of the class that was called: with
    two classes and few positives the latter hides what becomes of them.
    """
    probability = special.expit(np.asarray(logits, np.float64))
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probability)
    cases = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights, minlength=bins) for weights in (probability, np.asarray(truth, np.float64)))
    return Reliability(cases, *(ratio(s, cases) for s in sums))


def expected_calibration_error(truth: Truth, logits: Float[np.ndarray, " n"], bins: int = BINS) -> float:
    """How far probabilities are from how often they come true, on average over the cases (Guo et al. 2017, eq. 3).

    See `reliability` for the bins. NaN without a case.
    """
    found = reliability(truth, logits, bins)
    gaps = np.nan_to_num(np.abs(found.frequency - found.probability))
    return float((found.cases * gaps).sum() / len(truth)) if len(truth) else float("nan")


def brier(truth: Truth, logits: Float[np.ndarray, " n"]) -> float:
    """Mean squared difference of the probability and the truth (Brier 1950). NaN without a case."""
    probability = special.expit(np.asarray(logits, np.float64))
    return float(np.square(probability - np.asarray(truth, np.float64)).mean()) if len(truth) else float("nan")


def _cumulative(
    positive: Bool[np.ndarray, " n"], logits: Float[np.ndarray, " n"]
) -> tuple[Shaped[np.ndarray, " v"], Int[np.ndarray, " v"], Int[np.ndarray, " v"]]:
    """Distinct logits, descending, with the positives and all the cases at or above each."""
    values, place = np.unique(-np.asarray(logits, np.float64), return_inverse=True)
    tp = np.cumsum(np.bincount(place, positive)).astype(np.int64)
    return -values, tp, np.cumsum(np.bincount(place))
