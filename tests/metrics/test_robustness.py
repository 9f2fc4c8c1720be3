"""Infidelity and max-sensitivity by hand, and against captum 0.9.0 for the same perturbations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.metrics import robustness

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 12, 16, 3)).astype(np.float32)
HEATS = RNG.random((2, 12, 16)).astype(np.float32)
WEIGHTS = RNG.normal(size=IMAGES.shape[1:]).astype(np.float32)
VALUE = jnp.array([0.5, -1, 0])


def score(images):
    return jnp.tanh(jnp.sum(images * WEIGHTS, axis=(1, 2, 3)) / 20)


def explain(images):
    """A map that depends on the image."""
    return jnp.abs(images * WEIGHTS).sum(-1) ** 2


def test_squares_lie_inside_the_image():
    squares = np.asarray(robustness.random_squares(jax.random.key(0), (17, 32), 200))
    assert squares.shape == (200, 17, 32)
    places = []
    for square in squares:
        rows, columns = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
        assert (len(rows), len(columns), square.sum()) == (2, 2, 4)
        places.append((rows[0], columns[0]))
    first, last = np.min(places, axis=0), np.max(places, axis=0)
    assert (*first, *last) == (0, 0, 15, 30)


def test_infidelity_by_hand():
    image = jnp.ones((1, 3, 1))
    removed = jnp.array([[[True, False, False]], [[False, True, False]], [[False, False, True]]])

    def weighted(images):
        return images[:, 0, :, 0] @ jnp.array([1.0, 2.0, 4.0])

    def of(heat):
        return robustness.infidelity(weighted, image, jnp.array([heat]), removed, jnp.zeros(1))

    np.testing.assert_allclose(of([0.25, 0.5, 1.0]), 0, atol=1e-6)  # the falls, 1, 2 and 4, but for a scale
    np.testing.assert_allclose(of([0.0, 0.0, 0.0]), (1 + 4 + 16) / 3, rtol=1e-6)
    # beta = (4 + 2) / 2 = 3, so that 3, 0, 3 stand against 1, 2, 4, in the mean
    np.testing.assert_allclose(of([1.0, 0.0, 1.0]), (1.5**2 + 2**2 + 1.5**2) / 3, rtol=1e-6)


def test_max_sensitivity_by_hand():
    noise = jnp.array([[1.0, 0.0], [0.0, -2.0], [0.5, 0.5]])[:, None, :, None]
    image = jnp.array([3.0, 4.0])[None, :, None]

    def maps(images):
        return {"same": images[..., 0], "twice": 2 * images[..., 0], "zero": 0 * images[..., 0]}

    own = {name: values[0] for name, values in maps(image[None]).items()}
    found = robustness.max_sensitivity(maps, image, own, noise)
    np.testing.assert_allclose([found["same"], found["twice"], found["zero"]], [2 / 5, 2 / 5, 0], rtol=1e-6)


def test_noise_fills_its_range():
    noise = np.asarray(robustness.uniform_noise(jax.random.key(0), (30, 30, 3)))
    assert noise.shape == (10, 30, 30, 3)
    np.testing.assert_allclose([noise.min(), noise.max()], [-0.02, 0.02], atol=1e-5)


@pytest.mark.peers
def test_captum_has_the_same_figures():
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-compare.txt)")
    metrics = pytest.importorskip("captum.metrics", reason="captum is not installed (requirements-compare.txt)")
    images, weights = (torch.from_numpy(array) for array in (IMAGES, WEIGHTS))
    number = 5
    removed = np.stack([robustness.random_squares(jax.random.key(n), (12, 16), number, 0.4) for n in range(2)])
    noise = np.stack([robustness.uniform_noise(jax.random.key(n), WEIGHTS.shape, number) for n in range(2)])

    def perturb(inputs):
        squares = torch.from_numpy(removed.reshape(-1, 12, 16, 1))
        return squares.expand(inputs.shape).float(), torch.where(squares, torch.from_numpy(np.array(VALUE)), inputs)

    theirs = metrics.infidelity(
        lambda batch: torch.tanh((batch * weights).sum((1, 2, 3)) / 20),
        perturb,
        images,
        torch.from_numpy(HEATS)[..., None].expand(images.shape),
        n_perturb_samples=number,
        normalize=True,
    )
    ours = jax.vmap(lambda i, h, r: robustness.infidelity(score, i, h, r, VALUE))(IMAGES, HEATS, removed)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4)

    def explained(batch):
        parts = batch if isinstance(batch, tuple) else (batch,)
        return tuple((part * weights).abs().sum(-1) ** 2 for part in parts)

    theirs = metrics.sensitivity_max(
        explained,
        images,
        lambda inputs: inputs + torch.from_numpy(noise.reshape(inputs.shape)),
        n_perturb_samples=number,
    )
    ours = jax.vmap(lambda i, n: robustness.max_sensitivity(explain, i, explain(i[None])[0], n))(IMAGES, noise)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4)
