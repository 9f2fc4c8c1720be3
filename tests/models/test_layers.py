from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.models.layers import BatchNorm, StochasticDepth


def test_batch_norm_learns_by_torchs_rule():
    x = jnp.asarray(np.random.default_rng(0).normal(3, 2, (3, 4, 5, 6)), jnp.float32)
    norm = BatchNorm(1e-3)
    variables = norm.init(jax.random.key(0), x, train=False)
    y, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    mean, biased, unbiased = (
        f((0, 1, 2)) for f in (np.asarray(x).mean, np.asarray(x).var, partial(np.asarray(x).var, ddof=1))
    )
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(biased + 1e-3), atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 + 0.1 * unbiased, rtol=1e-5)
    running = updated["batch_stats"]
    y = norm.apply({**variables, **updated}, x, train=False)
    np.testing.assert_allclose(y, (x - running["mean"]) / np.sqrt(running["var"] + 1e-3), atol=1e-5)


def test_batch_norm_shares_its_statistics_over_the_mapped_axis():
    x = jax.random.normal(jax.random.key(0), (4, 3, 2, 2, 5)) * 2 + jnp.arange(4.0)[:, None, None, None, None]
    whole, shared = BatchNorm(), BatchNorm(axis_name="devices")
    variables = whole.init(jax.random.key(0), x[0], train=False)

    def apply(norm, x):
        return norm.apply(variables, x, train=True, mutable=["batch_stats"])

    y, updated = jax.vmap(partial(apply, shared), axis_name="devices")(x)
    y_whole, updated_whole = apply(whole, x.reshape(12, 2, 2, 5))
    np.testing.assert_allclose(y.reshape(y_whole.shape), y_whole, atol=1e-5)
    for name in ("mean", "var"):
        expected = np.broadcast_to(updated_whole["batch_stats"][name], (4, 5))
        np.testing.assert_allclose(updated["batch_stats"][name], expected, rtol=1e-5)


def test_batch_norm_computes_statistics_in_float32_for_bfloat16():
    x = (100 + jax.random.normal(jax.random.key(0), (8, 8, 8, 1))).astype(jnp.bfloat16)
    norm = BatchNorm(dtype=jnp.bfloat16)
    variables = norm.init(jax.random.key(0), x, train=False)
    y, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    mean = updated["batch_stats"]["mean"]
    assert mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, 0.1 * np.asarray(x, np.float64).mean(), rtol=1e-6)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_expectation():
    x = jnp.ones((4000, 1, 1, 2))
    drop = StochasticDepth(0.3)
    y = np.asarray(drop.apply({}, x, True, rngs={"dropout": jax.random.key(0)}))
    assert set(np.unique(y).round(5)) == {0.0, np.float32(1 / 0.7).round(5)}
    assert np.array_equal(y[..., 0], y[..., 1])
    assert y.mean() == pytest.approx(1, abs=0.04)
    assert np.array_equal(drop.apply({}, x, False), x)
