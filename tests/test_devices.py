from jax.sharding import AxisType

from hemojax import devices


def test_the_mesh_leaves_sharding_to_the_compiler():
    # With explicit axes, which `jax.make_mesh` gives unasked, programs of several devices are refused or stall.
    assert devices.mesh().axis_types == (AxisType.Auto,)
