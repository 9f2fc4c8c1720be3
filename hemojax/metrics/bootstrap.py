"""Confidence intervals of pooled Dice by resampling patients, never slices: slices of one patient are alike.

A resample is a vector of how often each patient was drawn, so that all resamples are one matrix product.
"""

import numpy as np
from jaxtyping import Float, Int

from hemojax.metrics import overlap

RESAMPLES = 2000


def patient_draws(patients: int, resamples: int = RESAMPLES, seed: int = 0) -> Int[np.ndarray, "r p"]:
    """Draws as many patients as there are, with replacement: how often each was drawn, one row a resample."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=resamples)


def resampled_dice(
    draws: Int[np.ndarray, "r p"], counts: Int[np.ndarray, "p s 3"] | Float[np.ndarray, "p s 3"]
) -> Float[np.ndarray, " r"]:
    """Pooled Dice of every resample, averaged over seeds.

    Args:
        draws: How often each patient was drawn.
        counts: tp, fp and fn of each patient and seed, summed over the patient's slices.
    """
    # As float64, which is exact here and goes through BLAS; numpy multiplies integer matrices without it.
    pooled = np.tensordot(draws.astype(np.float64), counts.astype(np.float64), axes=1)
    return overlap.dice(*np.moveaxis(pooled, -1, 0)).mean(axis=1)


def interval(draws: Float[np.ndarray, " r"]) -> tuple[float, float]:
    """The 95 % percentile interval (Efron 1979)."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def two_sided_p(differences: Float[np.ndarray, " r"]) -> float:
    """The share of resampled differences on the rarer side of 0, doubled; never 0, as resamples are finite."""
    rarer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))


def holm(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """P-values corrected for having asked n questions (Holm 1979)."""
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected
