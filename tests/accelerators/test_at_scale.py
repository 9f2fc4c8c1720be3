"""The bound of a program whose figures are round numbers."""

import pytest

from tests.accelerators.at_scale import Peak, seconds

FOUND = {
    "gflop": 4.0,
    "kernels": {"read": 6_000_000_000, "written": 2_000_000_000},
    "collectives": {"all-reduce": {"number": 2, "mib": 1000.0}},
}


def test_seconds_of_each_bound():
    found = seconds(FOUND, Peak(flops=8e9, memory=16e9, link=2**20 * 1e4), share=0.5)
    assert found == pytest.approx({"operations": 1.0, "memory": 1.0, "links": 0.4})


def test_operations_that_the_compiler_did_not_say():
    assert seconds({**FOUND, "gflop": None}, Peak(8e9, 16e9, 1e9), 1.0, gflop=16)["operations"] == 2.0
