import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from hemojax import devices


def test_the_mesh_leaves_sharding_to_the_compiler():
    # With explicit axes, which `jax.make_mesh` gives unasked, programs of several devices are refused or stall.
    assert devices.mesh().axis_types == (AxisType.Auto,)


def test_results_come_in_order_while_two_more_are_started():
    started: list[int] = []

    def results():
        for number in range(5):
            started.append(number)
            yield jnp.asarray(number)

    ahead = []
    for number, result in enumerate(devices.in_turn(results())):
        assert int(result) == number
        ahead.append(len(started) - 1 - number)
    assert ahead == [2, 2, 2, 1, 0]


def test_a_whole_batch_divides_over_the_devices(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert [devices.whole_batch(number) for number in (1, 4, 5)] == [4, 4, 8]
