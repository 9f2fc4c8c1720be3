import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.models.convolution import DEPTHWISE, convolution


def operands(size, inputs, outputs, depthwise, shape=(7, 10)):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *shape, inputs))
    kernel = rng.standard_normal((size, size, 1 if depthwise else inputs, outputs))
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


def reference(x, kernel, stride, same=False):
    """JAX's own convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME" if same else [(kernel.shape[0] // 2,) * 2] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def outputs_and_cotangents(form, x, kernel, stride, same):
    y, pullback = jax.vjp(lambda x, kernel: form(x, kernel, stride, same), x, kernel)
    return (y, *pullback(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)))


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (1, 2)])
@pytest.mark.parametrize(
    ("size", "inputs", "outputs", "depthwise"),
    [
        (3, 5, 5, True),
        (5, 4, 4, True),
        (1, 5, 3, False),
        (3, 3, 4, False),
        (3, 6, 2, False),
        (7, 3, 2, False),
        (5, 3, 4, False),
    ],
)
def test_equals_jaxs_own_forward_and_backward(size, inputs, outputs, depthwise, shape, stride, same):
    x, kernel = operands(size, inputs, outputs, depthwise, shape)
    ours = jax.jit(lambda x, k: outputs_and_cotangents(convolution, x, k, stride, same))(x, kernel)
    theirs = jax.jit(lambda x, k: outputs_and_cotangents(reference, x, k, stride, same))(x, kernel)
    for name, our, their in zip(("y", "dx", "dkernel"), ours, theirs, strict=True):
        assert our.shape == their.shape
        np.testing.assert_allclose(our, their, rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_depthwise_form_differentiates_twice():
    x, kernel = operands(3, 4, 4, True)

    def curvature(form):
        def loss(x):
            return (form(jnp.tanh(x), kernel, 2) ** 3).sum()

        return jax.jit(jax.grad(lambda x: (jax.grad(loss)(x) ** 2).sum()))(x)

    np.testing.assert_allclose(curvature(convolution), curvature(reference), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("transform", ["jit", "vmap", "pmap"])
def test_transforms_keep_the_depthwise_form_and_its_gradient(transform):
    x, kernel = operands(3, 4, 4, True)
    gradient = jax.grad(lambda x, kernel: (convolution(x, kernel, 2) ** 2).sum(), argnums=1)
    expected = jax.grad(lambda x, kernel: (reference(x, kernel, 2) ** 2).sum(), argnums=1)(x, kernel)
    if transform == "jit":
        got = jax.jit(gradient)(x, kernel)
    else:
        mapped = jax.vmap(gradient, (0, None)) if transform == "vmap" else jax.pmap(gradient, in_axes=(0, None))
        got = mapped(x[None], kernel)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_depthwise_cotangents_of_a_gpu_equal_jaxs_own(stride):
    x, kernel = operands(3, 4, 4, True)
    y, pullback = jax.vjp(lambda x, kernel: reference(x, kernel, stride), x, kernel)
    dy = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    found = DEPTHWISE.cuda.vjp(x, kernel, dy, stride=stride, padding=((1, 1), (1, 1)))
    for our, their in zip(found, pullback(dy), strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("platform", "dtype", "convolutions"),
    [("cpu", "float32", 0), ("cuda", "float32", 3), ("cuda", "bfloat16", 0), ("tpu", "bfloat16", 3)],
)
def test_who_gets_the_shifted_form(platform, dtype, convolutions):
    x, kernel = (operand.astype(dtype) for operand in operands(3, 4, 4, True))

    def step(x, kernel):
        return jax.value_and_grad(lambda x, k: (convolution(x, k, 2) ** 2).sum(), argnums=(0, 1))(x, kernel)

    text = jax.jit(step).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == convolutions


def test_a_kernel_that_does_not_fit_is_refused():
    x, kernel = operands(3, 6, 4, True)
    with pytest.raises(ValueError, match="does not fit 6 channels"):
        convolution(x, kernel)
