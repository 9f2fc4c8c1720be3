import numpy as np
import pytest
from scipy import stats

from hemojax.metrics import similarity


def test_rank_correlation_with_ties_is_scipys():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, (2, 9, 7)).astype(np.float32)
    assert similarity.spearman(one, other) == pytest.approx(stats.spearmanr(one.ravel(), other.ravel()).statistic)
    assert similarity.spearman(one, -np.exp(one)) == pytest.approx(-1)


def test_a_constant_map_orders_nothing():
    ramp, flat = np.arange(9.0).reshape(3, 3), np.zeros((3, 3))
    assert similarity.spearman(ramp, flat) == similarity.spearman(flat, ramp) == similarity.spearman(flat, flat) == 0


def test_ssim_of_a_map_with_itself_is_1_and_of_two_constants_by_hand():
    rng = np.random.default_rng(0)
    heat = rng.random((16, 16), np.float32)
    assert similarity.ssim(heat, heat) == pytest.approx(1)
    # Without variance there is but the term of the means: (2 * 0.2 * 0.6 + c) / (0.2^2 + 0.6^2 + c), c = 0.01^2.
    assert similarity.ssim(np.full((8, 8), 0.2), np.full((8, 8), 0.6)) == pytest.approx(0.2401 / 0.4001)
