"""Do the maps explain this classifier? Cascading parameter randomisation (Adebayo et al. 2018, arXiv:1810.03292).

From the classifying layer down, part by part, parameters become those of a fresh network. A map that stays as it was
does not depend on what the classifier has learnt.

Batch statistics become those that the slices have in the randomised network. With those that a network begins with
(mean 0, variance 1) nothing would be normalised: a deep network saturates, every gradient is 0, every gradient method
gives an empty map, and the test tells nothing.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import traverse_util
from jaxtyping import Array, Float, Int

from hemojax import devices
from hemojax.batches import in_batches
from hemojax.benchmark.explained import Explained, identities, program, spread, targets_of
from hemojax.benchmark.explained import images as explained_images
from hemojax.cam import postprocess, targets
from hemojax.cam.registry import METHODS, costly
from hemojax.compilation import Program
from hemojax.data import grey
from hemojax.metrics import similarity
from hemojax.models.staged import StagedNetwork
from hemojax.network import Variables
from hemojax.progress import Progress
from hemojax.run import Run, TrainedRun
from hemojax.statistics.summary import RANDOM
from hemojax.training import state

CLASSIFIER = "classifier"
SHARE_OF_A_BATCH = 0.1  # in the running statistics, see `models.layers.BatchNorm`
KEYS = ["stage", "method"]

Name = tuple[str, ...]
"""Of a variable: its collection, modules and leaf."""
Maps = dict[tuple[str, str], Float[np.ndarray, "n h w"]]
"""By (stage, method)."""


def compare(run: TrainedRun, explained: Explained, *, cells: pd.DataFrame) -> pd.DataFrame:
    """How like its original each map stays while ever more of the network is randomised.

    Methods that run the network many times a slice (`registry.costly`), refined maps and RandomCAM are left out.

    Args:
        run: the run; of it at most `eval.sanity.slices` test slices, evenly spread, 0 for none.
        explained: its explained slices; the target is the original network's throughout.
        cells: columns method and stage; further columns do not matter.

    Returns:
        a row for each slice, stage, method and depth: case, patient, slice, split, stage, method, randomised, depth
        (parts randomised: 1 is what follows the last link alone), spearman (at the stage's own resolution) and ssim (on
        the grid of `eval.size` pixels). A map that became constant has no order: its rank correlation is 0.
    """
    config, network, slices = run.config, run.network, explained.slices
    cells = cells[cells["method"].isin([name for name in METHODS if not costly(name)])]
    cells = cells.loc[cells["method"] != RANDOM, KEYS].drop_duplicates()
    slices = slices[(slices["split"] == "test") & slices["lesion"]]
    columns = ["case", "patient", "slice", "split", *KEYS, "randomised", "depth", "spearman", "ssim"]
    if cells.empty or slices.empty or not config.eval.sanity.slices:
        return pd.DataFrame(columns=columns).astype({"slice": int, "depth": int, "spearman": float, "ssim": float})
    slices = spread(slices, config.eval.sanity.slices)
    batches = _batches(run, slices, explained.logits)
    maps = _explainer(run, batches, cells)
    channels = grey.channels(config.data)
    # Another seed than that of the training, which began at its own fresh parameters.
    fresh = state.initialise(network, config.data.size, channels, jax.random.key(config.seed + 1))
    original = maps(run.variables)
    large = {cell: _full(heat, config.eval.size) for cell, heat in original.items()}
    rows: list[dict[str, Any]] = []
    chain = parts(network, config.data.size, channels)
    steps = cascade(run.variables, fresh, chain, statistics_of(network, batches[0].images))
    with Progress("randomising", len(chain)) as progress:
        for depth, (part, randomised) in enumerate(steps, start=1):
            for cell, heat in maps(randomised).items():
                full = _full(heat, config.eval.size)
                for n, row in enumerate(slices.itertuples()):
                    names = (row.case, row.patient, row.slice, row.split, *cell, part, depth)
                    likeness = (
                        similarity.spearman(original[cell][n], heat[n]),
                        similarity.ssim(large[cell][n], full[n]),
                    )
                    rows.append(dict(zip(columns, (*names, *likeness), strict=True)))
            progress.advance(part)
    return pd.DataFrame(rows, columns=columns)


def parts(network: StagedNetwork, size: int, channels: int) -> dict[str, frozenset[Name]]:
    """Which variables each link has, in the order of the data, and at last CLASSIFIER, what follows the last link.

    Args:
        network: the classifier.
        size: side of its input, in pixels.
        channels: of its input.
    """
    found: dict[str, frozenset[Name]] = {}
    x = jax.ShapeDtypeStruct((1, size, size, channels), network.param_dtype)
    after = None
    for link in (*network.links, None):
        run = partial(network.init_with_output, after=after, until=link)
        x, touched = jax.eval_shape(run, jax.random.key(0), x)
        kept = {name: touched.get(name, {}) for name in ("params", "batch_stats")}
        found[link or CLASSIFIER] = frozenset(traverse_util.flatten_dict(kept))
        after = link
    return found


def cascade(
    variables: Variables,
    fresh: Variables,
    parts: dict[str, frozenset[Name]],
    statistics: Callable[[Variables], Variables],
) -> Iterator[tuple[str, Variables]]:
    """The variables with the last part randomised, then the one before it too, and so on down to the first.

    Args:
        variables: the trained ones.
        fresh: the parameters by which they are replaced.
        parts: see `parts`.
        statistics: gives the batch statistics that fit given variables; used for the parts that are randomised.

    Yields:
        name of the part that was randomised last, and the variables.
    """
    current, source = (traverse_util.flatten_dict(tree) for tree in (variables, fresh))
    replaced: frozenset[Name] = frozenset()
    for part, names in reversed(parts.items()):
        replaced |= names
        current = current | {name: source[name] for name in names}
        fitting = traverse_util.flatten_dict({"batch_stats": statistics(traverse_util.unflatten_dict(current))})
        current = current | {name: fitting[name] for name in replaced & fitting.keys()}
        yield part, traverse_util.unflatten_dict(current)


def statistics_of(network: StagedNetwork, images: Float[np.ndarray, "b s s c"]) -> Callable[[Variables], Variables]:
    """The function from variables to the batch statistics that these images have with their parameters."""

    def statistics(variables: Variables, images: Float[Array, "b s s c"]) -> Variables:
        empty = {**variables, "batch_stats": jax.tree.map(jnp.zeros_like, variables["batch_stats"])}
        keys = {"dropout": jax.random.key(0)}
        _, updated = network.apply(empty, images, train=True, mutable=["batch_stats"], rngs=keys)
        return jax.tree.map(lambda running: running / SHARE_OF_A_BATCH, updated["batch_stats"])

    program = Program(statistics)
    return lambda variables: program(variables, images)


class _Batch(NamedTuple):
    """Slices to explain; those beyond the first `real` only fill the batch."""

    images: Float[np.ndarray, "b s s c"]
    target: targets.Target
    identities: Int[np.ndarray, " b"]
    real: int


def _batches(run: Run, slices: pd.DataFrame, logits: pd.DataFrame) -> list[_Batch]:
    size = devices.whole_batch(min(run.config.cam.batch, len(slices)))
    found = []
    for places, real in in_batches(len(slices), size):
        rows = slices.iloc[places]
        images = explained_images(run, rows[:real], size)
        found.append(_Batch(images, targets_of(run.config, rows, logits), identities(rows), real))
    return found


def _explainer(run: TrainedRun, batches: list[_Batch], cells: pd.DataFrame) -> Callable[[Variables], Maps]:
    """The function from variables to the maps of all slices, which compiles its programs once."""
    # CAM is defined at one stage only, so that it cannot share a program with methods of other stages.
    linear = cells["method"].map(lambda name: METHODS[name].linear)
    programs = [
        program(run, tuple(group["method"].unique()), tuple(group["stage"].unique()), mesh=devices.mesh())
        for _, group in cells.groupby(linear)
    ]

    def explain(variables: Variables) -> Maps:
        placed = devices.replicate(variables)
        found: dict[tuple[str, str], list[np.ndarray]] = {
            cell: [] for cell in cells[KEYS].itertuples(index=False, name=None)
        }
        for *inputs, real in batches:
            for explain_all in programs:
                for cell, heat in explain_all(placed, *inputs).maps.items():
                    if cell in found:
                        found[cell].append(np.asarray(heat)[:real])
        return {cell: np.concatenate(heats) for cell, heats in found.items()}

    return explain


def _full(heats: Float[np.ndarray, "n h w"], size: int) -> Float[np.ndarray, "n s s"]:
    return np.asarray(jax.vmap(lambda heat: postprocess.full_heat(heat, (size, size)))(jnp.asarray(heats)))
