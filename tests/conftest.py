"""Which tests run where nobody says, and how long their programs are optimised."""

import importlib
import os
from importlib import metadata

import pytest

# Half of the suite's time is LLVM's, for programs that run once. Wherever a test starts a process, that has it too.
flags = [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
if metadata.version("jax") < "0.11":  # which has no other way any more, and refuses the flag
    flags.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join(flags)

# What a checked module is the first to import, jaxtyping's hook compiles from its source.
OUTSIDE = "flax.linen grain jax matplotlib.figure nibabel orbax.checkpoint pandas pydicom.pixels scipy.stats"
OUTSIDE += " tensorflow_datasets"
for name in OUTSIDE.split():
    importlib.import_module(name)

ON_REQUEST = ("long", "accelerators")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes very long or packages of its own, unless `-m` names it."""
    left_out = [name for name in ON_REQUEST if name not in config.option.markexpr]
    kept, dropped = [], []
    for item in items:
        (dropped if any(item.get_closest_marker(name) for name in left_out) else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
