"""Imputation against a sparse direct solver, and ROAD against pytorch-grad-cam 1.5.7."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, sparse
from scipy.sparse import linalg

from hemojax.compilation import Program
from hemojax.metrics import road

SHAPE = (37, 53)  # odd, so that the coarser grids are not quite half as large
impute = Program(road.impute)


def scipy_imputation(image, known):
    """The equations of the paper, pixel by pixel, in float64."""
    image, known = np.asarray(image), np.asarray(known)
    height, width = known.shape
    number = np.cumsum(~known).reshape(known.shape) - 1
    unknown = np.argwhere(~known)
    matrix, right = sparse.lil_matrix((len(unknown), len(unknown))), np.zeros((len(unknown), image.shape[2]))
    for row, (i, j) in enumerate(unknown):
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                a, b, weight = i + di, j + dj, 1 / 12 if di and dj else 1 / 6
                if (di or dj) and 0 <= a < height and 0 <= b < width:
                    matrix[row, row] += weight
                    if known[a, b]:
                        right[row] += weight * image[a, b]
                    else:
                        matrix[row, number[a, b]] -= weight
    filled = np.array(image, np.float64)
    filled[~known] = linalg.spsolve(matrix.tocsc(), right).reshape(-1, image.shape[2])
    return filled


def smooth(seed, shape, sigma):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (sigma, sigma, 0)[: len(shape)])
    return jnp.asarray(3 * image / abs(image).max(), jnp.float32)


def test_a_hole_of_one_pixel_by_hand():
    image, known = np.arange(9, dtype=np.float32).reshape(3, 3, 1) ** 2, np.ones((3, 3), bool)
    known[1, 1] = False
    inside = (1 + 9 + 25 + 49) / 6 + (0 + 4 + 36 + 64) / 12
    np.testing.assert_allclose(impute(image, known)[1, 1, 0], inside, rtol=1e-6)
    known[:] = True
    known[0, 0] = False  # the weights of the three that are there, 5/12, are scaled to 1
    np.testing.assert_allclose(impute(image, known)[0, 0, 0], (1 / 6 + 9 / 6 + 16 / 12) / (5 / 12), rtol=1e-6)


def test_imputed_pixels_are_a_direct_solvers():
    shape = SHAPE
    image, heat = smooth(0, (*shape, 3), 2), smooth(1, shape, 6)
    rng = np.random.default_rng(2)
    corner = np.zeros(shape, bool)
    corner[3, 5] = corner[4, 5] = True
    ring = np.hypot(*(np.indices(shape) - np.reshape(shape, (2, 1, 1)) / 2)) > 15
    masks = [*(heat < np.percentile(heat, p) for p in road.PERCENTILES), rng.random(shape) < 0.3, corner, ring]
    for known in masks:
        filled = np.asarray(impute(image, known))
        np.testing.assert_array_equal(filled[known], image[known])
        np.testing.assert_allclose(filled, scipy_imputation(image, known), atol=5e-5)


def test_nothing_known_and_nothing_removed():
    image = smooth(0, (*SHAPE, 3), 1)
    np.testing.assert_array_equal(impute(image, np.ones(SHAPE, bool)), image)
    mean = np.broadcast_to(image.mean((0, 1)), image.shape)
    np.testing.assert_allclose(impute(image, np.zeros(SHAPE, bool)), mean, atol=1e-6)


def test_unknown_pixels_are_not_looked_at():
    image, known = smooth(0, (*SHAPE, 3), 1), smooth(1, SHAPE, 3) < 0.3
    other = jnp.where(known[..., None], image, 1e6)
    np.testing.assert_array_equal(impute(image, known), impute(other, known))


@pytest.mark.parametrize("shape", [(7, 9), (16, 16), (30, 41), (224, 224)])
def test_the_same_pixels_lie_below_a_percentile_as_numpys(shape):
    random = np.random.default_rng(0).random(shape).astype(np.float32)
    for heat in (random, np.round(random, 1), np.maximum(random - 0.5, 0)):
        kept = np.asarray(Program(road.kept)(heat))
        for i, percentile in enumerate(road.PERCENTILES):
            for found, values in ((kept[i], heat), (kept[4 + i], 1 - heat)):
                limit = np.percentile(values, percentile)
                # numpy before 2.4 interpolates in float64: a pixel may lie between its limit and that of float32
                clear = np.abs(values - limit) > 1e-6
                np.testing.assert_array_equal(found[clear], values[clear] < limit)


def test_road_is_the_mean_change_of_the_score():
    image, heat = smooth(0, (*SHAPE, 3), 1), smooth(1, SHAPE, 3)
    weights = np.random.default_rng(3).normal(size=image.shape).astype(np.float32)

    def score(images):
        return jnp.tanh(jnp.sum(images * weights, axis=(1, 2, 3)) / 10)

    found = Program(partial(road.road, score))(image, heat)
    changes = [
        np.mean(
            [
                np.tanh(np.sum(scipy_imputation(image, known) * weights) / 10) - np.tanh(np.sum(image * weights) / 10)
                for known in (map_ < np.percentile(map_, p) for p in road.PERCENTILES)
            ]
        )
        for map_ in (heat, 1 - heat)
    ]
    np.testing.assert_allclose(found[:2], changes, atol=5e-5)
    np.testing.assert_allclose(found.combined, (changes[1] - changes[0]) / 2, atol=5e-5)


def test_noise_lies_on_imputed_pixels_alone():
    filled, known = jnp.ones((8, 40, 40, 3)), road.kept(smooth(1, (40, 40), 3))
    noise = np.asarray(road.with_noise(filled, known, jax.random.key(0)) - filled)
    assert (noise[known] == 0).all()
    np.testing.assert_allclose(noise[~known].std(), road.NOISE, rtol=0.02)
    other = road.with_noise(filled, known, jax.random.key(1)) - filled
    assert abs(np.corrcoef(noise[~known].ravel(), other[~known].ravel())[0, 1]) < 0.02


def test_an_image_does_not_depend_on_those_beside_it():
    image, masks = smooth(0, (*SHAPE, 3), 1), jnp.stack([smooth(seed, SHAPE, 3) < 0 for seed in (1, 2, 3)])
    together = Program(jax.vmap(road.impute, in_axes=(None, 0)))(image, masks)
    for filled, known in zip(together, masks, strict=True):
        np.testing.assert_allclose(filled, impute(image, known), atol=1e-6)


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # pytorch-grad-cam's, with numpy 2
def test_pytorch_grad_cam_gives_the_same_pixels_and_figures(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-compare.txt)")
    theirs = pytest.importorskip(
        "pytorch_grad_cam.metrics.road", reason="grad-cam is not installed (requirements-compare.txt)"
    )
    imputer = theirs.NoisyLinearImputer
    monkeypatch.setattr(imputer.__init__, "__defaults__", (0.0, theirs.neighbors_weights))
    images = jnp.stack([smooth(seed, (*SHAPE, 3), 2) for seed in (0, 1)])
    heats = jnp.stack([smooth(seed, SHAPE, 6) for seed in (2, 3)])
    weights = np.random.default_rng(3).normal(size=images.shape[1:]).astype(np.float32)

    def score(batch):
        return jnp.tanh(jnp.sum(batch * weights, axis=(1, 2, 3)) / 10)

    def ours(image, heat):
        known = road.kept(heat)
        return known, road.impute_each(image, known), road.road(score, image, heat)

    def first(array):
        return torch.from_numpy(np.array(np.moveaxis(np.asarray(array), -1, -3)))

    known, filled, figures = Program(jax.vmap(ours))(images, heats)
    for i, n in np.ndindex(known.shape[:2]):
        there = imputer()(first(images[i]), torch.from_numpy(np.float32(known[i, n])))
        np.testing.assert_allclose(first(filled[i, n]).numpy(), there.numpy(), atol=1e-4)
    for kind, values in (
        (theirs.ROADMostRelevantFirstAverage, figures.most),
        (theirs.ROADLeastRelevantFirstAverage, figures.least),
        (theirs.ROADCombined, figures.combined),
    ):
        expected = kind(percentiles=[20, 40, 60, 80])(
            first(images),
            np.array(heats),
            [lambda output: output] * 2,
            lambda batch: torch.tanh((batch * first(weights)).sum((1, 2, 3)) / 10),
        )
        np.testing.assert_allclose(values, expected, atol=1e-4)
