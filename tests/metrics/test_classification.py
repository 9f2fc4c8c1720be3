import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from hemojax.metrics import classification

TRUTH = hnp.arrays(np.int8, 12, elements=st.integers(0, 1))
FEW_LEVELS = hnp.arrays(np.float32, 12, elements=st.sampled_from([-2.0, -0.5, 0.0, 0.25, 3.0]))


@settings(max_examples=40, deadline=None)
@given(TRUTH.filter(lambda truth: 0 < truth.sum() < len(truth)), FEW_LEVELS)
def test_figures_with_ties_are_scikit_learns(truth, logits):
    assert classification.auroc(truth, logits) == pytest.approx(sklearn_metrics.roc_auc_score(truth, logits))
    expected = sklearn_metrics.average_precision_score(truth, logits)
    assert classification.average_precision(truth, logits) == pytest.approx(expected)
    called = logits > 0
    assert classification.decisions(truth, logits) == pytest.approx(
        {
            "sensitivity": sklearn_metrics.recall_score(truth, called),
            "specificity": sklearn_metrics.recall_score(truth, called, pos_label=0),
            "f1": sklearn_metrics.f1_score(truth, called),
        }
    )


def test_figures_of_a_worked_example():
    truth = np.array([True, False, True, False])
    logits = np.array([2.0, 1.0, 1.0, -1.0])
    assert classification.auroc(truth, logits) == 3.5 / 4  # one pair of four is tied
    assert classification.average_precision(truth, logits) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    decisions = classification.decisions(truth, logits)
    assert decisions == {"sensitivity": 1.0, "specificity": 0.5, "f1": pytest.approx(0.8)}


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_only_gives_nan_without_a_warning(value):
    truth, logits = np.full(4, value), np.array([-1.0, 0.5, 2.0, 3.0])
    assert np.isnan(classification.auroc(truth, logits))
    assert np.isnan(classification.average_precision(truth, logits))
    decisions = classification.decisions(truth, logits)
    assert np.isnan(decisions["sensitivity" if value == 0 else "specificity"])


def test_f1_is_undefined_only_when_nothing_is_positive():
    negative = np.zeros(2, bool)
    assert np.isnan(classification.decisions(negative, np.array([-1.0, -2.0]))["f1"])
    assert classification.decisions(negative, np.array([-1.0, 2.0]))["f1"] == 0


def test_calibration_of_a_worked_example():
    # Two bins: (0.2, 0.4) with one positive of two, and (0.9) with none.
    truth, logits = np.array([1, 0, 0]), np.log(np.array([0.2, 0.4, 0.9]) / (1 - np.array([0.2, 0.4, 0.9])))
    found = classification.reliability(truth, logits, bins=2)
    np.testing.assert_array_equal(found.cases, [2, 1])
    np.testing.assert_allclose(found.probability, [0.3, 0.9])
    np.testing.assert_allclose(found.frequency, [0.5, 0])
    error = classification.expected_calibration_error(truth, logits, bins=2)
    assert error == pytest.approx((2 * 0.2 + 1 * 0.9) / 3)
    assert classification.brier(truth, logits) == pytest.approx((0.64 + 0.16 + 0.81) / 3)


@settings(max_examples=40, deadline=None)
@given(TRUTH, hnp.arrays(np.float64, 12, elements=st.floats(-9, 9)))
def test_reliability_and_brier_score_are_scikit_learns(truth, logits):
    probability = 1 / (1 + np.exp(-logits))
    found = classification.reliability(truth, logits)
    frequency, mean = calibration_curve(truth, probability, n_bins=15)
    np.testing.assert_allclose(found.frequency[found.cases > 0], frequency)
    np.testing.assert_allclose(found.probability[found.cases > 0], mean)
    expected = found.cases[found.cases > 0] @ abs(frequency - mean) / len(truth)
    assert classification.expected_calibration_error(truth, logits) == pytest.approx(expected)
    theirs = sklearn_metrics.brier_score_loss(truth, probability, labels=[0, 1])
    assert classification.brier(truth, logits) == pytest.approx(theirs)


def test_calibration_without_a_case_is_nan():
    none = np.zeros(0, bool), np.zeros(0)
    assert np.isnan(classification.expected_calibration_error(*none))
    assert np.isnan(classification.brier(*none))
    assert np.isnan(classification.reliability(*none).frequency).all()
