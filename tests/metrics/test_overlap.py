import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics

from hemojax.metrics import overlap


def count_all(heat, mask, thresholds):
    return jax.jit(lambda h, m: overlap.count(h, m, thresholds)[0])(heat, mask)


count_usual = jax.jit(lambda heat, mask: overlap.count(heat, mask, overlap.THRESHOLDS))
SHAPE = (5, 7)
on_a_threshold = st.sampled_from(
    [0.0, 1.0, *overlap.THRESHOLDS.tolist()]
    + [float(np.nextafter(t, np.float32(side))) for t in overlap.THRESHOLDS for side in (0, 1)]
)
HEATS = hnp.arrays(np.float32, SHAPE, elements=on_a_threshold)
MASKS = hnp.arrays(bool, SHAPE)


def counts_by_loop(heat, mask, thresholds):
    predictions = [heat > t for t in thresholds]
    return np.array([[(p & mask).sum(), (p & ~mask).sum(), (~p & mask).sum()] for p in predictions]).T


def test_thresholds_are_the_protocols():
    assert overlap.THRESHOLDS.shape == (51,)
    assert overlap.THRESHOLDS.dtype == np.float32
    assert (np.diff(overlap.THRESHOLDS) > 0).all()
    assert np.isin(np.float32([0.1, 0.5, 0.9]), overlap.THRESHOLDS).all()


def test_counts_of_a_worked_example():
    heat = jnp.array([[0.9, 0.5], [0.2, 0.7]])
    mask = jnp.array([[True, True], [False, False]])
    counts = count_all(heat, mask, np.array([0.1, 0.5, 0.8, 0.95]))
    assert counts.tp.tolist() == [2, 1, 1, 0]
    assert counts.fp.tolist() == [2, 1, 0, 0]
    assert counts.fn.tolist() == [0, 1, 1, 2]
    assert {c.dtype for c in counts} == {jnp.dtype("int32")}


@settings(max_examples=40, deadline=None)
@given(HEATS, MASKS)
def test_counts_are_exact_at_and_beside_every_threshold(heat, mask):
    counts, levels = map(np.array, count_usual(heat, mask))
    np.testing.assert_array_equal(counts, counts_by_loop(heat, mask, overlap.THRESHOLDS))
    np.testing.assert_array_equal(counts[0] + counts[2], mask.sum())
    # heat >= k / 1024, exactly, and what is 1 belongs to the highest level.
    at_least = heat[..., None].astype(np.float64) >= np.arange(overlap.LEVELS) / overlap.LEVELS
    expected = [(at_least & part[..., None]).sum(axis=(0, 1)) for part in (mask, ~mask)]
    np.testing.assert_array_equal(levels[:, ::-1].cumsum(axis=1)[:, ::-1], expected)


@settings(max_examples=30, deadline=None)
@given(HEATS, MASKS)
def test_flipping_heat_and_mask_together_changes_nothing(heat, mask):
    flipped = count_usual(heat[::-1, ::-1].copy(), mask[::-1, ::-1].copy())
    for one, other in zip(flipped, count_usual(heat, mask), strict=True):
        np.testing.assert_array_equal(one, other)


def test_counts_of_maps_under_vmap_are_those_of_each_map():
    rng = np.random.default_rng(0)
    heats, mask = rng.random((3, 16, 12), np.float32), rng.random((16, 12)) < 0.3
    together, _ = jax.vmap(count_usual, (0, None))(heats, mask)
    for k, heat in enumerate(heats):
        np.testing.assert_array_equal([c[k] for c in together], counts_by_loop(heat, mask, overlap.THRESHOLDS))


def test_repeated_thresholds_and_nan_pixels():
    heat = jnp.array([[jnp.nan, 0.6, 0.5]])
    counts = count_all(heat, jnp.ones((1, 3), bool), np.array([0.5, 0.5]))
    assert counts.tp.tolist() == [1, 1]
    assert counts.fn.tolist() == [2, 2]


def test_any_thresholds_of_any_map():
    # Crowded into one level, below 0 and above 1.
    thresholds = np.float32([-3.0, -1.0, 1e-9, 0.5, 0.5001, 0.50015, 0.5002, 0.9, 1.0, 2.0])
    beside = [np.nextafter(thresholds, np.float32(side)) for side in (-9, 9)]
    heat = np.concatenate([thresholds, *beside, [-np.inf, np.inf]]).reshape(4, 8).astype(np.float32)
    mask = np.arange(32).reshape(4, 8) % 3 == 0
    np.testing.assert_array_equal(count_all(heat, mask, thresholds), counts_by_loop(heat, mask, thresholds))


@pytest.mark.parametrize("thresholds", [np.zeros(0, np.float32), np.float32([0.3])])
def test_few_thresholds(thresholds):
    heat = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    counts = count_all(heat, heat > 0.6, thresholds)
    np.testing.assert_array_equal(counts, counts_by_loop(heat, heat > 0.6, thresholds).reshape(3, -1))


def test_ratios_are_scikit_learns():
    rng = np.random.default_rng(1)
    heat, mask = rng.random((20, 20), np.float32), rng.random((20, 20)) < 0.4
    counts = count_all(heat, mask, overlap.THRESHOLDS)
    tp, fp, fn = (np.asarray(c) for c in counts)
    for k in (0, 25, 50):
        truth, predicted = mask.ravel(), (heat > overlap.THRESHOLDS[k]).ravel()
        assert overlap.dice(tp, fp, fn)[k] == pytest.approx(sklearn_metrics.f1_score(truth, predicted))
        assert overlap.iou(tp, fp, fn)[k] == pytest.approx(sklearn_metrics.jaccard_score(truth, predicted))
        assert overlap.precision(tp, fp)[k] == pytest.approx(sklearn_metrics.precision_score(truth, predicted))
        assert overlap.recall(tp, fn)[k] == pytest.approx(sklearn_metrics.recall_score(truth, predicted))


def test_ratios_of_nothing():
    assert overlap.dice(0, 0, 0) == 1
    assert overlap.iou(0, 0, 0) == 1
    assert np.isnan(overlap.precision(0, 0))
    assert np.isnan(overlap.recall(0, 0))
    assert overlap.dice(np.array([0, 1]), np.array([0, 0]), np.array([5, 0])).tolist() == [0, 1]


def test_ratios_do_not_overflow_the_counts_own_type():
    half_of_int32 = np.int32(2**30)
    assert overlap.dice(half_of_int32, half_of_int32, half_of_int32) == 0.5
