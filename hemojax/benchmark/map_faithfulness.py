"""Whether the classifier follows the maps: faithfulness of each method at its best stage, on some test slices.

What is removed from a slice takes the value of air in the network's input (a grey value of 0, normalised). Curves, ROAD
and the change of confidence are taken of the probability of the target, infidelity of its logit, which is what the maps
explain. Of RandomCAM the map of seed 0 is measured.

Max-sensitivity explains every slice anew under noise. That is affordable for methods that share a forward and a
backward; those that run the network many times a slice (`registry.costly`) have no row of it. Slices that a method
did not explain have no rows of that method: a costly method restricted to as many slices as are measured here was made
for the same ones.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from hemojax import devices
from hemojax.batches import filled, in_batches
from hemojax.benchmark import stored_maps
from hemojax.benchmark.explained import Explained, identities, images, program, spread, targets_of
from hemojax.cam import engine, postprocess, targets
from hemojax.cam.registry import costly
from hemojax.compilation import Program
from hemojax.data import grey, hounsfield
from hemojax.groups import images_at_once, map_in_groups
from hemojax.metrics import faithfulness, road, robustness
from hemojax.network import Network, Variables
from hemojax.precision import at_least_float32
from hemojax.progress import Progress
from hemojax.run import TrainedRun

KEYS = ["run", "case", "patient", "slice", "split", "stage", "method"]


class Subject(NamedTuple):
    """Slices, or one of them, whose maps are measured.

    Attributes:
        image: the network's input.
        target: what is explained.
        identity: from which all random numbers follow, the same for every map of a slice.
    """

    image: Float[Array, "*b s s c"]
    target: targets.Target
    identity: Int[Array, "*b"]


def measure(run: TrainedRun, explained: Explained, *, cells: pd.DataFrame) -> pd.DataFrame:
    """Measure each method at its stage on at most `eval.faithfulness.slices` test slices with a lesion.

    Args:
        run: the run, whose maps are there.
        explained: the slices that they explain.
        cells: `method` and `stage`; one row or more for each pair to measure. Those without maps are left out.

    Returns:
        the faithfulness table: a row a slice, stage, method and metric. It is empty where nothing is asked for.
    """
    config, slices = run.config, explained.slices
    tests = slices[(slices["split"] == "test") & slices["lesion"]]
    number = min(config.eval.faithfulness.slices, len(tests))
    columns = [*KEYS, "metric", "value"]
    empty = pd.DataFrame(columns=columns).astype({"slice": np.int32, "value": np.float32})
    if not number:
        return empty
    rows = spread(tests, number)
    inputs = jnp.asarray(images(run, rows, number))
    subjects = Subject(inputs, targets_of(config, rows, explained.logits), jnp.asarray(identities(rows)))
    heats = pd.DataFrame(_heats(run, explained, rows, cells), columns=["at", "stage", "method", "heat", "shift"])
    if heats.empty:
        return empty
    found = [function(run, subjects, heats) for function in (_single_maps, _sensitivity)]
    table = pd.concat([part for part in found if len(part)], ignore_index=True)
    of_slice = rows.iloc[table.pop("at")][["case", "patient", "slice", "split"]].reset_index(drop=True)
    table = pd.concat([of_slice, table], axis=1).assign(run=config.name)
    return table[columns].astype({"slice": np.int32, "value": np.float32})


def build(config: ConfigDict, network: Network, mesh: Mesh | None = None) -> Program:
    """The compiled function from the variables, subjects and their maps, at full size, to all metrics of one map.

    The batch is a multiple of the number of devices, over which it is divided.

    Args:
        config: the run's config.
        network: the classifier.
        mesh: the devices; default: this process's.
    """
    mesh = mesh or devices.mesh()
    platform = devices.platform(mesh)
    options, normalisation = config.eval.faithfulness, config.data.normalisation
    channels = grey.channels(config.data)
    air = hounsfield.normalise(np.zeros((1, 1, grey.planes(config.data)), np.float32), normalisation)
    value = jnp.asarray(air.reshape(channels), jnp.float32)

    def of_map(variables: Variables, subject: Subject, heat: Float[Array, "s s"]) -> dict[str, Float[Array, ""]]:
        def logit(images: Float[Array, "n s s c"]) -> Float[Array, " n"]:
            outputs = at_least_float32(_in_whole_groups(partial(network.apply, variables), images, platform))
            return jax.vmap(targets.score, in_axes=(0, None))(outputs, subject.target)

        def probability(images: Float[Array, "n s s c"]) -> Float[Array, " n"]:
            return jax.nn.sigmoid(logit(images))

        image = subject.image
        for_noise, for_squares = jax.random.split(jax.random.fold_in(jax.random.key(0), subject.identity))
        start = faithfulness.blurred(image, options.blur)
        change = faithfulness.confidence_change(probability, image, heat, value)
        removal = road.road(probability, image, heat, for_noise, at_once=1 if platform == "cpu" else None)
        squares = robustness.random_squares(for_squares, image.shape[:2])
        return {
            "deletion": faithfulness.deletion(probability, image, heat, value, options.steps),
            "insertion": faithfulness.insertion(probability, image, heat, start, options.steps),
            "average_drop": change.drop,
            "increase": change.increase,
            "road_most": removal.most,
            "road_least": removal.least,
            "road_combined": removal.combined,
            "infidelity": robustness.infidelity(logit, image, heat, squares, value),
        }

    def of_batch(
        variables: Variables, subjects: Subject, heats: Float[Array, "b s s"]
    ) -> dict[str, Float[Array, " b"]]:
        # One map's images fill a CPU's cache many times over; elsewhere as many maps at once as memory is asked for.
        at_once = 1 if platform == "cpu" else max(1, config.cam.chunk // (options.steps + 1))
        return map_in_groups(jax.vmap(partial(of_map, variables)), at_once, subjects, heats)

    whole, divided = PartitionSpec(), PartitionSpec(devices.AXIS)
    share = jax.shard_map(of_batch, mesh=mesh, in_specs=(whole, divided, divided), out_specs=divided, check_vma=False)
    return Program(share, platform)


def _in_whole_groups(
    function: Callable[[Array], Array], images: Float[Array, "n s s c"], platform: str
) -> Float[Array, "n outputs"]:
    """`function(images)`, on a CPU some images at a time; the last ones are filled up: 17 have no equal groups."""
    number = len(images)
    group = min(images_at_once(images, platform), number)
    return map_in_groups(function, group, images[filled(number, number + -number % group)])[:number]


def _heats(
    run: TrainedRun, explained: Explained, rows: pd.DataFrame, cells: pd.DataFrame
) -> Iterator[tuple[int, str, str, Float[np.ndarray, "h w"], float]]:
    """Place in `rows`, stage, method, map at its stage's resolution and its shift, of all to be measured."""
    wanted = set(zip(cells["stage"], cells["method"], strict=True))
    places = {key: at for at, key in enumerate(zip(rows["case"], rows["slice"], strict=True))}
    for batch in stored_maps.read(run, explained):
        for n, (method, seed) in enumerate(batch.names):
            if seed == 0 and (batch.stage, method) in wanted:
                for i, key in enumerate(zip(batch.rows["case"], batch.rows["slice"], strict=True)):
                    if key in places:
                        yield places[key], batch.stage, method, batch.heats[i, n], batch.shift


