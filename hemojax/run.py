"""A run: its config, its folder with the paths in it, and, once trained, its network's variables."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from hemojax import devices, models, results
from hemojax.errors import UserError
from hemojax.models.staged import StagedNetwork
from hemojax.network import Variables

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy", "nibabel")
FIXED_SECTIONS = ("name", "seed", "data", "model", "train")
"""What the records and the weights depend on; the rest may change between runs in one folder."""
FREE_OPTIONS = ("data.masks.", "data.device_share", "data.on_error", "train.log_steps")
"""Of these sections: what neither depends on."""
ADDED = {
    "data": {
        "mirror_channels": False,
        "on_error": "stop",
        "hash_names": False,
        "intensity": "hu",
        "axes": "",
        "resample_masks": False,
        "contradictions": "refuse",
        "patients": "",
        "patient_pattern": "",
        "stratify": ("any",),
        "split_seed": 0,
        "folds": 0,
        "fold": 0,
    },
    "model": {"local_stage": "", "local_pooling": "lse"},
    "train": {"sampling": "uniform", "erasing": 0.0, "erasing_stage": "", "pretrain": "", "pretrain_epochs": 12},
    "cam": {"registration": False, "mirrored": ()},
    "eval": {"refine": (), "fuse": 0, "student": 0},
}
"""Options that the runs of earlier versions do not name, and what these did."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run was asked for, and where its files are.

    Attributes:
        config: the run's config, see `hemojax.config.defaults` and `checks.checked`.
        workdir: the folder of everything that it writes.
    """

    config: ConfigDict
    workdir: Path

    @property
    def records(self) -> Path:
        """The prepared data set, see `data.records`."""
        return self.workdir / "records"

    @property
    def checkpoints(self) -> Path:
        """See `training.checkpoints`."""
        return self.workdir / "checkpoints"

    @property
    def trainings(self) -> "dict[int, Run]":
        """The runs, each in a folder of its own, of a config that names several seeds or all folds: by seed or fold."""
        return {number: self._training(number) for number in self.config.seeds or self._folds}

    @property
    def differs_in(self) -> str:
        """In what `trainings` differ."""
        return "seed" if self.config.seeds else "fold"

    @property
    def _folds(self) -> range:
        return range(self.config.data.folds if self.config.data.fold < 0 else 0)

    def _training(self, number: int) -> "Run":
        config = self.config.copy_and_resolve_references()
        if config.seeds:
            config.update(seed=number, seeds=())
        else:
            config.data.fold = number
        return Run(config, self.workdir / f"{self.differs_in}-{number}")

    @property
    def pretraining(self) -> Path:
        """The same things of the training that comes before, see `tasks.train`."""
        return self.workdir / "pretraining"

    @property
    def maps(self) -> Path:
        """Heat maps, a folder a job, see `benchmark.stored_maps`."""
        return self.workdir / "maps"

    @property
    def results(self) -> Path:
        """The result tables, see `hemojax.results`, and what is made of them."""
        return self.workdir / "results"


@dataclasses.dataclass(frozen=True)
class TrainedRun(Run):
    """A run whose network was trained.

    Attributes:
        network: the classifier.
        variables: of the network, after its best epoch.
        epoch: the number of that epoch.
    """

    network: StagedNetwork
    variables: Variables
    epoch: int


def create_network(config: ConfigDict, axis_name: str | None = None) -> StagedNetwork:
    """The config's network with a logit for each label.

    Args:
        config: the run's config.
        axis_name: of the devices over which batch norm shares its statistics, or None.
    """
    model = config.model
    return models.create(
        model.name,
        len(config.data.labels),
        dtype=jnp.dtype(model.dtype),
        axis_name=axis_name,
        local_stage=model.local_stage,
        local_pooling=model.local_pooling,
    )


def guard(run: Run) -> None:
    """Refuse a folder that holds another run.

    Raises:
        UserError: the folder holds a run with other options for data, model or training.
    """
    if (run.results / "run.json").exists():
        before, now = (_fixed(_options(config)) for config in (stored(run.workdir).config, run.config))
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise UserError(
                    f"{run.workdir}: holds a run with {name}={before.get(name)}, not {now.get(name)}; "
                    "name another --workdir or delete this one"
                )


def describe(run: Run, data: Mapping[str, Any]) -> None:
    """Write config, package versions, device, seed and what is said of the data to `<workdir>/results/run.json`.

    Args:
        run: the run.
        data: see `data.records.about`.
    """
    if devices.is_first_host():
        described = {
            "config": _options(run.config),
            "versions": {name: metadata.version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
            "device": devices.described(),
            "seed": run.config.seed,
            **data,
        }
        results.write_json(run.results / "run.json", described)


def stored(workdir: Path) -> Run:
    """The run that a folder holds, with the config that it was trained with.

    Raises:
        UserError: there is none.
    """
    run = Run(ConfigDict(), workdir)
    config = results.read_json(run.results / "run.json")["config"]
    for section, options in ADDED.items():
        config[section] = options | config[section]
    config["data"]["phantom"].setdefault("seed", config["seed"] if config["data"]["layout"] == "phantom" else 0)
    found = ConfigDict(_with_tuples(config))
    if "head_scale" not in found.train:
        head = getattr(create_network(found), "head", None)  # of an EfficientNet: U(-1, 1) / sqrt(outputs)
        found.train.head_scale = (head / len(found.data.labels)) ** 0.5 if head else 1.0
    return dataclasses.replace(run, config=found)


def _with_tuples(value: Any) -> Any:
    """JSON has lists where a config has tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _options(config: ConfigDict) -> dict[str, Any]:
    return json.loads(config.to_json_best_effort())


def _fixed(options: dict[str, Any]) -> dict[str, Any]:
    flat = _flat({section: values for section, values in options.items() if section in FIXED_SECTIONS})
    if flat.get("data.intensity") == "windowed":  # the same values, of which less is asked
        flat["data.intensity"] = "hu"
    return {name: value for name, value in flat.items() if not name.startswith(FREE_OPTIONS)}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
