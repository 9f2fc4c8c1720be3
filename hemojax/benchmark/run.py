"""What is written down about a run before it begins, and guards its folder."""

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from hemojax.errors import UserError
from hemojax.reporting import tables

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy", "nibabel")
FIXED_SECTIONS = ("name", "seed", "data", "model", "train")
"""What the records and the weights depend on; the other sections may change between runs in one folder."""


def begin(config: ConfigDict, workdir: Path) -> None:
    """Write config, package versions, device and seed to `<workdir>/results/run.json`.

    Raises:
        UserError: the folder holds a run with other options for data, model or training.
    """
    path = workdir / "results" / "run.json"
    options = json.loads(config.to_json_best_effort())
    if path.exists():
        before = _flat({k: v for k, v in tables.read_json(path)["config"].items() if k in FIXED_SECTIONS})
        now = _flat({k: v for k, v in options.items() if k in FIXED_SECTIONS})
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise UserError(
                    f"{workdir}: holds a run with {name}={before.get(name)}, not {now.get(name)}; "
                    "name another --workdir or delete this one"
                )
    if jax.process_index() == 0:
        described = {
            "config": options,
            "versions": {name: metadata.version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "seed": config.seed,
        }
        tables.write_json(path, described)


def stored_config(workdir: Path) -> ConfigDict:
    """The config of the run in a folder.

    Raises:
        UserError: there is none.
    """
    return ConfigDict(tables.read_json(workdir / "results" / "run.json")["config"])


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
