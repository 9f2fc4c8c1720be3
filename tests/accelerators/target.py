"""Devices that programs are compiled for on a machine that has none of them: an H100 and a TPU v5e.

    eight = target.mesh("h100", 8)

An environment with `requirements-accelerators.txt` is needed; no GPU and no TPU is.
"""

import os
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"  # this process's own; what is compiled for is said below
os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # libtpu asks the cloud which TPU this is otherwise
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no chip is opened: another process may compile too

import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from hemojax.devices import AXIS

TARGETS = ("h100", "v5e")
V5E = {1: "v5e:2x2", 4: "v5e:2x2", 8: "v5e:2x4", 16: "v5e:4x4"}  # the smallest topology has four chips
# XLA tries its kernels on a GPU and takes the fastest; without one it takes the first that it thinks of.
OPTIONS: dict[str, dict[str, Any]] = {"h100": {"xla_gpu_autotune_level": 0}, "v5e": {}}


def mesh(target: str, number: int) -> Mesh:
    """So many devices of one host along the axis of batches; 4, 8 or 16 chips of a v5e, or one of four."""
    if target == "h100":
        description = Path(__file__).with_name("h100.txtpb").read_text()
        topology = topologies.get_topology_desc("", "cuda", target_config=description, topology=f"1x1x{number}")
    else:
        topology = topologies.get_topology_desc(V5E[number], "tpu")
    return Mesh(np.array(topology.devices[:number]), (AXIS,))
