import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from hemojax.models import winograd
from hemojax.models.convolution import convolution, xla_convolution

PADDING = ((1, 1), (1, 1))


def operands(shape, outputs, dtype):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal(shape), rng.standard_normal((3, 3, shape[-1], outputs))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def test_equals_scipys_correlation():
    with jax.enable_x64(True):
        x, kernel = operands((1, 14, 17, 3), 2, jnp.float64)
        y = np.asarray(winograd.convolve(x, kernel))
    planes = [[signal.correlate2d(x[0, ..., i], kernel[..., i, o], "same") for i in range(3)] for o in range(2)]
    np.testing.assert_allclose(y[0], np.sum(planes, axis=1).transpose(1, 2, 0), atol=1e-13)


@pytest.mark.parametrize("group_bytes", [1, 24 * 2**20])
@pytest.mark.parametrize(("shape", "outputs"), [((6, 14, 14, 32), 40), ((3, 15, 18, 40), 32)])
def test_forward_and_cotangents_are_those_of_jaxs_own_convolution(monkeypatch, shape, outputs, group_bytes):
    monkeypatch.setattr(winograd, "tile_bytes", lambda: group_bytes)
    with jax.enable_x64(True):
        x, kernel = operands(shape, outputs, jnp.float64)
        assert winograd.pays(x, kernel, 1)

        def run(form):
            y, pullback = jax.vjp(form, x, kernel)
            return (y, *pullback(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)))

        ours = jax.jit(lambda: run(convolution))()
        theirs = jax.jit(lambda: run(lambda x, kernel: xla_convolution(x, kernel, 1, PADDING)))()
    for name, our, their in zip(("y", "dx", "dkernel"), ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-11, atol=1e-11, err_msg=name)


def test_rounds_no_worse_than_a_plain_convolution():
    x, kernel = operands((2, 28, 28, 64), 64, jnp.float32)
    with jax.enable_x64(True):
        exact = np.asarray(xla_convolution(x.astype(jnp.float64), kernel.astype(jnp.float64), 1, PADDING))

    def error(form):
        return np.sqrt(np.mean((np.asarray(jax.jit(form)(x, kernel)) - exact) ** 2))

    assert error(winograd.convolve) < 1.5 * error(lambda x, kernel: xla_convolution(x, kernel, 1, PADDING))


@pytest.mark.parametrize(
    ("shape", "outputs", "stride", "dtype", "expected"),
    [
        ((2, 28, 28, 32), 32, 1, jnp.float32, True),
        ((2, 28, 28, 32), 32, 2, jnp.float32, False),
        ((2, 7, 7, 32), 32, 1, jnp.float32, False),
        ((2, 28, 28, 24), 32, 1, jnp.float32, False),
        ((2, 28, 28, 32), 32, 1, jnp.bfloat16, False),
    ],
)
def test_is_chosen_where_it_pays(shape, outputs, stride, dtype, expected):
    x, kernel = operands(shape, outputs, dtype)
    assert winograd.pays(x, kernel, stride) == expected


@pytest.mark.parametrize(
    ("told", "mebibytes"), [("16384K\n", 24), ("32768K\n", 32), ("266240K\n", 48), ("unknown", 24), (None, 24)]
)
def test_tiles_fill_the_last_cache(monkeypatch, tmp_path, told, mebibytes):
    monkeypatch.setattr(winograd, "LAST_CACHE", tmp_path / "size")
    if told is not None:
        (tmp_path / "size").write_text(told)
    assert winograd.tile_bytes() == mebibytes * 2**20


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 0), ("cuda", 1)])
def test_only_the_cpu_gets_it(platform, convolutions):
    x, kernel = operands((2, 14, 14, 32), 32, jnp.float32)
    text = jax.jit(convolution).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == convolutions
