import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax import groups


@pytest.mark.parametrize(("batch", "images", "shape"), [(8, 4, (2, 4)), (6, 4, (2, 3)), (7, 4, (7, 1)), (4, 0, (4, 1))])
def test_groups_are_equal_and_keep_the_order(batch, images, shape):
    grouped = groups.in_groups(jnp.arange(batch * 3).reshape(batch, 3), images)
    assert grouped.shape == (*shape, 3)
    assert np.array_equal(grouped.reshape(batch, 3), np.arange(batch * 3).reshape(batch, 3))


def test_mapping_in_groups_runs_the_function_once_for_a_group(monkeypatch):
    monkeypatch.setattr(groups, "GROUP_PIXELS", 2 * 5 * 4)
    sizes = []

    def function(images, others):
        sizes.append(len(images))
        return {"sum": images.sum((1, 2, 3)) + others["a"], "b": others["b"]}

    images = jnp.asarray(np.random.default_rng(0).standard_normal((6, 5, 4, 3)), jnp.float32)
    others = {"a": jnp.arange(6.0), "b": jnp.arange(12.0).reshape(6, 2)}
    mapped = jax.jit(lambda x, o: groups.map_groups(function, "cpu", x, o))(images, others)
    assert set(sizes) == {2}
    whole = function(images, others)
    for name in whole:
        np.testing.assert_allclose(mapped[name], whole[name], rtol=1e-6)
