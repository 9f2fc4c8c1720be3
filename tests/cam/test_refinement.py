"""Refinements against loops over pixels, and what they must not do: invent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from hemojax.cam import refinement
from hemojax.errors import UserError


def disc(side=32, radius=7.0):
    rows, columns = np.mgrid[:side, :side] - side / 2
    return np.hypot(rows, columns) < radius


def pamr_by_loops(heat, guide, steps, dilations, sharpness):
    """Pixel by pixel; beyond the border stands the border's pixel."""
    h, w = guide.shape
    around = [(d * i, d * j) for d in dilations for i in (-1, 0, 1) for j in (-1, 0, 1)]

    def at(image, i, j):
        return image[min(max(i, 0), h - 1), min(max(j, 0), w - 1)]

    for _ in range(steps):
        new = np.zeros_like(heat)
        for i in range(h):
            for j in range(w):
                deviation = np.std([at(guide, i + a, j + b) for a, b in around], ddof=1)
                neighbours = [offset for offset in around if offset != (0, 0)]
                distance = [abs(at(guide, i + a, j + b) - guide[i, j]) for a, b in neighbours]
                weights = np.exp(-np.array(distance) / (1e-8 + sharpness * deviation))
                values = [at(heat, i + a, j + b) for a, b in neighbours]
                new[i, j] = np.dot(weights, values) / weights.sum()
        heat = new
    return heat


def test_pamr_is_that_of_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    maps, guide = rng.random((2, 7, 9)), rng.random((7, 9))
    with jax.enable_x64():
        found = refinement.pamr(jnp.asarray(maps), jnp.asarray(guide), steps=3, dilations=(1, 2), sharpness=0.3)
    for heat, one in zip(maps, found, strict=True):
        np.testing.assert_allclose(one, pamr_by_loops(heat, guide, 3, (1, 2), 0.3), atol=1e-10)


def test_the_walk_solves_its_equation():
    rng = np.random.default_rng(0)
    maps, guide = rng.random((2, 7, 9)), rng.random((7, 9))
    laplacian = sparse.lil_matrix((63, 63))
    for i, j in np.ndindex(7, 9):
        for a, b in ((i + 1, j), (i, j + 1)):
            if a < 7 and b < 9:
                joined = np.exp(-20 * ((guide[a, b] - guide[i, j]) / guide.std()) ** 2)
                one, other = 9 * i + j, 9 * a + b
                laplacian[one, other] = laplacian[other, one] = -joined
                laplacian[one, one] += joined
                laplacian[other, other] += joined
    with jax.enable_x64():
        found = refinement.walk(jnp.asarray(maps), jnp.asarray(guide), sharpness=20.0, restart=0.05, iterations=500)
    for heat, one in zip(maps, found, strict=True):
        expected = spsolve((laplacian + 0.05 * sparse.eye_array(63)).tocsr(), 0.05 * heat.ravel())
        np.testing.assert_allclose(np.ravel(one), expected, atol=1e-5)


@pytest.mark.parametrize("name", refinement.REFINEMENTS)
def test_a_coarse_map_takes_the_outline_of_what_it_covers(name):
    lesion = disc()
    guide = np.where(lesion, 0.8, 0.4) + np.random.default_rng(0).normal(0, 0.03, lesion.shape)
    coarse = jax.image.resize(jax.image.resize(jnp.asarray(lesion, jnp.float32), (4, 4), "linear"), (32, 32), "linear")
    coarse = jnp.roll(coarse, 3, axis=0)
    refined = np.asarray(refinement.refine(name, coarse[None], jnp.asarray(guide))[0])
    assert refined.min() == 0
    assert refined.max() == pytest.approx(1, abs=1e-5)

    def best_dice(heat):
        found = [heat > threshold for threshold in np.linspace(0.05, 0.95, 19)]
        return max(2 * (mask & lesion).sum() / (mask.sum() + lesion.sum()) for mask in found)

    assert best_dice(np.asarray(coarse)) < 0.75
    assert best_dice(refined) > (0.8 if name == "walk" else 0.95)


@pytest.mark.parametrize("name", refinement.REFINEMENTS)
def test_nothing_is_invented_where_there_is_nothing(name):
    guide = jnp.asarray(np.where(disc(), 0.8, 0.4))
    nothing = refinement.refine(name, jnp.zeros((1, 32, 32)), guide)
    np.testing.assert_array_equal(nothing, 0)
    far = np.zeros((1, 32, 32), np.float32)
    far[0, :3, :3] = 1  # a corner, and not the disc
    found = np.asarray(refinement.refine(name, jnp.asarray(far), guide)[0])
    assert found[disc()].max() < 0.5
    assert np.isfinite(refinement.refine(name, jnp.asarray(far), jnp.zeros((32, 32)))).all()


def test_only_differences_of_grey_matter():
    rng = np.random.default_rng(0)
    maps, guide = jnp.asarray(rng.random((1, 16, 16)), jnp.float32), jnp.asarray(rng.random((16, 16)), jnp.float32)
    first, second = (refinement.refine("pamr", maps, one) for one in (guide, 3 * guide + 40))
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gradcam+pamr", ("gradcam", "pamr")),
        ("gradcam+++pamr", ("gradcam++", "pamr")),
        ("gradcam++", ("gradcam++", "")),
        ("gradcam", ("gradcam", "")),
    ],
)
def test_a_name_says_what_was_refined_and_how(name, parts):
    assert refinement.parts(name) == parts
    assert refinement.named(*parts) == name


def test_an_unknown_refinement_is_refused():
    with pytest.raises(UserError, match="did you mean 'pamr'"):
        refinement.refine("pamrr", jnp.zeros((1, 4, 4)), jnp.zeros((4, 4)))
