"""What is asked of a config before a run begins: every name is known, every number usable."""

import contextlib
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

from hemojax import devices, option_rules
from hemojax.cam import engine, memory, targets
from hemojax.cam.refinement import REFINEMENTS
from hemojax.cam.registry import METHODS
from hemojax.data import grey, hounsfield, reading
from hemojax.data.datasets import LAYOUTS
from hemojax.data.datasets.recognition import AUTO
from hemojax.data.labels import LABELS
from hemojax.errors import UserError, check_name
from hemojax.models import MODELS, pretrained
from hemojax.models.pooling import LOCAL_POOLINGS
from hemojax.network import Network
from hemojax.run import create_network
from hemojax.statistics.thresholds import PROTOCOLS
from hemojax.training.sampling import SAMPLINGS
from hemojax.training.state import OPTIMIZERS

DTYPES = ("float32", "bfloat16")
PRETRAININGS = ("phantom",)


def checked(config: ConfigDict) -> ConfigDict:
    """The config with every stage under its one name (see `Network.resolve`), as it stands in all results.

    Raises:
        UserError: something in it is unknown (names the option or the nearest name), or the weights are missing.
    """
    option_rules.check(config)
    check_name(config.data.layout, (*LAYOUTS, AUTO, "phantom"), "data.layout")
    for option in ("labels", "stratify"):
        for label in config.data[option]:
            check_name(label, LABELS, f"data.{option}")
    reading.of_config(config.data)
    check_name(config.model.dtype, DTYPES, "model.dtype")
    check_name(config.train.optimizer, OPTIMIZERS, "train.optimizer")
    check_name(config.train.sampling, SAMPLINGS, "train.sampling")
    if config.train.pretrain:
        check_name(config.train.pretrain, PRETRAININGS, "train.pretrain")
    check_name(config.model.name, MODELS, "model.name")
    for name in config.cam.methods:
        check_name(name, METHODS, "cam.methods")
    check_name(config.model.local_pooling, LOCAL_POOLINGS, "model.local_pooling")
    with _naming("model.local_stage"):
        network = create_network(config)
    if config.model.weights:
        pretrained.locate(config.model.weights, config.model.name)
    check_name(config.data.normalisation, hounsfield.NORMALISATIONS, "data.normalisation")
    check_name(config.eval.protocol, PROTOCOLS, "eval.protocol")
    for name in config.eval.refine:
        check_name(name, REFINEMENTS, "eval.refine")
    config = config.copy_and_resolve_references()
    if config.train.erasing_stage:
        with _naming("train.erasing_stage"):
            config.train.erasing_stage = network.resolve(config.train.erasing_stage)
    if config.train.erasing:
        if config.data.mirror_channels:
            raise UserError("--config.train.erasing fills no mirror image: leave out --config.data.mirror_channels")
        if not config.train.erasing_stage:
            raise UserError(
                "--config.train.erasing needs a stage whose maps say what is erased: --config.train.erasing_stage"
            )
    config.cam = sized(config.cam, network, config.data)
    cam = config.cam
    sections = {"cam": cam} | {f"cam.{name}": part for name, part in cam.items() if isinstance(part, ConfigDict)}
    for name, section in sections.items():
        with _naming(f"{name}.stages"):
            section.stages = tuple(dict.fromkeys(map(network.resolve, section.stages)))
    engine.build(network, cam.methods, cam.stages, seeds=cam.random_seeds, chunk=cam.chunk)
    if config.eval.student and config.data.size % 2:
        raise UserError(f"--config.data.size={config.data.size}: a student (eval.student) needs an even side")
    with _naming("cam.target"):
        targets.resolve(cam.target, tuple(config.data.labels))
    if config.train.batch % jax.device_count():
        raise UserError(f"--config.train.batch={config.train.batch} is not a multiple of {jax.device_count()} devices")
    return config


@contextlib.contextmanager
def _naming(option: str) -> Iterator[None]:
    """Puts the option's name before a refusal."""
    try:
        yield
    except UserError as error:
        raise UserError(f"--config.{option}: {error}") from None


def sized(cam: ConfigDict, network: Network, data: ConfigDict) -> ConfigDict:
    """The config's cam section with numbers for its `batch` and `chunk`, by the devices' memory where they are 0."""
    cam, held = cam.copy_and_resolve_references(), devices.memory()
    found = memory.at_once(network, (data.size, data.size, grey.channels(data)), held)
    cam.batch = cam.batch or found.batch * (jax.local_device_count() if held else 1)
    cam.chunk = cam.chunk or found.chunk
    return cam
