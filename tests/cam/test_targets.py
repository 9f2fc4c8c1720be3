"""Targets and their names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.cam import targets
from hemojax.errors import UserError

LABELS = ("any", "EPH", "SDH")
LOGITS = np.array([[0.5, -2.0, 3.0], [-1.5, 4.0, 0.0]], np.float32)
TRUTH = np.array([[False, True, False], [True, False, True]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ground_truth", [-2.0, -1.5]),  # the first true label: EPH, then any
        ("predicted", [3.0, 4.0]),  # the label with the highest logit
        ("any", [0.5, -1.5]),
        ("SDH", [3.0, 0.0]),
    ],
)
def test_scores_by_name(name, expected):
    target = targets.resolve(name, LABELS)(TRUTH, LOGITS)
    np.testing.assert_allclose(jax.vmap(targets.score)(jnp.asarray(LOGITS), target), expected)


def test_the_negative_class_has_the_opposite_sign():
    target = targets.ground_truth(np.zeros((2, 3), bool))
    np.testing.assert_allclose(jax.vmap(targets.score)(jnp.asarray(LOGITS), target), [-0.5, 1.5])
    target = targets.predicted(-np.abs(LOGITS))
    np.testing.assert_allclose(jax.vmap(targets.score)(-jnp.abs(LOGITS), target), [0.5, 0.0])


@pytest.mark.parametrize(("name", "nearest"), [("groundtruth", "ground_truth"), ("SDHH", "SDH"), ("", "any")])
def test_unknown_name(name, nearest):
    with pytest.raises(UserError, match=f"no target {name!r}") as raised:
        targets.resolve(name, LABELS)
    if name:
        assert f"did you mean {nearest!r}" in str(raised.value)


def test_contrast_is_with_the_nearest_logits():
    """Finer-CAM: the nearest to 2.0 are 1.9 and 2.3; never the label itself."""
    logits = np.array([[2.0, -1.0, 2.3, 1.9, 7.0]])
    found = targets.contrast(logits, np.array([0]), references=2, strength=0.6)
    np.testing.assert_allclose(found.weights, [[1, 0, -0.3, -0.3, 0]], atol=1e-6)
    np.testing.assert_allclose(
        targets.score(jnp.asarray(logits[0]), targets.Contrast(found.weights[0])), 0.74, atol=1e-6
    )


def test_contrast_takes_all_others_where_there_are_few():
    found = targets.contrast(np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([1, 0]))
    np.testing.assert_allclose(found.weights, [[-0.6, 1], [1, -0.6]], atol=1e-6)


def test_contrast_needs_something_to_compare():
    with pytest.raises(UserError, match="Finer-CAM compares labels, and the network has a single one"):
        targets.contrast(np.zeros((2, 1)), np.zeros(2, int))
