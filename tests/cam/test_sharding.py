"""Eight devices give the maps of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.end_to_end

CHECK = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from cam.toy import Toy, images, variables
from hemojax import cam

network = Toy(widths=(3, 4, 5))
known = variables(network)
batch = np.asarray(images(16))
target = cam.Target(np.arange(16) % 3, np.where(np.arange(16) % 2, 1.0, -1.0).astype(np.float32))
identities = np.arange(16) * 31
methods = ("gradcam", "eigencam", "ablationcam", "scorecam", "randomcam")
options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
one = cam.build(network, methods, ("stage2",), seeds=2, chunk=4, compiler_options=options)
expected = one(known, batch, target, identities)
assert len(jax.devices()) == 8
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
many = cam.build(network, methods, ("stage2",), seeds=2, chunk=4, mesh=mesh, compiler_options=options)
known = jax.device_put(known, NamedSharding(mesh, PartitionSpec()))
compiled = many.lower(known, batch, target, identities).compile()
text = compiled.as_text()
for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
    assert collective + "(" not in text and collective + "-start(" not in text, collective
found = compiled(known, batch, target, identities)
for cell, maps in found.maps.items():
    assert len(maps.addressable_shards) == 8 and maps.addressable_shards[0].data.shape[0] == 2, cell
    np.testing.assert_allclose(maps, expected.maps[cell], atol=1e-5, rtol=0, err_msg=str(cell))
np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
print("equal", len(found.maps))
"""


def test_eight_devices_give_the_maps_of_one():
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(here.parent), str(here.parent.parent)]),
    }
    done = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["equal", "5"]
