"""Confidence intervals by resampling patients, never slices: slices of one patient are alike.

A resample is a vector of how often each patient was drawn, so that all resamples are one matrix product of the
patients' sums.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 10_000
FEWEST = 20
"""With fewer patients a percentile interval is too narrow, and its ends jump with each patient."""


@cache
def patient_draws(patients: int, resamples: int = RESAMPLES, seed: int = 0) -> Int[np.ndarray, "r p"]:
    """Draws as many patients as there are, with replacement: how often each was drawn, one row a resample."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=resamples)


def resampled_sums(
    draws: Int[np.ndarray, "r p"], sums: Int[np.ndarray, "*k p"] | Float[np.ndarray, "*k p"]
) -> Float[np.ndarray, "*k r"]:
    """Sums over the patients of every resample.

    Args:
        draws: How often each patient was drawn.
        sums: Of each patient, over the patient's slices.
    """
    # As float64, which is exact here and goes through BLAS; numpy multiplies integer matrices without it.
    return np.tensordot(sums.astype(np.float64), draws.T.astype(np.float64), axes=1)


def interval(draws: Float[np.ndarray, "*f r"]) -> Float[np.ndarray, " 2 *f"]:
    """The 95 % percentile interval (Efron 1979) over the resamples in which a figure is defined, NaN where in none."""
    ends = np.full((2, *draws.shape[:-1]), np.nan)
    undefined = np.isnan(draws)
    whole, none = ~undefined.any(axis=-1), undefined.all(axis=-1)
    ends[:, whole] = np.percentile(draws[whole], (2.5, 97.5), axis=-1)
    part = ~whole & ~none
    if part.any():
        ends[:, part] = np.nanpercentile(draws[part], (2.5, 97.5), axis=-1)
    return ends


def two_sided_p(differences: Float[np.ndarray, " r"], patients: int) -> float:
    """The share of resampled differences on the rarer side of 0, doubled; never 0, as resamples are finite.

    Nor below 2**(1 - patients), the least that a sign test of so many pairs can give: resamples of a handful of
    patients know nothing of all those that were not seen.
    """
    rarer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, max(2 * (rarer + 1) / (len(differences) + 1), 2.0 ** (1 - patients)))


def holm(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """P-values corrected for having asked n questions (Holm 1979)."""
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected
