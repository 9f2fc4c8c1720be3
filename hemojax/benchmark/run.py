"""What is written down about a run before it begins, and guards its folder."""

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from hemojax import devices
from hemojax.cam import engine, memory, targets
from hemojax.cam.method import check_name
from hemojax.data import hounsfield
from hemojax.data.case import LABELS
from hemojax.errors import UserError
from hemojax.metrics.cuts import PROTOCOLS
from hemojax.models import pretrained
from hemojax.models.staged import StagedNetwork
from hemojax.reporting import tables
from hemojax.training import loop

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy", "nibabel")
FIXED_SECTIONS = ("name", "seed", "data", "model", "train")
"""What the records and the weights depend on; the rest may change between runs in one folder."""
FREE_OPTIONS = ("data.masks.", "data.device_share", "train.log_steps")
"""Of these sections: what neither depends on."""


def checked(config: ConfigDict) -> ConfigDict:
    """The config with every stage under its one name (see `StagedNetwork.resolve`), as it stands in all results.

    Raises:
        UserError: something in it is unknown (names the option or the nearest name), or the weights are missing.
    """
    for label in config.data.labels:
        check_name(label, LABELS, "label")
    network = loop.create_network(config)
    if config.model.weights:
        pretrained.locate(config.model.weights, config.model.name)
    check_name(config.data.normalisation, hounsfield.NORMALISATIONS, "normalisation")
    check_name(config.eval.protocol, tuple(PROTOCOLS), "protocol")
    config = config.copy_and_resolve_references()
    config.cam = sized(config.cam, network, config.data)
    cam = config.cam
    for section in (cam, *(section for section in cam.values() if isinstance(section, ConfigDict))):
        section.stages = tuple(dict.fromkeys(map(network.resolve, section.stages)))
    engine.build(network, cam.methods, cam.stages, seeds=cam.random_seeds, chunk=cam.chunk)
    targets.resolve(cam.target, tuple(config.data.labels))
    if config.train.log_steps < 1:
        raise UserError(f"--config.train.log_steps={config.train.log_steps}: give a number of steps, 1 or more")
    if config.train.batch % jax.device_count():
        raise UserError(f"--config.train.batch={config.train.batch} is not a multiple of {jax.device_count()} devices")
    return config


def sized(cam: ConfigDict, network: StagedNetwork, data: ConfigDict) -> ConfigDict:
    """The config's cam section with numbers for its `batch` and `chunk`, by the devices' memory where they are 0.

    Raises:
        UserError: one of them is negative.
    """
    for name in ("batch", "chunk"):
        if cam[name] < 0:
            raise UserError(f"--config.cam.{name}={cam[name]}: give a number above 0, or 0 for what the memory allows")
    cam, held = cam.copy_and_resolve_references(), devices.memory()
    found = memory.at_once(network, (data.size, data.size, hounsfield.channels(data.windows)), held)
    cam.batch = cam.batch or found.batch * (jax.local_device_count() if held else 1)
    cam.chunk = cam.chunk or found.chunk
    return cam


def guard(config: ConfigDict, workdir: Path) -> None:
    """Refuse a folder that holds another run.

    Raises:
        UserError: the folder holds a run with other options for data, model or training.
    """
    path = workdir / "results" / "run.json"
    if path.exists():
        before, now = (_fixed(options) for options in (tables.read_json(path)["config"], _options(config)))
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise UserError(
                    f"{workdir}: holds a run with {name}={before.get(name)}, not {now.get(name)}; "
                    "name another --workdir or delete this one"
                )


def describe(config: ConfigDict, workdir: Path) -> None:
    """Write config, package versions, device and seed to `<workdir>/results/run.json`."""
    if devices.is_first_host():
        described = {
            "config": _options(config),
            "versions": {name: metadata.version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "seed": config.seed,
        }
        tables.write_json(workdir / "results" / "run.json", described)


def stored_config(workdir: Path) -> ConfigDict:
    """The config of the run in a folder.

    Raises:
        UserError: there is none.
    """
    return ConfigDict(tables.read_json(workdir / "results" / "run.json")["config"])


def _options(config: ConfigDict) -> dict[str, Any]:
    return json.loads(config.to_json_best_effort())


def _fixed(options: dict[str, Any]) -> dict[str, Any]:
    flat = _flat({section: values for section, values in options.items() if section in FIXED_SECTIONS})
    return {name: value for name, value in flat.items() if not name.startswith(FREE_OPTIONS)}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
