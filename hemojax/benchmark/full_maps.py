"""The maps of a run at full size, on the grid on which pixels are counted: those of its jobs, and the baselines'."""

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from hemojax.benchmark import baselines, explanations, truth
from hemojax.benchmark.explanations import MapBatch
from hemojax.cam import postprocess
from hemojax.compilation import Program

Result = TypeVar("Result")

BASELINES = (("hu_threshold", 0), ("whole_brain", 0), ("mean_training_mask", 0))


def batches(config: ConfigDict, folder: Path, slices: pd.DataFrame, workdir: Path) -> Iterator[MapBatch]:
    """All maps of a run, a batch and stage at a time: the baselines', then those of its jobs as they were written.

    Args:
        config: the run's config.
        folder: the records.
        slices: the explained slices, see `explanations.explained_slices`.
        workdir: where `maps/` lies.
    """
    yield from _baselines(config, folder, slices)
    yield from explanations.read(config, slices, workdir)


def steps(config: ConfigDict, slices: pd.DataFrame) -> int:
    """How many slices the batches of `batches` hold together."""
    return len(slices) + sum(len(job.slices) * len(job.stages) for job in explanations.jobs(config.cam, slices))


def _baselines(config: ConfigDict, folder: Path, slices: pd.DataFrame) -> Iterator[MapBatch]:
    of_slice = truth.Slices(config, folder)
    average = truth.mean_training_mask(folder, of_slice)
    for start in range(0, len(slices), config.cam.batch):
        rows = slices.iloc[start : start + config.cam.batch]
        heats = []
        for split, record in zip(rows["split"], rows["record"], strict=True):
            hu = of_slice(split, record).hu
            heats.append(np.stack([baselines.hu_threshold_map(hu), baselines.whole_brain_map(hu), average]))
        yield MapBatch("-", BASELINES, rows, np.stack(heats), baseline=True)


def each_slice(
    function: Callable[[int, Float[Array, "n size size"]], Result], batch: MapBatch, size: int
) -> list[Result]:
    """Calls the function with each slice's place in the batch and maps on the grid.

    As many slices at a time as there are cores; each in a thread of its own, so the function must not change what is
    shared. That is what bounds the memory.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda at: function(at, _full_size(batch, at, size)), range(len(batch.rows))))


def _full_size(batch: MapBatch, at: int, size: int) -> Float[Array, "n size size"]:
    heats = jnp.asarray(batch.heats[at])
    return heats if batch.baseline else _resized(size)(heats)


@functools.cache
def _resized(size: int) -> Callable[[Float[Array, "n h w"]], Float[Array, "n size size"]]:
    """A program of its own for all that use the maps: fused into theirs, the last bits could differ among them."""
    one = functools.partial(postprocess.full_heat, size=(size, size))
    return Program(lambda maps: jax.lax.map(one, maps))


def heat_of(
    config: ConfigDict, slices: pd.DataFrame, workdir: Path, stage: str, method: str, seed: int = 0
) -> Iterator[tuple[str, int, Float[np.ndarray, "s s"]]]:
    """Case, slice and full-size heat map of every slice that this method explained at this stage."""
    for batch in explanations.read(config, slices, workdir):
        if batch.stage == stage and (method, seed) in batch.names:
            maps = each_slice(lambda at, maps: np.asarray(maps[0]), batch.only((method, seed)), config.eval.size)
            yield from zip(batch.rows["case"], batch.rows["slice"], maps, strict=True)
