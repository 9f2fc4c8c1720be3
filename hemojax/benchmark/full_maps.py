"""The maps of a run at full size, where pixels are counted: those of its jobs, raw and refined, and the baselines'."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from hemojax.benchmark import baselines, ground_truth, stored_maps
from hemojax.benchmark.explained import Explained
from hemojax.benchmark.stored_maps import MapBatch
from hemojax.cam import postprocess, refinement
from hemojax.compilation import Program
from hemojax.data import hounsfield
from hemojax.run import Run

Result = TypeVar("Result")

BASELINES = (("hu_threshold", 0), ("whole_brain", 0), ("mean_training_mask", 0))


def batches(run: Run, explained: Explained) -> Iterator[MapBatch]:
    """All maps of a run, a batch and stage at a time: the baselines', then those of its jobs, each raw and refined."""
    yield from _baselines(run, explained.slices)
    yield from _of_jobs(run, explained)


def _of_jobs(run: Run, explained: Explained) -> Iterator[MapBatch]:
    of_slice = ground_truth.Slices(run)
    for batch in stored_maps.read(run, explained):
        yield batch
        for name in run.config.eval.refine:
            yield _refined(batch, name, of_slice)


def steps(run: Run, explained: Explained) -> int:
    """How many slices the batches of `batches` hold together."""
    jobs = stored_maps.jobs(run.config.cam, explained.slices)
    copies = 1 + len(run.config.eval.refine)
    return len(explained.slices) + copies * sum(len(job.slices) * len(job.stages) for job in jobs)


def _baselines(run: Run, slices: pd.DataFrame) -> Iterator[MapBatch]:
    of_slice, batch = ground_truth.Slices(run), run.config.cam.batch
    average = ground_truth.mean_training_mask(run, of_slice)
    for start in range(0, len(slices), batch):
        rows = slices.iloc[start : start + batch]
        heats = []
        for split, record in zip(rows["split"], rows["record"], strict=True):
            hu = of_slice.hu(split, record)
            heats.append(np.stack([baselines.hu_threshold_map(hu), baselines.whole_brain_map(hu), average]))
        yield MapBatch("-", BASELINES, rows, np.stack(heats), baseline=True)


def _refined(batch: MapBatch, name: str, of_slice: ground_truth.Slices) -> MapBatch:
    def refine(at: int, maps: Float[Array, "n size size"]) -> Float[Array, "n size size"]:
        row = batch.rows.iloc[at]
        guide = hounsfield.guide(of_slice.hu(row["split"], int(row["record"])))
        return refined(name)(maps, jnp.asarray(guide))

    names = tuple((refinement.named(method, name), seed) for method, seed in batch.names)
    return dataclasses.replace(batch, names=names, refine=refine)


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
    full = heats if batch.baseline else _resized(size, batch.shift)(heats)
    return batch.refine(at, full) if batch.refine else full


@functools.cache
def _resized(size: int, shift: float) -> Callable[[Float[Array, "n h w"]], Float[Array, "n size size"]]:
    """A program of its own for all that use the maps: fused into theirs, the last bits could differ among them."""
    one = functools.partial(postprocess.full_heat, size=(size, size), shift=shift)
    return Program(lambda maps: jax.lax.map(one, maps))


@functools.cache
def refined(name: str) -> Callable[[Float[Array, "n s s"], Float[Array, "s s"]], Float[Array, "n s s"]]:
    """The program that refines maps by the guide of their slice, see `refinement.refine`."""
    return Program(functools.partial(refinement.refine, name))


def heat_of(
    run: Run, explained: Explained, *, stage: str, method: str, seed: int = 0
) -> Iterator[tuple[str, int, Float[np.ndarray, "s s"]]]:
    """Case, slice and full-size heat map of every slice that this method explained at this stage."""
    for batch in _of_jobs(run, explained):
        if batch.stage == stage and (method, seed) in batch.names:
            maps = each_slice(lambda at, maps: np.asarray(maps[0]), batch.only((method, seed)), run.config.eval.size)
            yield from zip(batch.rows["case"], batch.rows["slice"], maps, strict=True)
