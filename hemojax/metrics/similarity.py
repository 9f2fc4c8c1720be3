"""How alike two heat maps are."""

import numpy as np
from jaxtyping import Float
from scipy import stats
from skimage.metrics import structural_similarity


def spearman(one: Float[np.ndarray, "h w"], other: Float[np.ndarray, "h w"]) -> float:
    """Correlation of the ranks of the pixels, mid-ranks where tied; 0 where a map is constant, as it orders nothing."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    ranks = [stats.rankdata(heat) - (heat.size + 1) / 2 for heat in (one.ravel(), other.ravel())]
    return float((ranks[0] * ranks[1]).sum() / np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))


def ssim(one: Float[np.ndarray, "h w"], other: Float[np.ndarray, "h w"]) -> float:
    """Structural similarity (Wang et al. 2004) of two maps in [0, 1] of at least 7 pixels a side: scikit-image's."""
    return float(structural_similarity(one, other, data_range=1.0))
