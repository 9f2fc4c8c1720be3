"""What is timed of the metrics: every contender comes to the same counts and boxes."""

import numpy as np
import pytest

from hemojax.speed import metrics

SLICES, SIZE = 3, 40


def results(task):
    for name in metrics.TASKS[task]:
        (part,) = metrics.parts(task, name, SLICES, SIZE)
        yield name, part()


@pytest.mark.end_to_end
def test_every_contender_counts_the_same_pixels():
    found = dict(results("pixels"))
    ours = [np.stack(counts, axis=-1) for counts, _ in found.pop("hemojax")]
    assert np.shape(ours) == (SLICES, 66, 50, 3)
    for theirs in found.values():
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours[0], ours[metrics.CHUNK])


@pytest.mark.end_to_end
def test_every_contender_draws_the_same_boxes():
    found = dict(results("boxes"))
    ours = found.pop("hemojax")
    assert len(ours[0]) == 66 * 11
    for theirs in found.values():
        for one, other in zip(ours, theirs, strict=True):
            assert [list(map(tuple, boxes.tolist())) for boxes in one] == other


@pytest.mark.peers
def test_every_contender_imputes_the_same_pixels():
    pytest.importorskip("pytorch_grad_cam")
    found = dict(results("imputation"))
    ours = found.pop("hemojax")
    for theirs in found.values():
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, np.moveaxis(np.stack(other), 1, -1), atol=1e-4)


def test_maps_reach_from_0_to_1():
    maps, mask = metrics.example(0, SIZE)
    assert maps.min() == 0
    assert maps.max() == pytest.approx(1)
    assert 0 < mask.mean() < 0.1
