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
