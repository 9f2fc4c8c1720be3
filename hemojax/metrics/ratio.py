"""Division where there may be nothing to divide by."""

import numpy as np
from jaxtyping import ArrayLike, Float64


def ratio(part: ArrayLike, whole: ArrayLike, empty: float = np.nan) -> Float64[np.ndarray, "*n"]:
    """Part / whole, and `empty` where the whole is not above 0, without a warning."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), empty), where=whole > 0)
