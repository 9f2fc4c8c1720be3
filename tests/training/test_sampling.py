"""Weights by position: a worked example, and what they are for, by scipy's distance of two samples."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hemojax.training import sampling


def table(position, truth):
    return pd.DataFrame({"position": position, "any": truth})


def test_without_weights_every_slice_is_drawn_once():
    assert sampling.weights(table([0.0, 1.0], [0, 1]), "any", "uniform") is None


def test_a_slice_weighs_its_inverse_propensity():
    # Two heights, many bandwidths apart: three of four are positive at one, one of four at the other.
    found = sampling.weights(table([0.0] * 4 + [1.0] * 4, [1, 1, 1, 0, 1, 0, 0, 0]), "any", "position")
    np.testing.assert_allclose(found, [2 / 3] * 3 + [2] * 2 + [2 / 3] * 3)  # P(y) is a half


def test_no_weight_is_beyond_all_bounds_and_the_label_keeps_its_share():
    truth = np.array([1] + [0] * 99 + [1] * 100)
    found = sampling.weights(table([0.0] * 100 + [1.0] * 100, truth), "any", "position")
    # Without a bound the one positive slice at its height would weigh as much as the hundred at the other.
    assert found[0] / found[100:].min() <= sampling.LARGEST**2
    assert found[0] < 30
    assert found[truth == 1].sum() == pytest.approx(101)
    assert found.mean() == pytest.approx(1)


def test_what_is_drawn_says_nothing_of_the_height():
    rng = np.random.default_rng(0)
    position = rng.random(4000)
    truth = (rng.random(4000) < 0.1 + 0.5 * np.exp(-np.square((position - 0.6) / 0.2))).astype(int)
    weights = sampling.weights(table(position, truth), "any", "position")
    drawn = rng.choice(4000, 20000, p=weights / weights.sum())

    def distance(rows):
        return stats.ks_2samp(position[rows][truth[rows] == 1], position[rows][truth[rows] == 0]).statistic

    assert distance(np.arange(4000)) > 0.25
    assert distance(drawn) < 0.05
    assert truth[drawn].mean() == pytest.approx(truth.mean(), abs=0.02)