def _single_maps(run: TrainedRun, subjects: Subject, heats: pd.DataFrame) -> pd.DataFrame:
    """All metrics of each map that need but the map."""
    config = run.config
    size = devices.whole_batch(min(config.cam.batch, len(heats)))
    program, variables, parts = build(config, run.network), devices.replicate(run.variables), []
    side = (config.data.size, config.data.size)
    with Progress("faithfulness", len(heats)) as progress:
        for places, real in in_batches(len(heats), size):
            part = heats.iloc[places[:real]]
            drawn = zip(part["heat"], part["shift"], strict=True)
            maps = np.stack([postprocess.full_heat(jnp.asarray(heat), side, shift) for heat, shift in drawn])
            at = heats["at"].to_numpy()[places]
            chosen = jax.tree.map(lambda leaf, at=at: leaf[at], subjects)
            values = jax.device_get(program(variables, chosen, maps[filled(real, size)]))
            names = part[["at", "stage", "method"]]
            parts += [names.assign(metric=name, value=found[:real]) for name, found in values.items()]
            progress.advance(steps=real)
    return pd.concat(parts, ignore_index=True)


def _sensitivity(run: TrainedRun, subjects: Subject, heats: pd.DataFrame) -> pd.DataFrame:
    """Max-sensitivity of maps, at their stage's own resolution, of methods that are not costly."""
    found = []
    affordable = heats[[not costly(method) for method in heats["method"]]]
    for stage, of_stage in affordable.groupby("stage", sort=False):
        methods = tuple(of_stage["method"].unique())
        explain = program(run, methods, (stage,), seeds=1)
        with Progress(f"max-sensitivity: {stage}", of_stage["at"].nunique()) as progress:
            for at, maps in of_stage.groupby("at"):
                subject = jax.tree.map(lambda leaf, at=at: leaf[at], subjects)
                own = dict(zip(maps["method"], map(jnp.asarray, maps["heat"]), strict=True))
                values = _sensitivity_of_slice(partial(explain, run.variables), subject, str(stage), own)
                found += [(at, stage, method, "max_sensitivity", float(value)) for method, value in values.items()]
                progress.advance()
    return pd.DataFrame(found, columns=["at", "stage", "method", "metric", "value"])


def _sensitivity_of_slice(
    explain: Callable[..., engine.Explanation], subject: Subject, stage: str, own: dict[str, Float[Array, "h w"]]
) -> dict[str, Float[Array, ""]]:
    """Of each method; the noise is the same for all, and RandomCAM's weights are those of the slice."""
    noise = robustness.uniform_noise(jax.random.key(subject.identity), subject.image.shape)
    target, identities = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(noise)), (subject.target, subject.identity))

    def maps(images: Float[Array, "n s s c"]) -> dict[str, Float[Array, "n h w"]]:
        found = explain(images, target, identities).maps
        return {method: found[stage, method].reshape(len(images), *heat.shape) for method, heat in own.items()}

    return robustness.max_sensitivity(maps, subject.image, own, noise)
