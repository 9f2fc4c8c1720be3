from jax.sharding import AxisType

from hemojax.training import predict


def test_the_mesh_leaves_sharding_to_the_compiler():
    # With explicit axes, which `jax.make_mesh` gives unasked, programs of several devices are refused or stall.
    assert predict.device_mesh().axis_types == (AxisType.Auto,)
