"""hemojax's own programs, lowered for devices that need not be there, from the shapes of their arguments alone."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hemojax import cam, devices, models
from hemojax.benchmark import full_maps, map_faithfulness, scoring, stored_maps
from hemojax.cam import engine
from hemojax.cam.fullgrad import fullgrad
from hemojax.cam.registry import METHODS
from hemojax.compilation import Program
from hemojax.config import defaults
from hemojax.data.loader import Batch
from hemojax.groups import map_groups
from hemojax.run import create_network
from hemojax.training import loop, predict, state, step
from tests.accelerators.matrix import METRICS

# What shares a forward and a backward: the grid of the benchmark.
CHEAP = {"gradients", "key", "score"}
GRID = tuple(name for name, method in METHODS.items() if method.needs <= CHEAP and not method.linear)
PLACES = ("early", "middle", "last")


def lower(program: str, network: str, dtype: str, size: int, batch: int, mesh: Mesh) -> jax.stages.Lowered:
    """The lowered program.

    Args:
        program: "step", "predict", "fullgrad", "scoring", "maps" (resized to full size), "refined", "faithfulness";
            "engine:METHODS@STAGES" with methods and stages divided by ",", or with "grid" for those that share a
            backward, and "early", "middle", "last" or "all" for stages.
        network: a key of `hemojax.models.MODELS`.
        dtype: of its computation.
        size: side of the images.
        batch: images of each device.
        mesh: the devices.
    """
    config = _config(network, dtype, size)
    if program == "step":
        return _step(config, batch, mesh)
    if program in METRICS:
        return _metric(program, size, batch, mesh)
    net, number = create_network(config), batch * mesh.size
    images = jax.ShapeDtypeStruct((number, size, size, 3), jnp.float32)
    target = cam.Target(jax.ShapeDtypeStruct((number,), jnp.int32), jax.ShapeDtypeStruct((number,), jnp.float32))
    identities = jax.ShapeDtypeStruct((number,), jnp.uint32)
    variables = _variables(config)
    if program == "predict":
        return predict.build(net, mesh).trace(variables, images).lower()
    if program == "faithfulness":
        subject = map_faithfulness.Subject(images, target, identities)
        heats = jax.ShapeDtypeStruct((number, size, size), jnp.float32)
        return map_faithfulness.build(config, net, mesh).trace(variables, subject, heats).lower()
    if program == "fullgrad":
        platform = devices.platform(mesh)

        def whole(variables: Any, *arguments: Any) -> jax.Array:
            return map_groups(partial(fullgrad, net, variables), platform, *arguments)

        return Program(whole, platform).trace(*_placed((variables, images, target), mesh)).lower()
    methods, stages = program.removeprefix("engine:").split("@")
    explain = engine.build(
        net,
        GRID if methods == "grid" else methods.split(","),
        chosen_stages(net, stages),
        chunk=config.cam.chunk,
        mesh=mesh,
    )
    return explain.trace(variables, images, target, identities).lower()


def chosen_stages(net: models.StagedNetwork, names: str) -> tuple[str, ...]:
    """Stages by their places: the one behind the stem, the middle one and the last; or by their own names."""
    own = net.stages[1:]
    places = {"early": own[:1], "middle": own[len(own) // 2 :][:1], "last": own[-1:], "all": net.stages}
    return tuple(stage for name in names.split(",") for stage in places.get(name, (name,)))


def _config(network: str, dtype: str, size: int) -> Any:
    config = defaults()
    config.model.update(name=network, dtype=dtype)
    config.cam.chunk = 64
    config.data.size = config.eval.size = size
    return config


def _variables(config: Any) -> Any:
    return jax.eval_shape(
        lambda key: state.initialise(create_network(config), config.data.size, 3, key), jax.random.key(0)
    )


def _step(config: Any, batch: int, mesh: Mesh) -> jax.stages.Lowered:
    """The pmapped step, which takes its devices from the mesh."""
    optimiser, number, side = state.optimizer(config.train, 1000), mesh.size, config.data.size
    run = step.build(
        create_network(config, devices.AXIS),
        optimiser,
        positive_weight=jnp.ones(1),
        key=jax.random.key(0),
        inputs=loop.training_inputs(config, 100),
        mesh=mesh,
    )
    start = jax.eval_shape(lambda variables: state.create(variables, optimiser), _variables(config))
    slices = Batch(
        levels=jax.ShapeDtypeStruct((number, batch, side, side, 1), jnp.uint16),
        labels=jax.ShapeDtypeStruct((number, batch, 1), jnp.float32),
        record=jax.ShapeDtypeStruct((number, batch), jnp.int32),
    )
    return run.lower(start, slices)


def _metric(program: str, size: int, batch: int, mesh: Mesh) -> jax.stages.Lowered:
    """What is said of maps without the network; these programs have no mesh, and run where their arguments are."""
    coarse, full = ((batch, size // 16, size // 16), jnp.float32), ((batch, size, size), jnp.float32)
    run, *shapes = {
        "scoring": (scoring._figures, full, ((2, size, size), jnp.bool_)),
        "maps": (stored_maps.resized(size, -0.4), coarse),
        "refined": (full_maps.refined("pamr"), full, ((size, size), jnp.float32)),
    }[program]
    return run.trace(*_placed([jax.ShapeDtypeStruct(*shape) for shape in shapes], mesh)).lower()


def _placed(tree: Any, mesh: Mesh) -> Any:
    """The shapes, all of them whole on the mesh's devices."""
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), tree)
