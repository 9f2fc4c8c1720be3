import numpy as np
import pytest

from hemojax.metrics import bootstrap


def test_the_matrix_product_is_the_explicit_loop():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 100, (6, 3, 3))
    draws = bootstrap.patient_draws(6, resamples=40)
    expected = []
    for draw in draws:
        chosen = counts[np.repeat(np.arange(6), draw)]
        dices = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in chosen.sum(axis=0)]
        expected.append(np.mean(dices))
    np.testing.assert_allclose(bootstrap.resampled_dice(draws, counts), expected, rtol=1e-12)


def test_draws_are_of_all_patients_with_replacement_and_repeatable():
    draws = bootstrap.patient_draws(5, resamples=4000)
    np.testing.assert_array_equal(draws.sum(axis=1), 5)
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.06)
    assert (draws == 0).mean() == pytest.approx((4 / 5) ** 5, abs=0.02)
    np.testing.assert_array_equal(draws, bootstrap.patient_draws(5, resamples=4000))
    assert (draws != bootstrap.patient_draws(5, resamples=4000, seed=1)).any()


def test_patients_that_are_all_alike_leave_no_doubt():
    counts = np.tile([[[30, 10, 20]]], (4, 1, 1))
    dices = bootstrap.resampled_dice(bootstrap.patient_draws(4, 50), counts)
    assert bootstrap.interval(dices) == pytest.approx((2 / 3, 2 / 3))


def test_the_interval_covers_the_middle_95_percent():
    assert bootstrap.interval(np.arange(1001.0)) == (25, 975)


def test_p_values():
    assert bootstrap.two_sided_p(np.full(999, 0.1)) == pytest.approx(2 / 1000)
    assert bootstrap.two_sided_p(np.array([-1.0, 1.0] * 50)) == 1
    assert bootstrap.two_sided_p(np.zeros(10)) == 1
    assert bootstrap.two_sided_p(np.r_[np.full(9, -0.1), np.full(990, 0.1)]) == pytest.approx(20 / 1000)


def test_holm_of_a_worked_example():
    np.testing.assert_allclose(bootstrap.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(bootstrap.holm(np.array([0.9, 0.8])), [1, 1])
    assert bootstrap.holm(np.array([])).shape == (0,)
