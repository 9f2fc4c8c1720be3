import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hemojax.metrics import pointing

SHAPE = (6, 7)
MASKS = hnp.arrays(bool, SHAPE)
HEATS = st.sampled_from([st.floats(0, 1, width=32, allow_subnormal=False), st.sampled_from([0.0, 0.25, 1.0])]).flatmap(
    lambda elements: hnp.arrays(np.float32, SHAPE, elements=elements)
)
pointing_near, energy, rank_accuracy = map(jax.jit, (pointing.pointing_near, pointing.energy, pointing.rank_accuracy))


@pytest.mark.parametrize(
    ("heat", "hit"),
    [
        ([[0.1, 0.9], [0.2, 0.3]], True),
        ([[0.9, 0.1], [0.2, 0.3]], False),
        ([[0.1, 0.9], [0.9, 0.3]], True),  # of two hottest pixels the first counts
        ([[0.9, 0.9], [0.2, 0.3]], False),
        ([[0.4, 0.4], [0.4, 0.4]], False),  # points nowhere
    ],
)
def test_pointing_hit(heat, hit):
    mask = jnp.array([[False, True], [False, False]])
    assert bool(pointing.pointing_hit(jnp.array(heat), mask)) is hit


def test_a_constant_map_misses_even_a_full_mask():
    assert not pointing.pointing_hit(jnp.ones((4, 4)), jnp.ones((4, 4), bool))


@pytest.mark.parametrize(("column", "hit"), [(46, True), (47, False), (15, True), (14, False)])
def test_the_pointing_game_allows_15_pixels_of_512(column, hit):
    mask, heat = np.zeros((512, 512), bool), np.zeros((512, 512), np.float32)
    mask[100, 30:32] = True
    heat[100, column] = 1
    assert bool(pointing_near(heat, mask)) is hit


def test_the_tolerance_goes_with_the_grid():
    heat, mask = np.zeros((2, 64, 64), np.float32)  # of which 15 / 512 are 1.875 pixels
    heat[20, 20] = 1
    for at, hit in (((21, 21), True), ((20, 22), False), ((22, 20), False)):
        mask = np.zeros((64, 64), bool)
        mask[at] = True
        assert bool(pointing_near(heat, mask)) is hit
    assert not pointing_near(heat, np.zeros((64, 64), bool))
    assert not pointing_near(np.ones((64, 64)), np.ones((64, 64), bool))


def test_energy_of_worked_examples():
    heat, mask = np.float32([[0.5, 0.25], [0.25, 1.0]]), np.array([[True, False], [True, False]])
    assert energy(heat, mask) == 0.375
    assert energy(np.zeros((2, 2)), mask) == 0
    assert energy(heat, np.zeros((2, 2), bool)) == 0


def test_rank_accuracy_of_worked_examples():
    mask = np.array([[True, True, True], [False, False, False]])
    assert rank_accuracy(np.float32([[0.9, 0.8, 0.1], [0.7, 0.2, 0.0]]), mask) == pytest.approx(2 / 3)
    # Of two places in a tie of three, of which one lies inside, it gets two thirds.
    assert rank_accuracy(np.float32([[0.9, 0.5, 0.1], [0.5, 0.5, 0.0]]), mask) == pytest.approx((1 + 2 / 3) / 3)
    assert rank_accuracy(np.zeros((2, 3)), mask) == 0.5  # any order of the pixels
    assert rank_accuracy(np.float32([[-0.0, -1.0, -2.0], [0.0, -3.0, -4.0]]), mask) == pytest.approx(2 / 3)
    assert rank_accuracy(np.ones((2, 3)), np.zeros((2, 3), bool)) == 0


@settings(max_examples=60, deadline=None)
@given(HEATS, MASKS)
def test_rank_accuracy_is_that_of_sorted_pixels(heat, mask):
    area = mask.sum()
    expected = 0.0
    if area:
        last = np.sort(heat.ravel())[::-1][area - 1]
        above, tied = heat > last, heat == last
        expected = (above & mask).sum() + (area - above.sum()) * (tied & mask).sum() / tied.sum()
        expected /= area
    assert rank_accuracy(heat, mask) == pytest.approx(expected, abs=1e-6)


def test_many_maps_at_once_are_each_map():
    rng = np.random.default_rng(0)
    heats, masks = rng.random((3, 9, 8), np.float32), rng.random((3, 9, 8)) < 0.4
    for figure in (pointing.pointing_hit, pointing.pointing_near, pointing.energy, pointing.rank_accuracy):
        together, alone = jax.jit(jax.vmap(figure))(heats, masks), jax.jit(figure)
        np.testing.assert_allclose(together, [alone(h, m) for h, m in zip(heats, masks, strict=True)], rtol=1e-6)


@pytest.mark.peers
def test_energy_and_ranks_are_those_of_quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on import
        reason = "quantus is not installed (pip install quantus)"
        theirs = pytest.importorskip("quantus.metrics.localisation", reason=reason)
        rng = np.random.default_rng(0)
        heats, masks = rng.random((4, 32, 32), np.float32), rng.random((4, 32, 32)) < 0.2
        options = {"disable_warnings": True, "abs": False, "normalise": False}
        for name, ours in (("RelevanceMassAccuracy", energy), ("RelevanceRankAccuracy", rank_accuracy)):
            expected = getattr(theirs, name)(**options).evaluate_batch(heats[:, None], masks[:, None])
            np.testing.assert_allclose([ours(h, m) for h, m in zip(heats, masks, strict=True)], expected, rtol=1e-5)
