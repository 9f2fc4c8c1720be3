import numpy as np
import pytest

from hemojax.statistics import bootstrap


def test_the_matrix_product_is_the_explicit_loop():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 100, (6, 3, 3))
    draws = bootstrap.patient_draws(6, resamples=40)
    expected = [counts[np.repeat(np.arange(6), draw)].sum(axis=0) for draw in draws]
    found = bootstrap.resampled_sums(draws, np.moveaxis(counts, 0, -1))
    np.testing.assert_array_equal(np.moveaxis(found, -1, 0), expected)


def test_draws_are_of_all_patients_with_replacement_and_repeatable():
    draws = bootstrap.patient_draws(5, resamples=4000)
    np.testing.assert_array_equal(draws.sum(axis=1), 5)
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.06)
    assert (draws == 0).mean() == pytest.approx((4 / 5) ** 5, abs=0.02)
    np.testing.assert_array_equal(draws, np.random.default_rng(0).multinomial(5, [0.2] * 5, size=4000))
    assert (draws != bootstrap.patient_draws(5, resamples=4000, seed=1)).any()


def test_the_interval_covers_the_middle_95_percent_of_what_is_defined():
    draws = np.arange(1001.0)
    partly = np.where(draws % 2, draws, np.nan)
    found = bootstrap.interval(np.stack([draws, partly, np.full(1001, np.nan)]))
    np.testing.assert_allclose(found[:, 0], (25, 975))
    np.testing.assert_allclose(found[:, 1], np.percentile(draws[1::2], (2.5, 97.5)))
    assert np.isnan(found[:, 2]).all()


def test_p_values():
    assert bootstrap.two_sided_p(np.full(999, 0.1), 40) == pytest.approx(2 / 1000)
    assert bootstrap.two_sided_p(np.array([-1.0, 1.0] * 50), 40) == 1
    assert bootstrap.two_sided_p(np.zeros(10), 40) == 1
    assert bootstrap.two_sided_p(np.r_[np.full(9, -0.1), np.full(990, 0.1)], 40) == pytest.approx(20 / 1000)


def test_few_patients_cannot_give_a_small_p():
    assert bootstrap.two_sided_p(np.full(999, 0.1), 4) == 1 / 8  # as stats.binomtest(0, 4).pvalue
    assert bootstrap.two_sided_p(np.full(999, 0.1), 1) == 1


def test_holm_of_a_worked_example():
    np.testing.assert_allclose(bootstrap.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(bootstrap.holm(np.array([0.9, 0.8])), [1, 1])
    assert bootstrap.holm(np.array([])).shape == (0,)
