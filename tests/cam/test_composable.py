"""The engine inside of a user's own transformations gives the maps that it gives by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cam.toy import Toy, images, variables
from jax.sharding import AxisType, PartitionSpec

from hemojax import cam
from hemojax.errors import UserError

pytestmark = pytest.mark.end_to_end

NETWORK = Toy()
CELL = ("stage2", "ablationcam")
ROUNDING = {"fullgrad": 1e-2}  # which scales every channel to [0, 1], even one that holds but rounding


def explained(batch, target=1, known=None, methods=("gradcam", "ablationcam")):
    known = variables(NETWORK) if known is None else known
    return cam.explain(NETWORK, known, batch, methods=methods, stages=("stage2",), target=target)


def close(found, expected):
    assert found.maps.keys() == expected.maps.keys()
    for cell, maps in expected.maps.items():
        np.testing.assert_allclose(found.maps[cell], maps, atol=ROUNDING.get(cell[1], 1e-5), err_msg=str(cell))
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "methods"), [("predicted", ("gradcam", "scorecam")), ((0, 1, 2, 1), ("gradcam", "fullgrad"))]
)
def test_inside_of_jit(target, methods):
    batch = images(4)
    found = jax.jit(lambda batch: explained(batch, target, methods=methods))(batch)
    close(found, explained(batch, target, methods=methods))


def test_inside_of_jit_with_everything_traced():
    batch, known, labels = images(4), variables(NETWORK), jnp.array([0, 1, 2, 1])
    close(jax.jit(explained)(batch, labels, known), explained(batch, labels, known))


def test_inside_of_jit_with_nothing_traced():
    batch = np.asarray(images(2))
    close(jax.jit(lambda: explained(batch))(), explained(batch))


def test_inside_of_vmap():
    batch = images(6)
    mapped = jax.vmap(explained)(batch.reshape(3, 2, *batch.shape[1:]))
    flat = jax.tree.map(lambda leaf: leaf.reshape(6, *leaf.shape[2:]), mapped)
    close(flat, explained(batch))


def test_inside_of_shard_map():
    batch = images(4)
    mesh = jax.make_mesh((1,), ("x",), (AxisType.Auto,))
    share = jax.shard_map(
        explained, mesh=mesh, in_specs=PartitionSpec("x"), out_specs=PartitionSpec("x"), check_vma=False
    )
    close(share(batch), explained(batch))


def test_maps_can_be_differentiated():
    batch, known = images(2), variables(NETWORK)

    def total(batch):
        return explained(batch, known=known, methods=("gradcam",)).maps["stage2", "gradcam"].sum()

    slope = jax.grad(total)(batch)
    step = 1e-2 * jnp.sign(slope)
    assert float(total(batch + step)) > float(total(batch - step))


def test_a_target_that_the_network_does_not_have_is_refused_inside_of_jit_too():
    with pytest.raises(UserError, match="logits 0 to 2"):
        jax.jit(lambda batch: explained(batch, 3))(images(2))


def test_the_engine_inside_of_jit():
    batch, known = images(4), variables(NETWORK)
    explain = cam.build(NETWORK, ("ablationcam",), ("stage2",))
    inputs = (known, batch, cam.Target(jnp.zeros(4, int), jnp.ones(4)), jnp.arange(4))
    found = jax.jit(lambda *inputs: explain(*inputs).maps[CELL] * 2)(*inputs)
    np.testing.assert_allclose(found, 2 * explain(*inputs).maps[CELL], atol=1e-5)
