"""What is asked of a config before a run begins: every name is known, every number usable."""

import jax
from ml_collections import ConfigDict

from hemojax import devices
from hemojax.cam import engine, memory, targets
from hemojax.cam.refinement import REFINEMENTS
from hemojax.data import hounsfield
from hemojax.data.labels import LABELS
from hemojax.errors import UserError, check_name
from hemojax.models import pretrained
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
    for label in config.data.labels:
        check_name(label, LABELS, "label")
    check_name(config.model.dtype, DTYPES, "model.dtype")
    check_name(config.train.optimizer, OPTIMIZERS, "train.optimizer")
    check_name(config.train.sampling, SAMPLINGS, "train.sampling")
    if config.train.pretrain:
        check_name(config.train.pretrain, PRETRAININGS, "train.pretrain")
    network = create_network(config)
    if config.model.weights:
        pretrained.locate(config.model.weights, config.model.name)
    check_name(config.data.normalisation, hounsfield.NORMALISATIONS, "normalisation")
    check_name(config.eval.protocol, PROTOCOLS, "protocol")
    for name in config.eval.refine:
        check_name(name, REFINEMENTS, "eval.refine")
    config = config.copy_and_resolve_references()
    config.cam = sized(config.cam, network, config.data)
    cam = config.cam
    for section in (cam, *(section for section in cam.values() if isinstance(section, ConfigDict))):
        section.stages = tuple(dict.fromkeys(map(network.resolve, section.stages)))
    engine.build(network, cam.methods, cam.stages, seeds=cam.random_seeds, chunk=cam.chunk)
    if config.eval.student and config.data.size % 2:
        raise UserError(f"--config.data.size={config.data.size}: a student (eval.student) needs an even side")
    targets.resolve(cam.target, tuple(config.data.labels))
    if config.train.log_steps < 1:
        raise UserError(f"--config.train.log_steps={config.train.log_steps}: give a number of steps, 1 or more")
    if config.train.batch % jax.device_count():
        raise UserError(f"--config.train.batch={config.train.batch} is not a multiple of {jax.device_count()} devices")
    return config


def sized(cam: ConfigDict, network: Network, data: ConfigDict) -> ConfigDict:
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
