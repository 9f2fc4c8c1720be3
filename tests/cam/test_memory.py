import pytest

from hemojax import models
from hemojax.cam import memory

NETWORK = models.create("resnet18", 1)


def test_layers_of_a_resnet():
    found = memory.layer_bytes(NETWORK, (64, 64, 3))
    stem = 4 * 32 * 32 * 64  # bytes of what the first convolution gives, and its norm
    assert found[:2] == [stem, stem]
    assert len(found) == 2 * 20  # 17 convolutions, 3 in the shortcuts, a norm each
    assert memory.layer_bytes(models.create("resnet18", 1, dtype="bfloat16"), (64, 64, 3)) == [n // 2 for n in found]


def test_a_cpu_takes_what_its_cache_likes():
    assert memory.at_once(NETWORK, (512, 512, 3), 0) == (16, 64)


@pytest.mark.parametrize("gib", [1, 16, 80])
def test_what_is_taken_fits_and_is_not_far_below(gib):
    outputs, room = memory.layer_bytes(NETWORK, (512, 512, 3)), memory.SHARE * gib * 2**30
    found = memory.at_once(NETWORK, (512, 512, 3), gib * 2**30)
    for number, most, bytes_each in (
        (found.batch, memory.MOST_IMAGES, 2 * sum(outputs)),
        (found.chunk, memory.MOST_COPIES, memory.COPIES_OF_A_LAYER * max(outputs)),
    ):
        assert number * bytes_each <= room
        assert number == most or 2 * number * bytes_each > room


def test_one_at_least():
    assert memory.at_once(NETWORK, (512, 512, 3), 1) == (1, 1)
