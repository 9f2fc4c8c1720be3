"""The gradient methods against the papers' formulas, written as loops, and examples worked by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.cam import METHODS, Inputs

H, W, K = 4, 5, 6
GRADIENT_METHODS = [name for name, method in METHODS.items() if method.needs == {"gradients"}]


def gradcam(a, g):
    return sum(g[..., k].mean() * a[..., k] for k in range(K))


def hirescam(a, g):
    return sum(g[..., k] * a[..., k] for k in range(K))


def gradcam_elementwise(a, g):
    return sum(np.maximum(g[..., k] * a[..., k], 0) for k in range(K))


def gradcam_plus_plus(a, g):
    total = np.zeros((H, W))
    for k in range(K):
        weight = 0.0
        for i, j in np.ndindex(H, W):
            if g[i, j, k] > 0:
                square, cube = g[i, j, k] ** 2, g[i, j, k] ** 3
                weight += square / (2 * square + a[..., k].sum() * cube + 1e-6) * g[i, j, k]
        total += weight * a[..., k]
    return total


def xgradcam(a, g):
    return sum((g[..., k] * a[..., k]).sum() / (a[..., k].sum() + 1e-7) * a[..., k] for k in range(K))


def layercam(a, g):
    return sum(np.where(g[..., k] > 0, g[..., k], 0) * a[..., k] for k in range(K))


FORMULAS = {
    "gradcam": gradcam,
    "hirescam": hirescam,
    "gradcam_elementwise": gradcam_elementwise,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "layercam": layercam,
}


def inputs(a, g):
    return Inputs(jnp.asarray(a, jnp.float32), jnp.asarray(g, jnp.float32))


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("signed", [False, True])
def test_formula(name, signed):
    rng = np.random.default_rng(3)
    # Sums over channels far from zero: XGradCAM and GradCAM++ divide by them.
    a, g = rng.normal(0.5, 1, (H, W, K)), rng.normal(0, 1, (H, W, K))
    a = a if signed else np.maximum(a, 0)
    np.testing.assert_allclose(METHODS[name].fn(inputs(a, g)), FORMULAS[name](a, g), rtol=1e-4, atol=1e-4)


# Two pixels, two channels: A_1 = (1, 3), A_2 = (2, -2); G_1 = (1, -3), G_2 = (2, 4).
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gradcam", [-1 * 1 + 3 * 2, -1 * 3 + 3 * -2]),
        ("hirescam", [1 + 4, -9 - 8]),
        ("gradcam_elementwise", [1 + 4, 0]),
        ("layercam", [1 + 4, 0 - 8]),
        # w_1 = 1 / (2 + 4 * 1) = 1/6, w_2 = 4 / 8 * 2 + 16 / 32 * 4 = 3, since the sum of A_2 is 0.
        ("gradcam++", [1 / 6 + 3 * 2, 3 / 6 - 3 * 2]),
    ],
)
def test_worked_example(name, expected):
    a, g = [[[1, 2], [3, -2]]], [[[1, 2], [-3, 4]]]
    np.testing.assert_allclose(METHODS[name].fn(inputs(a, g))[0], expected, rtol=1e-5)


def test_xgradcam_worked_example():
    # w_1 = (1 - 9) / 4 = -2, w_2 = (4 + 8) / 4 = 3
    values = METHODS["xgradcam"].fn(inputs([[[1, 2], [3, 2]]], [[[1, 2], [-3, 4]]]))
    np.testing.assert_allclose(values[0], [-2 + 6, -6 + 6], atol=1e-5)


@pytest.mark.parametrize("name", GRADIENT_METHODS)
@pytest.mark.parametrize("zero", ["activations", "gradients", "both"])
def test_zeros_give_zeros(name, zero):
    one = np.random.default_rng(0).normal(size=(H, W, K))
    values = inputs(0 * one if zero != "gradients" else one, 0 * one if zero != "activations" else one)
    np.testing.assert_array_equal(METHODS[name].fn(values), 0)


def test_gradcam_plus_plus_where_its_denominator_vanishes():
    # A power of two for G makes every product exact in float32.
    g = np.float32(2.0**-11)
    a = -(2 * g**2 + np.float32(1e-6)) / g**3
    assert a.dtype == np.float32
    assert 2 * g**2 + a * g**3 + np.float32(1e-6) == 0
    np.testing.assert_array_equal(METHODS["gradcam++"].fn(inputs([[[a]]], [[[g]]])), 0)


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "gradcam_elementwise", "layercam", "xgradcam", "eigengradcam"])
def test_scaling_the_score_scales_the_map(name):
    rng = np.random.default_rng(5)
    a, g = rng.uniform(0.1, 1, (H, W, K)), rng.normal(size=(H, W, K))
    once, thrice = METHODS[name].fn(inputs(a, g)), METHODS[name].fn(inputs(a, 3 * g))
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("score", [-2.0, 0.5, 30.0])
def test_bagcams_are_the_sum_over_regional_classifiers(score):
    rng = np.random.default_rng(4)
    a, g = rng.normal(0.5, 1, (H, W, K)), rng.normal(0, 3, (H, W, K))
    log_gradient = g / (1 + np.exp(score))  # of the logarithm of the sigmoid
    expected = np.zeros((H, W))
    for k in range(K):
        one = sum(log_gradient[i, j, k] * a[i, j, k] + 1 for i, j in np.ndindex(H, W)) / (H * W)
        expected += np.maximum(one * log_gradient[..., k] * a[..., k], 0)
    found = METHODS["bagcams"].fn(inputs(a, g)._replace(score=jnp.float32(score)))
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), atol=1e-5)
